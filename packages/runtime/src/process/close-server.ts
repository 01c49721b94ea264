import type { FastifyInstance } from 'fastify'

/**
 * Closes an app in bounded time. `app.close()` alone waits forever for these connections: one that
 * never sent anything, one with a stalled body (Node's timeouts end with the listening), and a
 * keep-alive connection that was busy when the port closed.
 * @param graceMs time for requests in flight. After it, open connections are cut.
 */
export const closeServer = async (app: FastifyInstance, graceMs: number): Promise<void> => {
  const idle = setInterval(() => app.server.closeIdleConnections(), 50)
  const rest = setTimeout(() => app.server.closeAllConnections(), graceMs)
  try {
    await app.close()
  } finally {
    clearInterval(idle)
    clearTimeout(rest)
  }
}
