/** Reads customers from Redis. Never writes. */
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import {
  clusterPositionsKeys,
  customerFromHash,
  customerKey,
  positionsKey,
  type StoredCustomer,
} from '@customer-stream/schemas'

/**
 * What Redis has of a customer:
 * - `missing`: no customer, and Redis is not being filled.
 * - `filling`: no customer, but Redis was emptied, and the projector has not filled it yet.
 * - `damaged`: a hash without a usable version.
 */
export type Reading =
  | { readonly kind: 'found'; readonly customer: StoredCustomer }
  | { readonly kind: 'missing' | 'filling' | 'damaged' }

export interface Customers {
  /** Rejects if Redis does not answer. */
  read(customerUuid: string): Promise<Reading>
  /** Resolves if Redis answers and grants all rights. On Redis Cluster, asks each master. */
  check(): Promise<void>
}

export interface CustomersOptions {
  readonly keyPrefix: string
  readonly projection: number
}

type Hash = Readonly<Record<string, string>>

export const createCustomers = (redis: RedisClient, { keyPrefix, projection }: CustomersOptions): Customers => {
  const positions = isCluster(redis)
    ? clusterPositionsKeys(projection, keyPrefix)
    : [positionsKey(projection, keyPrefix)]

  /**
   * Returns true if the projector has stored positions, and fills no partition from the state
   * topic. A Redis that was emptied has no positions. On Redis Cluster each master has a copy.
   */
  const isFilled = async (): Promise<boolean> => {
    const copies = await Promise.all(positions.map((key) => redis.hkeys(key)))
    return copies.every(
      (fields) => fields.some((field) => /\/\d+$/.test(field)) && !fields.some((field) => field.endsWith('#fill')),
    )
  }

  /** A key that is no hash belongs to another application, so it has no customer. */
  const readHash = async (customerUuid: string): Promise<Hash> => {
    try {
      return await redis.hgetall(customerKey(customerUuid, keyPrefix))
    } catch (error) {
      if ((error as Error).message.startsWith('WRONGTYPE')) return {}
      throw error
    }
  }

  const readingOf = (hash: Hash): Reading | undefined => {
    if (Object.keys(hash).length === 0) return undefined
    const customer = customerFromHash(hash)
    return customer.ok ? { kind: 'found', customer: customer.value } : { kind: 'damaged' }
  }

  return {
    read: async (customerUuid) => {
      const found = readingOf(await readHash(customerUuid))
      if (found) return found
      // Read again after the positions, because the fill may have ended since the first read.
      const [filled, hash] = await Promise.all([isFilled(), readHash(customerUuid)])
      return readingOf(hash) ?? { kind: filled ? 'missing' : 'filling' }
    },
    check: async () => {
      // No customer has an empty id. The reads show that Redis answers and that rights are granted.
      await Promise.all([isFilled(), readHash('')])
    },
  }
}
