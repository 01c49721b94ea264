/**
 * The public port. Order of checks: path, method, API key, rate, scope, requests at the same time,
 * parameters. Each route names the scope that it needs, or `open`.
 */
import type { Duplex } from 'node:stream'
import type { Scope } from '@customer-stream/configuration'
import { nodeHttp, PROBLEM_CONTENT_TYPE, type Tracer, withoutSchemas } from '@customer-stream/runtime'
import { isRedisError } from '@customer-stream/runtime/redis'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import type { Changes } from '../changes/changes.ts'
import type { ReadEvents } from '../customer-events.ts'
import { type Customers, DamagedCustomerError } from '../customers.ts'
import type { ListDealers } from '../dealers.ts'
import type { FindCustomers } from '../find-customers.ts'
import { KafkaUnavailableError } from '../kafka.ts'
import type { ListCustomers } from '../list-customers.ts'
import type { ReaderMetrics } from '../metrics.ts'
import type { PipelineWatch } from '../pipeline/watch.ts'
import type { Quarantine } from '../quarantine/quarantine.ts'
import { type Authenticate, type Client, withoutReveal } from './api-keys.ts'
import { addChangesRoute } from './changes-route.ts'
import { createConcurrencyLimit } from './concurrency-limit.ts'
import { addConsoleRoutes } from './console-routes.ts'
import { addCustomerRoute } from './customer-route.ts'
import { addDealersRoute } from './dealers-route.ts'
import { addDocsRoute } from './docs-page.ts'
import { addEventsRoute } from './events-route.ts'
import { goneSignal } from './gone-signal.ts'
import { addListRoutes } from './list-routes.ts'
import { openApi } from './openapi/openapi.ts'
import { addPipelineRoute } from './pipeline-route.ts'
import { type Problem, ProblemError, problemDocument, problems } from './problem.ts'
import { addQuarantineRoutes } from './quarantine-routes.ts'
import { createRateLimit } from './rate-limit.ts'
import { createEndSpan, type EndSpan } from './request-spans.ts'

export interface AppDependencies {
  readonly authenticate: Authenticate
  readonly customers: Pick<Customers, 'read' | 'readVersion'>
  readonly find: FindCustomers
  readonly list: ListCustomers
  readonly listDealers: ListDealers
  /** Undefined if the state topic is switched off. */
  readonly changes: Pick<Changes, 'open'> | undefined
  readonly readEvents: ReadEvents
  readonly pipeline: Pick<PipelineWatch, 'document' | 'completeAsOf'>
  readonly quarantine: Quarantine
  readonly metrics: ReaderMetrics
  /** Called for each answer that shows personal data without a mask. */
  readonly onReveal: (key: string, customerUuids: readonly string[]) => void
  /** Called for each group of events of a stream that shows personal data without a mask. */
  readonly onStreamReveal: (key: string, customerUuids: readonly string[]) => void
  /** Called for each answer that shows the bytes of a record of quarantine. */
  readonly onRecordReveal: (key: string, id: string) => void
  /**
   * Called for each failure that a person must repair: a bug, a damaged hash, or a key of another
   * type in Redis.
   */
  readonly onFailure: (error: Error, traceId: string | undefined) => void
  /** Undefined if traces are off. */
  readonly tracer: Tracer | undefined
  /**
   * Aborts when the process gets SIGTERM. After SIGTERM the app still serves requests, but each
   * answer closes its connection.
   */
  readonly stopping: AbortSignal
}

export interface AppOptions {
  readonly version: string
  /** Maximum number of requests a second for each API key. */
  readonly maxRate: number
  readonly waitMs: number
  readonly maxWaiting: number
  readonly maxConnections: number
  readonly keepAliveTimeoutMs: number
  /** Time limit for receiving a complete request. */
  readonly requestTimeoutMs: number
}

export const OPENAPI_PATH = '/openapi.json'
export const HEALTH_PATH = '/healthz'

/**
 * With this header, a key with the scope `pii` gets the same masked answers as a key without the
 * scope.
 */
const MASK_HEADER = 'x-mask'

