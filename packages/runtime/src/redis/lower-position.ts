/** Moves the position of a partition back. Used by the projector and by `verify --repair`. */
import { readFileSync } from 'node:fs'
import type { RedisClient } from './client.ts'

const lua = readFileSync(new URL('./lower-position.lua', import.meta.url), 'utf8')

type Scripts = RedisClient & {
  lowerPosition(key: string, field: string, offset: string): Promise<number>
}

/**
 * Moves a position back to an offset, never forward. The owner of the partition then applies the
 * records again from this offset.
 * @param copies the keys that have the position: one key, or sixteen keys on Redis Cluster.
 * @param field `topic/partition`.
 * @returns true if a copy was greater than the offset.
 */
export const lowerPosition = async (
  redis: RedisClient,
  copies: readonly string[],
  field: string,
  offset: string,
): Promise<boolean> => {
  if (!('lowerPosition' in redis)) redis.defineCommand('lowerPosition', { lua, numberOfKeys: 1 })
  const calls = copies.map((key) => (redis as Scripts).lowerPosition(key, field, offset))
  // A retry must not begin while calls of this attempt still run.
  await Promise.allSettled(calls)
  return (await Promise.all(calls)).includes(1)
}
