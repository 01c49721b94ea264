/** Lists the customers of a dealer in the order of their last change. */
import type { RedisClient } from '@customer-stream/runtime/redis'
import { type IndexTerm, indexKey, type StoredCustomer } from '@customer-stream/schemas'
import type { Customers, MaySee } from './customers.ts'
import type { Positions } from './positions.ts'

/** Place of an entry in the index. Redis sorts by time, then by the bytes of the id. */
export interface Place {
  /** Timestamp of the customer's event, Unix milliseconds. */
  readonly timestamp: number
  readonly customerUuid: string
}

export interface PageOptions {
  /** Unix milliseconds. Earlier changes are left out. */
  readonly since: number
  /** Last entry of the previous page. Undefined for the first page. */
  readonly after: Place | undefined
  readonly limit: number
}

export type Page =
  /** `next` is undefined on the last page. */
  | { readonly kind: 'page'; readonly customers: readonly StoredCustomer[]; readonly next: Place | undefined }
  | { readonly kind: 'no-index' | 'filling' }

export type ListCustomers = (dealerUuid: string, options: PageOptions) => Promise<Page>

/**
 * Number of entries that are read in addition to a page. The reads begin at the timestamp of the
 * previous page's last customer, so the first entries may belong to the previous page.
 */
const SPARE = 100

const isAfter = (place: Place, after: Place): boolean =>
  place.timestamp > after.timestamp ||
  (place.timestamp === after.timestamp &&
    Buffer.compare(Buffer.from(place.customerUuid), Buffer.from(after.customerUuid)) > 0)

/** Converts the reply of WITHSCORES: member, score, member, score. */
const placesOf = (reply: readonly string[]): Place[] =>
  reply.flatMap((customerUuid, i) => (i % 2 === 0 ? [{ customerUuid, timestamp: Number(reply[i + 1]) }] : []))

export const createListCustomers = (
  redis: RedisClient,
  {
    positions,
    customers,
    keyPrefix,
  }: { readonly positions: Positions; readonly customers: Pick<Customers, 'readWithTerm'>; readonly keyPrefix: string },
): ListCustomers => {
  /**
   * Reads more than `limit` entries after a place, or all entries if there are fewer. All these
   * entries come from one call, so a change between two calls neither skips nor repeats an entry.
   */
  const readPlaces = async (key: string, { since, after, limit }: PageOptions): Promise<Place[]> => {
    for (let count = limit + SPARE; ; count *= 2) {
      const from = after?.timestamp ?? since
      const reply = await redis.zrangebyscore(key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, count)
      const places = placesOf(reply)
      const rest = after ? places.filter((place) => isAfter(place, after)) : places
      if (rest.length > limit || places.length < count) return rest
    }
  }

  return async (dealerUuid, options) => {
    // Check before the other reads, because the fill may end during these reads.
    if (!(await positions.read()).isFilled) return { kind: 'filling' }
    const term: IndexTerm = `dealer:${dealerUuid.toWellFormed()}`
    const places = await readPlaces(indexKey(term, keyPrefix), options)
    const wanted = places.slice(0, options.limit).map(({ customerUuid }) => customerUuid)
    // A customer may have another dealer by now.
    const isOfDealer: MaySee = (dealer) => dealer === dealerUuid
    const { customers: found, readCount } = await customers.readWithTerm(wanted, term, isOfDealer)
    // Read the positions again, because Redis may have been emptied during the other reads.
    const { isFilled, indexes } = await positions.read()
    if (!isFilled) return { kind: 'filling' }
    if (!indexes?.indexes.includes('dealer')) return { kind: 'no-index' }
    return { kind: 'page', customers: found, next: places.length > readCount ? places[readCount - 1] : undefined }
  }
}