/** Redis has every event that Kafka had at this time. Unix milliseconds, or `unknown`. */
const COMPLETE_AS_OF_HEADER = 'x-complete-as-of'

/** Value of Retry-After in seconds. */
const RETRY_AFTER_SECONDS = '1'

/** Maximum number of characters of a customerUuid in a path. Node limits all headers to 16 KiB. */
const MAX_PARAMETER_CHARACTERS = 16_384

const problemOfClientError = (error: { code?: string }): Problem => {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers-too-large'
  return error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request-timeout' : 'bad-request'
}

const problemOfError = (error: Error): Problem => {
  if (error instanceof ProblemError) return error.problem
  const { statusCode } = error as { readonly statusCode?: number }
  if (statusCode === 413) return 'too-large'
  if (statusCode === 415) return 'unsupported-media-type'
  if (statusCode !== undefined && statusCode < 500) return 'bad-request'
  const isOutage =
    error instanceof DamagedCustomerError || error instanceof KafkaUnavailableError || isRedisError(error)
  return isOutage ? 'unavailable' : 'internal-error'
}

/** Returns true if Redis has a key of another type. Only a person can repair this. */
const isWrongType = (error: Error): boolean => isRedisError(error) && error.message.startsWith('WRONGTYPE')

/**
 * Returns a sentence about the cause. The sentence has no address, because most clients are not
 * operators.
 */
const detailOf = (error: Error): string | undefined => {
  if (error instanceof ProblemError) return error.detail
  if (error instanceof DamagedCustomerError) return 'A stored customer is damaged.'
  if (error instanceof KafkaUnavailableError) return 'Kafka does not answer.'
  if (isWrongType(error)) return 'A key in Redis has another type.'
  return isRedisError(error) ? 'Redis does not answer, or cannot answer now.' : undefined
}

/** Answers a request that Node's HTTP parser has refused. fastify gets no such request. */
const answerOnSocket = (socket: Duplex, problem: Problem): void => {
  const body = JSON.stringify(problemDocument(problem))
  const { status } = problems[problem]
  const headers = [
    `HTTP/1.1 ${status} ${nodeHttp().STATUS_CODES[status]}`,
    `content-type: ${PROBLEM_CONTENT_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`)
}

const openServer = (metrics: ReaderMetrics, options: AppOptions, refuse: Refuse): FastifyInstance => {
  const app = fastify({
    ...withoutSchemas,
    logger: false,
    exposeHeadRoutes: true,
    routerOptions: { maxParamLength: MAX_PARAMETER_CHARACTERS },
    requestTimeout: options.requestTimeoutMs,
    http: {
      headersTimeout: options.requestTimeoutMs,
      // Interval in which Node checks both timeouts. The default of 30 s is too long.
      connectionsCheckingInterval: 1000,
      // Otherwise Node would answer a request that lacks a Host header, and not with a problem
      // document.
      requireHostHeader: false,
    },
    frameworkErrors: (_error, _request, reply) => void refuse(reply, 'bad-request'),
    clientErrorHandler: (error, socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy()
      const problem = problemOfClientError(error)
      metrics.answers.inc({ answer: problem })
      answerOnSocket(socket, problem)
    },
    keepAliveTimeout: options.keepAliveTimeoutMs,
    // Closes the connection of a client that writes requests and reads no answer.
    connectionTimeout: options.keepAliveTimeoutMs + options.requestTimeoutMs,
    return503OnClosing: false,
  })
  app.server.maxConnections = options.maxConnections
  app.server.on('drop', () => metrics.dropped.inc())
  // Ignore an unknown `Expect` header. Node would answer 417 without a problem document.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  app.server.on('connection', (socket) => {
    metrics.connections.inc()
    socket.on('close', () => metrics.connections.dec())
  })
  return app
}

type Refuse = (reply: FastifyReply, problem: Problem, detail?: string, failure?: Error) => FastifyReply

