import type { FastifyInstance } from 'fastify'

/**
 * Closes an app in bounded time. `app.close()` alone waits for ever for a connection on which nothing was ever sent, for a body that stalls (Node's own time-outs
 * end with the listening), and for a keep-alive connection that was busy at the moment of closing.
 * @param graceMs requests under way get this long to be answered; whatever is then still open is cut.
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
