import { Redis } from 'ioredis'
import type { Logger } from '../log.ts'
import type { Loaded } from '../settings.ts'
import type { redisSettings } from './settings.ts'

export type { Redis }

/**
 * A Redis client that fails fast and leaves every retry to its user. Left to its defaults ioredis waits for ever on a hung server, queues commands without
 * bound while disconnected, and resends by itself what it cannot know to be unapplied.
 */
export const createRedis = (settings: Loaded<typeof redisSettings>, logger: Logger): Redis => {
  const redis = new Redis(settings.REDIS_URL, {
    lazyConnect: true,
    commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,
    connectTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
    // A command that has timed out stays in the client's queue and its bytes in the socket's, for as long as the server hangs: a new connection drops both.
    socketTimeout: settings.REDIS_COMMAND_TIMEOUT_MS * 2,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: (tries) => Math.min(50 * 2 ** Math.min(tries, 6), 2000) * (0.5 + Math.random() / 2),
    // After a failover the old primary answers READONLY (Redis 6 in the midst of a script's error): look for the new one behind the same address.
    reconnectOnError: (error) => error.message.includes('READONLY'),
  })
  let lastMessage = ''
  redis.on('error', (error: Error) => {
    // One line per kind of trouble, not one per try.
    if (error.message !== lastMessage) logger.warn({ err: error }, 'Redis connection')
    lastMessage = error.message
  })
  redis.on('ready', () => {
    lastMessage = ''
    logger.info('connected to Redis')
  })
  return redis
}
