import {
  type CustomerEvent,
  decide,
  type PlacedRecord,
  type RecordFault,
  readRecord,
  readVersion,
  type Version,
} from '@customer-stream/schemas'
import { call, handleInvalid, type InvalidHandling, placeOf } from './invalid-record.ts'
import { SubscriberError } from './run-consumer.ts'

/**
 * New events of a chunk of records, and the position after the chunk. Store the events and the
 * position in one transaction.
 */
export interface DeliveryCommit {
  readonly partition: number
  /**
   * Position that the store must have before the transaction. Undefined if the store must have no
   * position.
   */
  readonly from: string | undefined
  /** Position to store: the offset of the next record, a decimal number as text. */
  readonly next: string
  /**
   * Events to store, in the order of the topic. Each event is newer than the stored version of its
   * customer, and newer than the customer's events before it. May be empty.
   */
  readonly events: readonly CustomerEvent[]
}

/**
 * Your store, for one topic. The store keeps state, versions and positions together, so that a
 * crash neither loses nor repeats an event.
 */
export interface DeliveryStore {
  /** Returns the stored position of a partition. Undefined or null if the store has no position. */
  position(partition: number): Promise<string | undefined | null> | string | undefined | null
  /**
   * Returns the stored versions of these customers. Leaves out customers that the store does not
   * have.
   */
  versions(customerUuids: readonly string[]): Promise<ReadonlyMap<string, Version>> | ReadonlyMap<string, Version>
  /**
   * Stores the events, their versions and the position in one transaction.
   * @returns true if the transaction was stored. False if the stored position was not `from`,
   *   because another process has the partition now. If false, the store must be unchanged.
   */
  commit(commit: DeliveryCommit): Promise<boolean> | boolean
}

export interface DeliveryHandling extends InvalidHandling<RecordFault> {
  readonly store: DeliveryStore
  /** Value of the projector's setting `MAX_FUTURE_MS`. Default: 24 hours. */
  readonly maxFutureMs?: number | undefined
}

const after = (offset: string): string => String(BigInt(offset) + 1n)

interface ReadChunk {
  readonly events: readonly CustomerEvent[]
  /** Position after the records that were read. Undefined if no record was read. */
  readonly next: string | undefined
  /** Error of the next record, for which `onInvalid` returned `stop`. */
  readonly error?: unknown
}

const readChunk = async (chunk: readonly PlacedRecord[], handling: DeliveryHandling): Promise<ReadChunk> => {
  const { maxFutureMs } = handling
  const events: CustomerEvent[] = []
  let next: string | undefined
  for (const record of chunk) {
    const read = readRecord(record, { maxFutureMs })
    try {
      if (read.ok) events.push(read.value)
      else await handleInvalid({ record, reason: read.reason, detail: read.detail }, handling)
    } catch (error) {
      return { events, next, error }
    }
    next = after(record.offset)
  }
  return { events, next }
}

/**
 * Returns the events that are newer than the customer's stored version and the customer's earlier
 * events.
 */
const newerEvents = (events: readonly CustomerEvent[], stored: ReadonlyMap<string, Version>): CustomerEvent[] => {
  const newest = new Map<string, Version>()
  for (const [customerUuid, version] of stored) {
    // Check the version's type, because a wrong type, such as a date, would make each event look
    // stale.
    const read = readVersion(version)
    if (!read.ok) throw new Error(`the version of customer ${customerUuid}: ${read.detail}`)
    newest.set(customerUuid, read.value)
  }
  return events.filter(({ customerUuid, version }) => {
    const isNewer = decide(newest.get(customerUuid), version) === 'apply'
    if (isNewer) newest.set(customerUuid, version)
    return isNewer
  })
}

/**
 * Reads the position of a partition from the store.
 * @throws SubscriberError if the store failed.
 */
export const readPosition = async (
  store: DeliveryStore,
  topic: string,
  partition: number,
): Promise<string | undefined> => {
  const place = `${topic}/${partition}`
  const position: unknown = await call('store.position', place, () => store.position(partition))
  if (position === undefined || position === null) return undefined
  if (typeof position === 'string' && /^\d+$/.test(position)) return position
  const what = `the ${typeof position} ${position}`
  throw new SubscriberError(`${place}: store.position returned ${what}, not a decimal number as text`)
}

/**
 * Stores the new events of a chunk together with the position after the chunk.
 * @param chunk records of one partition, in order.
 * @param from the position that the store should have.
 * @returns the position that is stored now. Undefined if the store's position was not `from`.
 * @throws SubscriberError if the store failed, or if `onInvalid` returned `stop`. The records
 *   before the invalid record are then stored.
 */
export const storeChunk = async (
  chunk: readonly [PlacedRecord, ...PlacedRecord[]],
  from: string | undefined,
  handling: DeliveryHandling,
): Promise<string | undefined> => {
  const { store } = handling
  const [first] = chunk
  const { partition } = first
  const place = placeOf(first)
  const { events: usable, next, error } = await readChunk(chunk, handling)
  if (next === undefined) throw error
  const customers = [...new Set(usable.map(({ customerUuid }) => customerUuid))]
  const events = await call('store.versions', place, async () =>
    customers.length === 0 ? [] : newerEvents(usable, await store.versions(customers)),
  )
  const isStored: unknown = await call('store.commit', place, () => store.commit({ partition, from, next, events }))
  if (typeof isStored !== 'boolean')
    throw new SubscriberError(`${place}: store.commit returned ${isStored}, not true or false`)
  if (isStored && error !== undefined) throw error
  return isStored ? next : undefined
}
