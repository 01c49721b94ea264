/** Reads customers from Redis. Never writes. */
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  currentTerms,
  customerFromHash,
  customerKey,
  type IndexTerm,
  type StoredCustomer,
} from '@customer-stream/schemas'
import type { Positions } from './positions.ts'

/**
 * What Redis has of a customer:
 * - `missing`: no customer, and Redis is not being filled.
 * - `filling`: no customer, but Redis was emptied, and the projector has not filled it yet.
 * - `damaged`: a hash without a usable version.
 */
export type Reading =
  | { readonly kind: 'found'; readonly customer: StoredCustomer }
  | { readonly kind: 'missing' | 'filling' | 'damaged' }

/** A stored customer with the terms of its indexes. */
export interface IndexedCustomer {
  readonly customer: StoredCustomer
  readonly terms: readonly IndexTerm[]
}

/** Error: a hash of a list has no usable version, so the list would be incomplete. */
export class DamagedCustomerError extends Error {
  override readonly name = 'DamagedCustomerError'
}

export interface Customers {
  /** Rejects if Redis does not answer. */
  read(customerUuid: string): Promise<Reading>
  /**
   * Reads those of the customers that have the term now. An entry of an index is only a candidate.
   * @throws DamagedCustomerError if a hash has no usable version.
   */
  readWithTerm(customerUuids: readonly string[], term: IndexTerm): Promise<StoredCustomer[]>
  /** Resolves if Redis answers and grants all rights. On Redis Cluster, asks each master. */
  check(): Promise<void>
}

type Hash = Readonly<Record<string, string>>

export const createCustomers = (redis: RedisClient, positions: Positions, keyPrefix: string): Customers => {
  /** A key that is no hash belongs to another application, so it has no customer. */
  const readHash = async (customerUuid: string): Promise<Hash> => {
    try {
      return await redis.hgetall(customerKey(customerUuid, keyPrefix))
    } catch (error) {
      if ((error as Error).message.startsWith('WRONGTYPE')) return {}
      throw error
    }
  }

  const indexedOf = ({ _index: index, ...hash }: Hash): IndexedCustomer | 'damaged' | undefined => {
    if (Object.keys(hash).length === 0) return undefined
    const customer = customerFromHash(hash)
    return customer.ok ? { customer: customer.value, terms: currentTerms(index) } : 'damaged'
  }

  const readingOf = (hash: Hash): Reading | undefined => {
    const found = indexedOf(hash)
    return typeof found === 'object' ? { kind: 'found', customer: found.customer } : found && { kind: found }
  }

  return {
    read: async (customerUuid) => {
      const found = readingOf(await readHash(customerUuid))
      if (found) return found
      // Read again after the positions, because the fill may have ended since the first read.
      const [{ isFilled }, hash] = await Promise.all([positions.read(), readHash(customerUuid)])
      return readingOf(hash) ?? { kind: isFilled ? 'missing' : 'filling' }
    },
    readWithTerm: async (customerUuids, term) => {
      const found = (await Promise.all(customerUuids.map(readHash))).map(indexedOf)
      return found.flatMap((each) => {
        if (each === 'damaged') throw new DamagedCustomerError()
        return each?.terms.includes(term) ? [each.customer] : []
      })
    },
    check: async () => {
      // No customer has an empty id. The reads show that Redis answers and that rights are granted.
      await Promise.all([positions.read(), readHash('')])
    },
  }
}
