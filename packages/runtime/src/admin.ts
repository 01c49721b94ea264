import { type FastifyInstance, fastify } from 'fastify'
import type { Registry } from './metrics.ts'

/** One thing that must hold for the process to do its work; `detail` says what is wrong, or how it stands. */
export interface ReadinessCheck {
  readonly name: string
  readonly ready: boolean
  readonly detail?: string
}

const MAX_DETAIL_CHARACTERS = 480

/** Asks whom the process depends on; `ask` rejects where the answer is no. */
export const readinessOf = async (name: string, ask: () => Promise<unknown>, timeoutMs: number): Promise<ReadinessCheck> => {
  const { promise: expired, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  try {
    await Promise.race([ask(), expired])
    return { name, ready: true }
  } catch (error) {
    return { name, ready: false, detail: (error as Error).message.slice(0, MAX_DETAIL_CHARACTERS) }
  } finally {
    clearTimeout(timer)
  }
}

/**
 * The admin port, not for the public: `/livez` (the event loop turns), `/readyz` (200 or 503 with each check), `/metrics` (Prometheus).
 * @param checks called for each request to /readyz; must answer quickly and not throw.
 */
export const createAdminApp = ({
  registry,
  checks,
}: {
  registry: Registry
  checks: () => Promise<readonly ReadinessCheck[]>
}): FastifyInstance => {
  const app = fastify({ logger: false })
  app.get('/livez', async () => ({ status: 'alive' }))
  app.get('/readyz', async (_request, reply) => {
    const found = await checks()
    const ready = found.every((check) => check.ready)
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not-ready', checks: found })
  })
  app.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  return app
}
