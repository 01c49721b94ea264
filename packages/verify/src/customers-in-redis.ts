import { mastersOf, type RedisClient } from '@customer-stream/runtime/redis'
import { customerKey } from '@customer-stream/schemas'

/** Yields the ids of all customers that have a hash. SCAN may return an id twice. */
export const customersInRedis = async function* (redis: RedisClient, keyPrefix: string): AsyncGenerator<string> {
  const match = customerKey('*', keyPrefix.replace(/[*?[\]\\]/g, '\\$&'))
  const idAt = customerKey('', keyPrefix).length - 1
  for (const master of mastersOf(redis)) {
    let cursor = '0'
    do {
      const [next, keys] = await master.scan(cursor, 'MATCH', match, 'COUNT', 1000)
      for (const key of keys) yield key.slice(idAt, -1)
      cursor = next
    } while (cursor !== '0')
  }
}