const createRefuse =
  ({ metrics, onFailure }: AppDependencies, endSpan: EndSpan): Refuse =>
  (reply, problem, detail, failure) => {
    const { status } = problems[problem]
    metrics.answers.inc({ answer: problem })
    reply.code(status).type(PROBLEM_CONTENT_TYPE)
    const traceId = endSpan(reply.request, reply, problem)
    if (failure) onFailure(failure, traceId)
    if (status === 401) reply.header('www-authenticate', 'Bearer')
    if (status === 429 || status >= 503) reply.header('retry-after', RETRY_AFTER_SECONDS)
    return reply.send(problemDocument(problem, detail))
  }

/** Adds the checks that precede each route. */
const addChecks = (
  app: FastifyInstance,
  { authenticate, metrics, pipeline, stopping }: AppDependencies,
  options: AppOptions,
): void => {
  const rate = createRateLimit(options.maxRate)
  // A route without a scope would be open to strangers.
  app.addHook('onRoute', ({ url, config }) => {
    if (config?.scope === undefined) throw new Error(`the route ${url} names no scope`)
  })
  const check = (request: FastifyRequest): void => {
    const { scope } = request.routeOptions.config
    if (scope === undefined) throw new ProblemError('not-found')
    if (scope === 'open' || scope === 'other-methods') return
    const client = authenticate(request.headers.authorization)
    if (typeof client === 'string') {
      metrics.unauthenticated.inc({ check: client })
      throw new ProblemError('unauthenticated')
    }
    request.client = request.headers[MASK_HEADER] === undefined ? client : withoutReveal(client)
    metrics.requests.inc({ key: client.name })
    if (!rate.allows(client.name)) throw new ProblemError('too-many-requests')
    if (!request.client.has(scope)) throw new ProblemError('forbidden', `The API key needs the scope ${scope}.`)
    // The figures of the pipeline and the records of quarantine belong to all dealers.
    if (scope === 'operate' && !client.maySee(undefined))
      throw new ProblemError('forbidden', 'The API key needs the dealers ["*"].')
  }
  // Use no promise, because each promise of a hook delays every request by a turn of microtasks.
  app.addHook('onRequest', (request, _reply, done) => {
    request.arrivedAt = performance.now()
    check(request)
    // Call this before Redis is read. A 404 also has the header, because an event of the customer
    // may still wait.
    if (request.routeOptions.config.isOfRedis) request.completeAsOf = pipeline.completeAsOf()
    done()
  })
  app.addHook('onRoute', (route) => {
    if (!route.config?.isOfRedis) return
    route.onSend = async ({ completeAsOf }, reply) => {
      const isOfRedis = reply.statusCode < 400 || reply.statusCode === problems['customer-not-found'].status
      if (completeAsOf && isOfRedis) reply.header(COMPLETE_AS_OF_HEADER, (await completeAsOf()) ?? 'unknown')
    }
  })
  const concurrency = createConcurrencyLimit(stopping)
  app.addHook('onRoute', (route) => {
    const { url, config: { atOnce } = {} } = route
    if (atOnce === undefined) return
    route.preHandler = (request, reply) =>
      concurrency.acquire(`${request.client!.name} ${url}`, atOnce, goneSignal(reply))
  })
}

/** Refuses all other methods of each path. Must be called after all routes are added. */
const refuseOtherMethods = (app: FastifyInstance): void => {
  for (const method of nodeHttp().METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method)
  for (const [url, allowed] of app.routes)
    app.route({
      method: app.supportedMethods.filter((method) => !allowed.includes(method)),
      url,
      config: { scope: 'other-methods' },
      // fastify has not received the body yet, so a wrong body does not change the answer.
      onRequest: async (_request, reply) => {
        reply.header('allow', allowed.join(', '))
        throw new ProblemError('method-not-allowed')
      },
      handler: async () => undefined,
    })
}

/** Collects the routes of an app. Must be called before routes are added. */
const collectRoutes = (app: FastifyInstance): void => {
  const routes = new Map<string, readonly string[]>()
  app.decorate('routes', routes)
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.scope !== 'other-methods') routes.set(url, [...(routes.get(url) ?? []), method].flat())
  })
}

