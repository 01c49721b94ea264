import { mastersOf, type RedisClient } from '@customer-stream/runtime/redis'
import { customerKey, customerUuidOf } from '@customer-stream/schemas'

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

/** Result for a key that is not a hash. A customer's hash never has only this field. */
const NO_HASH = { 'not a hash': '' }

/** Returns the hash of a customer. Empty if Redis does not have the customer. */
export const readHash = (
  redis: RedisClient,
  customerUuid: string,
  keyPrefix: string,
): Promise<Readonly<Record<string, string>>> =>
  redis.hgetall(customerKey(customerUuid, keyPrefix)).catch((error: Error) => {
    if (error.message.startsWith('WRONGTYPE')) return NO_HASH
    throw error
  })
