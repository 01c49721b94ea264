/** Reads customers from Redis. Never writes. */
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  activityKey,
  currentTerms,
  customerFromHash,
  customerKey,
  dealersKey,
  driftKey,
  type IndexTerm,
  indexKey,
  isPending,
  META,
  readVersion,
  type StoredCustomer,
  type Version,
} from '@customer-stream/schemas'
import type { Positions } from './positions.ts'

/**
 * Returns true if the client may see customers of this dealer. `undefined`: customers without a
 * dealer.
 */
export type MaySee = (dealerUuid: string | undefined) => boolean

/**
 * Result of reading a customer for a client:
 * - `missing`: Redis has no customer that the client may see, and is not being filled.
 * - `filling`: Redis has no such customer yet, because the projector is filling an emptied Redis.
 */
export type Reading =
  | {
      readonly kind: 'found'
      readonly customer: StoredCustomer
      /** False while the projector updates the entries of the customer in indexes. */
      readonly isIndexed: boolean
    }
  | { readonly kind: 'missing' | 'filling' }

/** Error: a hash is damaged, so the answer would be wrong or incomplete. */
export class DamagedCustomerError extends Error {
  override readonly name = 'DamagedCustomerError'

  constructor(customerUuid: string) {
    super(`the hash of customer ${customerUuid} is damaged; customer-stream verify --repair corrects it`)
  }
}

/** The part of a customer that is read if the answer does not show the customer. */
export interface StoredVersion {
  readonly version: Version
  readonly dealerUuid: string | undefined
  readonly isIndexed: boolean
}

/** Customers that have a term. */
export interface CustomersWithTerm {
  readonly customers: readonly StoredCustomer[]
  /**
   * Number of ids that were read. These are the first ids of the list. The hashes of the other ids
   * would exceed the limit of an answer.
   */
  readonly readCount: number
}

export interface Customers {
  /**
   * Reads a customer. A customer that the client may not see is read like a missing customer, with
   * the same calls. So neither the answer nor its delay shows whether the customer exists.
   * @throws DamagedCustomerError if the hash has no usable version.
   */
  read(customerUuid: string, maySee: MaySee): Promise<Reading>
  /**
   * Reads only version and dealer, because a hash may have a megabyte.
   * @returns undefined if Redis has no customer that the client may see.
   * @throws DamagedCustomerError if the hash has no usable version.
   */
  readVersion(customerUuid: string, maySee: MaySee): Promise<StoredVersion | undefined>
  /**
   * Reads the given customers, and returns the customers that have the term now. An entry of an
   * index is only a candidate.
   * @throws DamagedCustomerError if a hash has no usable version.
   */
  readWithTerm(customerUuids: readonly string[], term: IndexTerm, maySee: MaySee): Promise<CustomersWithTerm>
  /** Resolves if Redis answers and grants all rights. On Redis Cluster, asks each master. */
  check(): Promise<void>
}

type Hash = Readonly<Record<string, string>>

/** Maximum UTF-16 code units of all hashes of one answer. The last chunk may exceed the limit. */
const MAX_ANSWER_LENGTH = 8 * 1024 * 1024
/** Number of hashes that are read together. A hash may have a megabyte. */
const CHUNK = 25

const lengthOf = (hash: Hash): number => Object.values(hash).reduce((sum, text) => sum + text.length, 0)

const customerOf = (customerUuid: string, hash: Hash): StoredCustomer => {
  const customer = customerFromHash(hash)
  if (!customer.ok) throw new DamagedCustomerError(customerUuid)
  return customer.value
}

/**
 * Returns true if the hash of a customer has the term.
 * @param index the field `_index` of the hash.
 * @throws DamagedCustomerError if the field is not a list of terms.
 */
export const hasTerm = (customerUuid: string, index: string | undefined, term: IndexTerm): boolean => {
  try {
    return currentTerms(index).includes(term)
  } catch {
    throw new DamagedCustomerError(customerUuid)
  }
}

/**
 * Returns a handler of Redis' errors. If a key is not a hash, the handler returns `value`: such a
 * key belongs to another application, so it holds no customer.
 */
export const unlessWrongType =
  <T>(value: T) =>
  (error: Error): T => {
    if (error.message.startsWith('WRONGTYPE')) return value
    throw error
  }

export const createCustomers = (redis: RedisClient, positions: Positions, keyPrefix: string): Customers => {
  const readHash = (customerUuid: string): Promise<Hash> =>
    redis.hgetall(customerKey(customerUuid, keyPrefix)).catch(unlessWrongType({}))

  const isVisible = (hash: Hash, maySee: MaySee) => Object.keys(hash).length > 0 && maySee(hash.dealerUuid)

  return {
    read: async (customerUuid, maySee) => {
      const readingOf = (hash: Hash): Reading | undefined =>
        isVisible(hash, maySee)
          ? { kind: 'found', customer: customerOf(customerUuid, hash), isIndexed: !isPending(hash._index) }
          : undefined
      const found = readingOf(await readHash(customerUuid))
      if (found) return found
      // Read again after the positions, because the fill may have ended since the first read. On
      // Redis Cluster two calls at the same time have no order.
      const { isFilled } = await positions.read()
      return readingOf(await readHash(customerUuid)) ?? { kind: isFilled ? 'missing' : 'filling' }
    },
    readVersion: async (customerUuid, maySee) => {
      const [id, timestamp, index, dealer] = await redis
        .hmget(customerKey(customerUuid, keyPrefix), META.eventId, META.eventTimestamp, META.index, 'dealerUuid')
        .catch(unlessWrongType([]))
      const isThere = [id, timestamp, index, dealer].some((value) => typeof value === 'string')
      if (!isThere || !maySee(dealer ?? undefined)) return undefined
      const version = readVersion({ id, timestamp })
      if (!version.ok) throw new DamagedCustomerError(customerUuid)
      return { version: version.value, dealerUuid: dealer ?? undefined, isIndexed: !isPending(index ?? undefined) }
    },
    readWithTerm: async (customerUuids, term, maySee) => {
      const customers: StoredCustomer[] = []
      let length = 0
      let readCount = 0
      while (readCount < customerUuids.length && length < MAX_ANSWER_LENGTH) {
        const chunk = customerUuids.slice(readCount, readCount + CHUNK)
        readCount += chunk.length
        for (const [i, hash] of (await Promise.all(chunk.map(readHash))).entries()) {
          const customerUuid = chunk[i] ?? ''
          if (!isVisible(hash, maySee) || !hasTerm(customerUuid, hash._index, term)) continue
          customers.push(customerOf(customerUuid, hash))
          length += lengthOf(hash)
        }
      }
      return { customers, readCount }
    },
    check: async () => {
      // These reads find nothing, because no customer, dealer or term is empty. But they fail if
      // Redis does not answer, or if a right is missing.
      const [{ indexes }] = await Promise.all([
        positions.read(),
        readHash(''),
        redis.hmget(customerKey('', keyPrefix), META.index),
        redis.zrange(dealersKey(keyPrefix), '0', '0'),
        redis.get(activityKey('', 0, keyPrefix)),
        redis.hgetall(driftKey(keyPrefix)),
      ])
      if (indexes === undefined) return
      const noTerm = indexKey('vin:', keyPrefix)
      await Promise.all([redis.zrevrange(noTerm, 0, 0), redis.zrangebyscore(noTerm, 0, 0), redis.zcard(noTerm)])
    },
  }
}