export const createApp = (deps: AppDependencies, options: AppOptions): FastifyInstance => {
  const { metrics, stopping, tracer } = deps
  const endSpan = createEndSpan(tracer)
  const refuse = createRefuse(deps, endSpan)
  const app = openServer(metrics, options, refuse)
  app.removeContentTypeParser('text/plain')
  app.decorateRequest('arrivedAt', 0)
  app.decorateRequest('client', undefined)
  app.decorateRequest('completeAsOf', undefined)
  app.setNotFoundHandler(() => {
    throw new ProblemError('not-found')
  })
  app.setErrorHandler((error: Error, { routeOptions }, reply) => {
    const problem = problemOfError(error)
    const limit = `A body may have at most ${routeOptions.bodyLimit} bytes.`
    const detail = problem === 'too-large' ? limit : detailOf(error)
    const needsPerson = error instanceof DamagedCustomerError || problem === 'internal-error' || isWrongType(error)
    return refuse(reply, problem, detail, needsPerson ? error : undefined)
  })
  const count = (request: FastifyRequest, reply: FastifyReply): void => {
    // After SIGTERM, each answer closes its connection, so that no client has an open connection
    // when the port closes.
    if (stopping.aborted) reply.header('connection', 'close')
    // The health checks of a load balancer are not counted as requests of clients.
    if (request.routeOptions.url === HEALTH_PATH) return
    // A path that fastify cannot decode has no time of arrival.
    const seconds = (performance.now() - (request.arrivedAt || performance.now())) / 1000
    metrics.requestSeconds.observe({ class: `${Math.floor(reply.statusCode / 100)}xx` }, seconds)
    if (reply.statusCode >= 400) return
    metrics.answers.inc({ answer: reply.statusCode === 304 ? 'not-modified' : 'ok' })
    endSpan(request, reply)
  }
  app.addHook('onSend', (request, reply, _payload, done) => {
    count(request, reply)
    done()
  })
  collectRoutes(app)
  addChecks(app, deps, options)
  addCustomerRoute(app, deps, options)
  addListRoutes(app, deps)
  addDealersRoute(app, deps)
  addChangesRoute(app, deps)
  addEventsRoute(app, deps)
  addPipelineRoute(app, deps)
  addQuarantineRoutes(app, deps)
  addConsoleRoutes(app)
  const api = openApi(options.version)
  addDocsRoute(app, api)
  const document = JSON.stringify(api)
  app.get(OPENAPI_PATH, { config: { scope: 'open' } }, async (_request, reply) =>
    reply.type('application/json').send(document),
  )
  app.get(HEALTH_PATH, { config: { scope: 'open' } }, async (_request, reply) => {
    // This answer does not depend on the checks of `/readyz`. An outage affects all instances, and
    // clients must still get the 503 problems.
    if (!stopping.aborted) return { status: 'ready' }
    return reply.code(503).type(PROBLEM_CONTENT_TYPE).send(problemDocument('unavailable', 'The service stops.'))
  })
  refuseOtherMethods(app)
  return app
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * Scope that the API key must have. `open`: the route needs no key. `other-methods`: the route
     * refuses the methods that its path does not accept.
     */
    scope?: Scope | 'open' | 'other-methods'
    /**
     * Maximum number of requests of one API key that the route answers at the same time. Further
     * requests wait. Undefined: no limit.
     */
    atOnce?: number
    /** True if the answer is from Redis, and has the header {@link COMPLETE_AS_OF_HEADER}. */
    isOfRedis?: boolean
  }
  interface FastifyInstance {
    /** Methods that each path accepts. */
    routes: ReadonlyMap<string, readonly string[]>
  }
  interface FastifyRequest {
    /** Arrival of the headers, on the clock of `performance.now()`. */
    arrivedAt: number
    /** Undefined if the request has no valid API key. */
    client: Client | undefined
    /** Undefined if the request has no valid API key, or if its route does not read Redis. */
    completeAsOf: ReturnType<PipelineWatch['completeAsOf']> | undefined
  }
}
