import { hash, timingSafeEqual } from 'node:crypto'
import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify'
import type { ReadinessCheck } from './admin.ts'
import type { Registry } from './metrics.ts'
import { createReadyGauge } from './ready-gauge.ts'
import { withoutSchemas } from './without-schemas.ts'

/** Returns a digest of fixed length, because `timingSafeEqual` needs inputs of equal length. */
const digestOf = (text: string): Buffer => hash('sha256', text, 'buffer')

/**
 * Creates the server of the admin port. This port must not be public:
 * - `/livez` answers 200 while the event loop runs.
 * - `/readyz` answers all checks. The status is 200 if all checks pass, otherwise 503.
 * - `/metrics` answers Prometheus metrics, with the checks as `customer_stream_ready`.
 * @param checks called for each request to /readyz or /metrics. Must be fast and must not throw.
 * @param settings read at each request, because a token in a file may change. If there is a token,
 *   a request without the token gets no checks and no metrics. It still gets the status, so probes
 *   need no token.
 */
export const createAdminApp = ({
  registry,
  checks,
  settings,
}: {
  registry: Registry
  checks: () => Promise<readonly ReadinessCheck[]>
  settings: { readonly ADMIN_TOKEN?: string | undefined }
}): FastifyInstance => {
  createReadyGauge(registry, checks)
  const app = fastify({ logger: false, ...withoutSchemas })
  const mayRead = ({ headers }: FastifyRequest): boolean =>
    settings.ADMIN_TOKEN === undefined ||
    timingSafeEqual(digestOf(`Bearer ${settings.ADMIN_TOKEN}`), digestOf(headers.authorization ?? ''))
  app.get('/livez', async () => ({ status: 'alive' }))
  app.get('/readyz', async (request, reply) => {
    const found = await checks()
    const ready = found.every((check) => check.ready)
    const status = ready ? 'ready' : 'not-ready'
    return reply.code(ready ? 200 : 503).send(mayRead(request) ? { status, checks: found } : { status })
  })
  app.get('/metrics', async (request, reply) =>
    mayRead(request)
      ? reply.type(registry.contentType).send(await registry.metrics())
      : reply.code(401).header('www-authenticate', 'Bearer').send({ status: 'token-missing-or-wrong' }),
  )
  return app
}
