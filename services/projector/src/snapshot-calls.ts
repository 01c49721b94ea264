/** Calls apply-snapshots.lua, which writes the customers of a chunk or of a fill. */
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import { type CustomerHash, customerKey, erasedKey } from '@customer-stream/schemas'
import { type IndexedCustomer, type IndexUpdate, textOf } from './indexes.ts'
import { createPositionHash, type StoreOptions, script } from './position-hash.ts'
import { LostChunkError, type MoveOptions, windowText } from './position-store.ts'

/** Result of storing the newest event of one customer. */
export type StoreOutcome = 'applied' | 'duplicate' | 'stale' | 'erased'

/** Reply of apply-snapshots.lua for a customer whose newer hash was kept because of ARGV[5]. */
const KEPT = 4
const outcomes = new Map<number, StoreOutcome>([
  [1, 'applied'],
  [0, 'duplicate'],
  [-1, 'stale'],
  [2, 'erased'],
  [KEPT, 'stale'],
])
/** First element of the reply of apply-snapshots.lua if it has moved the position. */
const MOVED = 2
/**
 * First element of the reply of apply-snapshots.lua if the call must be repeated with the keys of
 * the marks.
 */
const NEEDS_MARK = 3

/**
 * Maximum customers of a call. Redis does nothing else during a call, which takes 250 customers ×
 * about 20 µs = 5 ms.
 */
export const CUSTOMERS_PER_CALL = 250
/**
 * Maximum number of entries of one customer that apply-snapshots.lua adds to indexes. The entries
 * of one call take at most 250 customers × 16 entries × about 2 µs = 8 ms. The entries of a
 * customer with more terms are added by separate calls.
 */
const MAX_ENTRIES_AT_ONCE = 16

/** Result of a call of apply-snapshots.lua. */
export interface AppliedCall {
  /** False if the stored position or token was not the expected one. Nothing was then written. */
  readonly isInPlace: boolean
  /** True if the call has moved the position. */
  readonly hasMoved: boolean
  /** The outcome of each customer. */
  readonly stored: readonly StoreOutcome[]
  /** The customers whose newer hash Redis keeps because of argument 5. */
  readonly kept: readonly CustomerHash[]
  /** The customers whose entries in indexes must be updated. */
  readonly indexUpdates: readonly IndexUpdate[]
}

/**
 * @param texts two elements for each customer whose entries must be updated: the customer's number,
 *   beginning at 1, and its field `_index`.
 * @param mayAddEntries returns true if the call has added the customer's entry in the dealer's
 *   index.
 */
const indexUpdatesOf = (
  customers: readonly IndexedCustomer[],
  stored: readonly StoreOutcome[],
  texts: readonly (number | string)[],
  mayAddEntries: (customer: IndexedCustomer) => boolean,
): IndexUpdate[] => {
  const indexOf = new Map<number, string>()
  for (let i = 0; i < texts.length; i += 2) indexOf.set(Number(texts[i]) - 1, String(texts[i + 1]))
  return customers.flatMap((customer, i) => {
    const index = indexOf.get(i)
    const isCurrent = stored[i] === 'applied' || stored[i] === 'duplicate'
    const needsDealer = stored[i] === 'applied' && !mayAddEntries(customer)
    return index !== undefined || needsDealer ? [{ customer, isCurrent, index }] : []
  })
}

/** The position that a call of apply-snapshots.lua checks. */
interface PositionCall extends Pick<MoveOptions, 'window' | 'stateTopicId'> {
  readonly from: string | undefined
  /** Token that must be stored. */
  readonly requiredToken: string
  /** Token to store. */
  readonly newToken: string
  /** True if nothing may be written while the partition is being filled from the state topic. */
  readonly waitsForFill?: boolean
  /** True if the call moves the position, unless entries must be updated first. */
  readonly isWholeChunk?: boolean
}

