/**
 * Reads a record of the raw topic. The projector uses the same functions. So a subscriber refuses
 * the records that the projector sends to quarantine, and for the same reasons.
 */
import { stateToHash } from './customer-hash.ts'
import { type CustomersEvent, type ParseFault, parseEvent } from './envelope.ts'
import { failed, ok, type Result } from './result.ts'
import { type CustomerState, stateOf } from './state.ts'
import { RAW_HEADERS } from './topics.ts'
import { isTooFarInFuture, MAX_FUTURE_MS, readVersion, type Version, type VersionFault } from './version.ts'

/** A record of Kafka, in the form of kafkajs. */
export interface RawRecord {
  /** A decimal number, as text. */
  readonly offset: string
  /** Time of receipt, Unix milliseconds, as text. */
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** A header that occurs more than once is an array. */
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>
}

/** A record and its place: `{ topic, partition, ...message }` in a handler of kafkajs. */
export interface PlacedRecord extends RawRecord {
  readonly topic: string
  readonly partition: number
}

/** The reasons why a record has no event whose version can be compared. */
export type EventFault =
  | ParseFault
  | VersionFault
  /** The record holds an event of another type. */
  | 'not-a-customers-event'
  /** The event's timestamp is later than its receipt by more than `MAX_FUTURE_MS`. */
  | 'too-far-in-future'

/**
 * The reasons why a record can never become a customer's state. `docs/contracts.md` lists these
 * reasons.
 */
export type RecordFault =
  | EventFault
  /** The customer has more fields than a hash in Redis may have. */
  | 'too-many-fields'

/**
 * Result of a failed read. `id`: the customerUuid, or the event's id if the customerUuid is
 * unknown.
 */
export type Refused<Reason extends string> = Extract<Result<never, Reason>, { ok: false }> & { readonly id?: string }

export interface VersionedEvent {
  readonly event: CustomersEvent
  readonly version: Version
}

/** A customers event of the raw topic: the customer's state, and the record of the event. */
export type CustomerEvent = CustomerState & {
  /** The given record, unchanged. Its value has the bytes of the request body. */
  readonly raw: PlacedRecord
}

/** Returns the content type that the sender declared. Undefined if the body is in UTF-8. */
export const contentTypeOf = ({ headers }: RawRecord): string | undefined =>
  headers?.[RAW_HEADERS.contentType]?.toString()

/** Parses a record and reads its version. Does not check that the customer can be stored. */
export const readEvent = (
  record: RawRecord,
  maxFutureMs: number = MAX_FUTURE_MS,
): { readonly ok: true; readonly value: VersionedEvent } | Refused<EventFault> => {
  const parsed = parseEvent(record.value ?? new Uint8Array(), { contentType: contentTypeOf(record) })
  if (!parsed.ok) {
    const { eventId, ...refused } = parsed
    return eventId === undefined ? refused : { ...refused, id: eventId }
  }
  const event = parsed.value
  if (event.kind !== 'customers') return failed('not-a-customers-event', `the type is ${event.type.slice(0, 100)}`)
  const id = event.customerUuid
  const version = readVersion(event.envelope)
  if (!version.ok) return { ...version, id }
  const receivedAt = Number(record.timestamp)
  if (isTooFarInFuture(version.value, receivedAt, maxFutureMs)) {
    const detail = `the timestamp ${version.value.timestamp} is too much later than the time of receipt, ${receivedAt}`
    return { ...failed('too-far-in-future', detail), id }
  }
  return ok({ event, version: version.value })
}

/**
 * Reads a record of the raw topic. Never throws. The event may be older than another event of the
 * customer, so compare the versions with `decide`.
 * @param maxFutureMs the projector's setting `MAX_FUTURE_MS`.
 * @returns the event, or the {@link RecordFault} for which the projector quarantines the record.
 */
export const readRecord = (
  record: PlacedRecord,
  { maxFutureMs }: { readonly maxFutureMs?: number | undefined } = {},
): { readonly ok: true; readonly value: CustomerEvent } | Refused<RecordFault> => {
  const read = readEvent(record, maxFutureMs)
  if (!read.ok) return read
  const { event } = read.value
  const { topic, partition, offset, timestamp } = record
  const state = stateOf(event, { topic, partition, offset, receivedAt: Number(timestamp) })
  // Convert the state to a hash, to find out whether the projector can store the customer.
  const hash = state.ok ? stateToHash(state.value, { appliedAt: 0, projection: 0 }) : state
  if (!state.ok || !hash.ok) return { ...(hash as Exclude<typeof hash, { ok: true }>), id: event.customerUuid }
  return ok({ ...state.value, raw: record })
}
