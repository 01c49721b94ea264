import type { FastifyInstance } from 'fastify'

/**
 * Closes an app in bounded time. `app.close()` alone can wait forever for a connection: a
 * connection without a request, a connection whose request body has stalled, or a keep-alive
 * connection that was busy when the port closed.
 * @param graceMs time in which requests in flight may end. After this time, open connections are
 *   cut.
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