/** Returns arguments 7 to 15 of apply-snapshots.lua. */
export const positionArguments = (field: string, call: PositionCall, keyPrefix: string): string[] => {
  const { from = '', requiredToken, newToken, window, stateTopicId = '', waitsForFill, isWholeChunk } = call
  const flags = [waitsForFill, isWholeChunk].map((flag) => (flag ? '1' : ''))
  return [field, from, requiredToken, newToken, windowText(window), stateTopicId, ...flags, `${keyPrefix}index:`]
}

type Scripts = RedisClient & {
  applySnapshots(
    keyCount: number,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<(number | string)[]>
}

export interface SnapshotCalls {
  /**
   * Returns true if the call that applies the customer may add its entries. On Redis Cluster the
   * entries are in other slots.
   */
  mayAddEntries(customer: IndexedCustomer): boolean
  /**
   * Calls apply-snapshots.lua.
   * @param place arguments 2 to 5 of the script.
   * @param position arguments 7 to 15 of the script. Default: only argument 7, for a call that does
   *   not use positions.
   * @param withMarks false on Redis Cluster until the script asks for the keys of the marks.
   *   Otherwise a call with two keys would fail while a slot moves (TRYAGAIN).
   */
  applyAtOnce(
    customers: readonly IndexedCustomer[],
    place: readonly string[],
    position?: readonly string[],
    withMarks?: boolean,
  ): Promise<AppliedCall>
}

export const createSnapshotCalls = (client: RedisClient, options: StoreOptions): SnapshotCalls => {
  client.defineCommand('applySnapshots', { lua: script('apply-snapshots') })
  const redis = client as Scripts
  const { keyPrefix, projection } = options
  const clustered = isCluster(client)
  const { copies } = createPositionHash(client, options)
  const mayAddEntries = ({ terms = [] }: IndexedCustomer) => !clustered && terms.length <= MAX_ENTRIES_AT_ONCE

  const applyAtOnce: SnapshotCalls['applyAtOnce'] = async (
    customers,
    place,
    position = [''],
    withMarks = !clustered,
  ) => {
    const [positions = ''] = copies
    const keys = customers.map(({ customerUuid }) => customerKey(customerUuid, keyPrefix))
    if (withMarks) for (const { customerUuid } of customers) keys.push(erasedKey(customerUuid, keyPrefix))
    if (position.length > 1) keys.push(positions)
    const args: (string | number)[] = [projection, ...place, customers.length, ...position]
    for (const customer of customers) {
      const { customerUuid, version, terms, fieldsAndValues } = customer
      args.push(version.timestamp, version.id, customerUuid, textOf(terms))
      args.push(mayAddEntries(customer) ? '1' : '', fieldsAndValues.length)
      for (const part of fieldsAndValues) args.push(part)
    }
    const [state, ...replies] = await redis.applySnapshots(keys.length, keys, args)
    if (state === 0) return { isInPlace: false, hasMoved: false, stored: [], kept: [], indexUpdates: [] }
    if (state === -1) throw new LostChunkError()
    if (replies.slice(0, customers.length).includes(NEEDS_MARK)) return applyAtOnce(customers, place, position, true)
    const stored = customers.map((_, i) => {
      const outcome = outcomes.get(Number(replies[i] ?? Number.NaN))
      // An unknown reply must not count as success. Otherwise the position would move past an event
      // that is not stored.
      if (outcome === undefined) throw new Error(`apply-snapshots.lua replied ${String(replies[i])}`)
      return outcome
    })
    if (state !== 1 && state !== MOVED) throw new Error(`apply-snapshots.lua replied ${String(state)}`)
    const kept = customers.filter((_, i) => replies[i] === KEPT)
    const indexUpdates = indexUpdatesOf(customers, stored, replies.slice(customers.length), mayAddEntries)
    return { isInPlace: true, hasMoved: state === MOVED, stored, kept, indexUpdates }
  }

  return { mayAddEntries, applyAtOnce }
}
