# One small image per service, and one of the operator's commands:
#   docker build --build-arg SERVICE=ingress -t customer-stream/ingress .
#   docker build --target cli -t customer-stream/cli .
# For AWS MSK with IAM, add --build-arg EXTRA_PACKAGE=aws-msk-iam-sasl-signer-js@1.0.3.
# For a release, give the labels too:
#   --build-arg VERSION=0.2.0 --build-arg COMMIT=$(git rev-parse HEAD)
ARG NODE_IMAGE=node:24-slim

FROM ${NODE_IMAGE} AS manifests
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY packages/schemas/package.json packages/schemas/
COPY packages/runtime/package.json packages/runtime/
COPY packages/configuration/package.json packages/configuration/
COPY packages/indexes/package.json packages/indexes/
COPY packages/quarantine/package.json packages/quarantine/
COPY packages/simulator/package.json packages/simulator/
COPY packages/subscriber/package.json packages/subscriber/
COPY packages/verify/package.json packages/verify/
COPY packages/cli/package.json packages/cli/
COPY packages/testing/package.json packages/testing/
COPY services/ingress/package.json services/ingress/
COPY services/projector/package.json services/projector/
COPY services/reader/package.json services/reader/

FROM manifests AS cli-dependencies
RUN npm ci --omit=dev --ignore-scripts --workspace @customer-stream/cli
ARG EXTRA_PACKAGE=""
RUN test -z "${EXTRA_PACKAGE}" || \
  npm install --no-save --omit=dev --ignore-scripts --workspace @customer-stream/cli "${EXTRA_PACKAGE}"

# Needs the Kafka and the Redis of the services:
#   docker run --rm -e KAFKA_BROKERS=… -e REDIS_URL=… customer-stream/cli verify
FROM ${NODE_IMAGE} AS cli
ENV NODE_ENV=production
WORKDIR /app
COPY --from=cli-dependencies /app/node_modules node_modules
COPY package.json ./
COPY packages/schemas packages/schemas
COPY packages/runtime packages/runtime
COPY packages/configuration packages/configuration
COPY packages/indexes packages/indexes
COPY packages/quarantine packages/quarantine
COPY packages/verify packages/verify
COPY packages/cli packages/cli
ARG VERSION=development
ARG COMMIT=""
LABEL org.opencontainers.image.title="customer-stream/cli" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${COMMIT}"
ENV CUSTOMER_STREAM_COMMIT=${COMMIT}
# Not in /tmp: for temporary files of verify, compose and the chart put an empty folder there.
ENV NODE_COMPILE_CACHE=/home/node/.compile-cache
USER node
# Fills the compile cache. With it, a command starts with half the CPU. These two commands load most
# of the modules of all commands. The flags must equal those below.
RUN for command in verify status; do \
  node --conditions=customer-stream-source -- packages/cli/start.js $command --help > /dev/null || exit 1; done
ENTRYPOINT ["node", "--conditions=customer-stream-source", "--", "packages/cli/start.js"]

FROM manifests AS dependencies
ARG SERVICE
RUN npm ci --omit=dev --ignore-scripts --workspace @customer-stream/${SERVICE}
ARG EXTRA_PACKAGE=""
RUN test -z "${EXTRA_PACKAGE}" || \
  npm install --no-save --omit=dev --ignore-scripts --workspace @customer-stream/${SERVICE} "${EXTRA_PACKAGE}"

# Only the reader has something to build: the console, its web page.
FROM manifests AS sources
ARG SERVICE
COPY tsconfig.json ./
COPY services/${SERVICE} services/${SERVICE}
RUN test "${SERVICE}" != reader || \
  (npm ci --ignore-scripts --workspace @customer-stream/reader --include-workspace-root && \
  npm run build -w @customer-stream/reader)

FROM ${NODE_IMAGE} AS service
ARG SERVICE
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json ./
COPY packages/schemas packages/schemas
COPY packages/runtime packages/runtime
COPY packages/configuration packages/configuration
COPY packages/indexes packages/indexes
COPY packages/quarantine packages/quarantine
COPY --from=sources /app/services/${SERVICE} services/${SERVICE}
WORKDIR /app/services/${SERVICE}
ENV NODE_COMPILE_CACHE=/tmp/node-compile-cache
# Without this limit, glibc gives the threads of V8 their own memory, which is rarely given back.
ENV MALLOC_ARENA_MAX=1
USER node
# Fills the compile cache. With it, the service starts with two thirds of the CPU and 25 MB less
# memory. A start without settings ends when all modules are loaded. The flags must equal those
# below, because the cache depends on them.
RUN node --max-semi-space-size=8 --conditions=customer-stream-source start.js 2>/dev/null || test $? -eq 2
# The reader has another default. In a container, each service has its admin port here.
ENV ADMIN_PORT=9464
EXPOSE 8080 8090 9464
# A supervisor may restart an unhealthy container. So this is /livez: a service that waits for the
# end of an outage is alive and not ready.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
  CMD ["node", "/app/packages/runtime/health-check.js", "livez"]
ARG VERSION=development
ARG COMMIT=""
LABEL org.opencontainers.image.title="customer-stream/${SERVICE}" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${COMMIT}"
# The command of `npm start`. Node is process 1, so it gets SIGTERM itself, without npm or a shell.
# A young generation of 8 MB instead of 32 saves 100 MB of memory, at no measurable cost.
CMD ["node", "--max-semi-space-size=8", "--conditions=customer-stream-source", "start.js"]
