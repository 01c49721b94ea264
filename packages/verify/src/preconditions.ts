/**
 * Checks that run before a command, so that a missing right or a wrong setting ends the command at
 * its start.
 */
import { isCluster, mastersOf, type RedisClient } from '@customer-stream/runtime/redis'
import { clusterPositionsKeys, customerKey, erasedKey, positionsKey } from '@customer-stream/schemas'

/** Returns the Redis keys in which projectors store their positions. */
export const positionsKeys = (redis: RedisClient, projection: number, keyPrefix: string): readonly string[] =>
  isCluster(redis) ? clusterPositionsKeys(projection, keyPrefix) : [positionsKey(projection, keyPrefix)]

/**
 * Returns the error of a command that finds no positions in Redis. The error names the first key of
 * the positions.
 */
export const missingPositions = ([key]: readonly string[]): Error =>
  new Error(
    `Redis has no key ${key}, so no projector has filled this Redis. Check REDIS_KEY_PREFIX, PROJECTION_VERSION ` +
      'and the database in REDIS_URL.',
  )

/**
 * Reads the positions and one customer key. Rejects if a right is missing or if Redis has no
 * positions.
 */
export const requirePositions = async (redis: RedisClient, projection: number, keyPrefix: string): Promise<void> => {
  const keys = positionsKeys(redis, projection, keyPrefix)
  const found = await Promise.all([customerKey('', keyPrefix), ...keys].map((key) => redis.hgetall(key)))
  if (found.every((hash) => Object.keys(hash).length === 0)) throw missingPositions(keys)
}

/** Reads the mark of one erased customer. Rejects if a right is missing. */
export const requireMarks = async (redis: RedisClient, keyPrefix: string): Promise<void> => {
  await redis.hmget(erasedKey('', keyPrefix), 'scope')
}

/** Reads one page of keys. Rejects if a right is missing. */
export const requireScan = async (redis: RedisClient): Promise<void> => {
  await Promise.all(mastersOf(redis).map((master) => master.scan('0', 'COUNT', 1)))
}
