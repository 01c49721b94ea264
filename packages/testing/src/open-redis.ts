import { createLogger, loadSettings } from '@customer-stream/runtime'
import { connectRedis, createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'

const logger = createLogger('test', 'silent')

/**
 * A command of a test waits for its reply as long as `waitUntil` waits for a fact. With the limit
 * of the services (3 s), a disk or a CPU that is busy for some seconds would fail the test.
 */
const REPLY_TIMEOUT_MS = 30_000

/** Connects a client of a test to Redis. `env` has settings of the services. */
export const openRedis = async (env: Readonly<Record<string, string>>): Promise<RedisClient> => {
  const client = createRedis(
    loadSettings(redisSettings, { REDIS_COMMAND_TIMEOUT_MS: String(REPLY_TIMEOUT_MS), ...env }),
    logger,
  )
  await connectRedis(client)
  return client
}
