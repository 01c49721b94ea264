import { mastersOf, type RedisClient } from '@customer-stream/runtime/redis'
import { customerUuidOf } from '@customer-stream/schemas'

/** Yields the ids of all customers that have a hash. SCAN may return an id twice. */
export const customersInRedis = async function* (redis: RedisClient, keyPrefix: string): AsyncGenerator<string> {
  const match = `${keyPrefix.replace(/[*?[\]\\]/g, '\\$&')}customer:{*`
  for (const master of mastersOf(redis)) {
    let cursor = '0'
    do {
      const [next, keys] = await master.scan(cursor, 'MATCH', match, 'COUNT', 1000)
      for (const key of keys) yield customerUuidOf(key, keyPrefix)
      cursor = next
    } while (cursor !== '0')
  }
}
