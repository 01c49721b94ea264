import { type FastifyInstance, fastify } from 'fastify'
import type { Registry } from './metrics.ts'

/** One thing that must hold for the process to do its work; `detail` says what is wrong, or how it stands. */
export interface ReadinessCheck {
  readonly name: string
  readonly ready: boolean
  readonly detail?: string
}

const MAX_DETAIL_CHARACTERS = 800

/** Asks a server that the process depends on. Rejects with its error, or with ETIMEDOUT if it does not answer in time. */
export const answerOf = async (ask: () => Promise<unknown>, timeoutMs: number): Promise<void> => {
  const { promise: expired, reject } = Promise.withResolvers<never>()
  const error = () => Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'ETIMEDOUT' })
  const timer = setTimeout(() => reject(error()), timeoutMs)
  try {
    await Promise.race([ask(), expired])
  } finally {
    clearTimeout(timer)
  }
}

/** @param problem what keeps the process from being ready; undefined if nothing does. */
export const readinessCheck = (name: string, problem: string | undefined): ReadinessCheck =>
  problem === undefined ? { name, ready: true } : { name, ready: false, detail: problem.slice(0, MAX_DETAIL_CHARACTERS) }

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
