import type { Cluster, Redis } from 'ioredis'

/** Pause before a client connects again, after the client has given up. */
const PAUSE_MS = 500

/**
 * Connects again if ioredis has given up (status `end`), until the client is closed. In these cases
 * ioredis 6.0.0 does not ask its retry strategy, and never connects again:
 *
 * - A Sentinel announces a failover while the client asks the Sentinels for the primary.
 * - Node throws before the connection begins, for example because OpenSSL refuses the certificate.
 * - A connection is dropped in the same turn of the event loop in which it begins.
 */
export const connectAgainAtEnd = (redis: Redis | Cluster): void => {
  let isClosed = false
  const { disconnect } = redis
  redis.disconnect = (reconnect = false) => {
    isClosed ||= !reconnect
    disconnect.call(redis, reconnect)
  }
  redis.on('end', () => {
    // Ignore this error, because ioredis also reports a failed attempt as an event.
    if (!isClosed) setTimeout(() => redis.connect().catch(() => undefined), PAUSE_MS)
  })
}
