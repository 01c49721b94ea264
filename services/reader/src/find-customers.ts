/** Finds customers by phone number, e-mail address, VIN, or the key at their dealer. */
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  compareVersions,
  customerKey,
  type IndexTerm,
  indexKey,
  readVersion,
  type StoredCustomer,
  type Version,
} from '@customer-stream/schemas'
import { type CustomerQuery, termOf } from './customer-query.ts'
import { type Customers, hasTerm, type MaySee, unlessWrongType } from './customers.ts'
import type { Positions } from './positions.ts'

/**
 * - `no-term`: the value cannot be looked up, for example because it is not a phone number.
 * - `no-index`: the projector keeps no such index in this Redis.
 * - `filling`: Redis was emptied, so customers may be missing.
 */
export type Found =
  | { readonly kind: 'found'; readonly customers: readonly StoredCustomer[]; readonly isTruncated: boolean }
  | { readonly kind: 'no-term' | 'no-index' | 'filling' }

export type FindCustomers = (query: CustomerQuery, maySee: MaySee) => Promise<Found>

export const MAX_FOUND = 100
/** Maximum number of entries of an index that one search checks. */
const MAX_CANDIDATES = 10_000
const CHUNK = 500

interface Match {
  readonly customerUuid: string
  readonly version: Version
}

export const createFindCustomers = (
  redis: RedisClient,
  {
    positions,
    customers,
    keyPrefix,
  }: { readonly positions: Positions; readonly customers: Pick<Customers, 'readWithTerm'>; readonly keyPrefix: string },
): FindCustomers => {
  /** Reads only the fields that decide whether a candidate is a match. */
  const readMatch = async (customerUuid: string, term: IndexTerm, maySee: MaySee): Promise<Match[]> => {
    const [index, dealer, timestamp, id] = await redis
      .hmget(customerKey(customerUuid, keyPrefix), '_index', 'dealerUuid', '_eventTimestamp', '_eventId')
      .catch(unlessWrongType([]))
    if (!maySee(dealer ?? undefined) || !hasTerm(customerUuid, index ?? undefined, term)) return []
    const version = readVersion({ id, timestamp })
    // Sort a hash without a version first. `readWithTerm` then reads this hash and reports it.
    return [{ customerUuid, version: version.ok ? version.value : { timestamp: Number.MAX_SAFE_INTEGER, id: '' } }]
  }

  const matchesOf = async (candidates: readonly string[], term: IndexTerm, maySee: MaySee) => {
    const matches: Match[] = []
    for (let from = 0; from < candidates.length; from += CHUNK) {
      const chunk = candidates.slice(from, from + CHUNK)
      matches.push(...(await Promise.all(chunk.map((id) => readMatch(id, term, maySee)))).flat())
    }
    return matches.sort((a, b) => compareVersions(b.version, a.version))
  }

  return async (query, maySee) => {
    const { indexes, isFilled } = await positions.read()
    if (!indexes?.indexes.includes(query.index)) return { kind: 'no-index' }
    const term = termOf(query, indexes.country)
    if (term === undefined) return { kind: 'no-term' }
    // Check before the other reads, because the fill may end during these reads.
    if (!isFilled) return { kind: 'filling' }
    // The term has dealer and key in one text, so another dealer could have the same term.
    const isWanted: MaySee = (dealer) => maySee(dealer) && (query.dealer === undefined || query.dealer === dealer)
    const entries = await redis.zrevrange(indexKey(term, keyPrefix), 0, MAX_CANDIDATES)
    // If no customer has the value, read the empty id, which no customer has. Otherwise a faster
    // answer would show that no other dealer's customer has the value either.
    const candidates = entries.length === 0 ? [''] : entries.slice(0, MAX_CANDIDATES)
    const matches = await matchesOf(candidates, term, isWanted)
    const newest = matches.slice(0, MAX_FOUND).map(({ customerUuid }) => customerUuid)
    // A customer may have lost the term, or changed its dealer, since its candidate was checked.
    const { customers: found, readCount } = await customers.readWithTerm(newest, term, isWanted)
    // Read the positions again, because Redis may have been emptied during the other reads.
    if (!(await positions.read()).isFilled) return { kind: 'filling' }
    const isTruncated = matches.length > readCount || entries.length > MAX_CANDIDATES
    return { kind: 'found', customers: found, isTruncated }
  }
}
