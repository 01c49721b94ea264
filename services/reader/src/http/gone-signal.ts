import type { FastifyReply } from 'fastify'

/**
 * Returns a signal that aborts when the answer is complete, or when the client has disconnected.
 */
export const goneSignal = (reply: FastifyReply): AbortSignal => {
  if (reply.raw.destroyed) return AbortSignal.abort()
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  return gone.signal
}
