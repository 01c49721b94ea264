/** Converts raw records to customer hashes. Pure functions: they call neither Kafka nor Redis. */
import {
  type CustomerHash,
  type CustomerState,
  type CustomersEvent,
  compareVersions,
  contentTypeOf,
  type IndexTerm,
  isTooFarInFuture,
  parseEvent,
  peekVersion,
  type RawRecord,
  type RecordFault,
  readEvent,
  stateOf,
  stateToHash,
  type Version,
  type VersionedEvent,
  writeState,
} from '@customer-stream/schemas'

export type { RawRecord }

export type QuarantineReason = RecordFault | 'named-by-setting' | 'unreadable-batch'

/** A record that can never be applied, and the reason. */
export interface Poison {
  readonly record: RawRecord
  readonly reason: QuarantineReason
  readonly detail: string
  /** customerUuid or event id. Undefined if neither could be read. */
  readonly id?: string
}

/** The newest event of a customer in a chunk. */
export interface NewestCustomer extends CustomerHash {
  /** Terms by which the customer is found. Undefined if indexes are switched off. */
  readonly terms?: readonly IndexTerm[]
  readonly record: RawRecord
  /** The state document as JSON. Undefined if no documents are wanted. */
  readonly document?: string
}

export interface Projected {
  /** At most one event for each customer. */
  readonly newest: readonly NewestCustomer[]
  readonly poison: readonly Poison[]
  /**
   * Number of events that are older than their customer's event in `newest`. Redis does not get
   * these events.
   */
  readonly stale: number
  /**
   * Number of events that are equal to their customer's event in `newest`. Redis does not get these
   * events.
   */
  readonly duplicate: number
}

export interface ProjectOptions {
  readonly topic: string
  readonly partition: number
  readonly projection: number
  readonly maxFutureMs: number
  /** The records that `QUARANTINE_RECORDS` names, as `topic/partition/offset`. */
  readonly named: ReadonlySet<string>
  readonly now: number
  /** Default: no state documents. */
  readonly withDocuments?: boolean
  /** Returns the terms of a customer. Undefined if indexes are switched off. */
  readonly termsOf?: ((state: CustomerState) => readonly IndexTerm[]) | undefined
}

/** An event that may become its customer's hash. */
interface Contender {
  readonly version: Version
  /** Returns the event's hash, or poison if the event cannot become a hash. */
  readonly hash: () => NewestCustomer | Poison
}

const poisonOf = (record: RawRecord, reason: QuarantineReason, detail: string, id?: string): Poison => ({
  record,
  reason,
  detail,
  ...(id !== undefined && { id }),
})

const read = (record: RawRecord, maxFutureMs: number): VersionedEvent | Poison => {
  const found = readEvent(record, maxFutureMs)
  return found.ok ? found.value : poisonOf(record, found.reason, found.detail, found.id)
}

/** Returns the state document as JSON. Undefined if the customer is nested too deep. */
const documentOf = (state: CustomerState): string | undefined => {
  try {
    return writeState(state)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

const toHash = (
  event: CustomersEvent,
  record: RawRecord,
  { topic, partition, projection, now, withDocuments, termsOf }: ProjectOptions,
): NewestCustomer | Poison => {
  const { offset, timestamp } = record
  const unusable = ({ reason, detail }: { reason: QuarantineReason; detail: string }) =>
    poisonOf(record, reason, detail, event.customerUuid)
  const state = stateOf(event, { topic, partition, offset, receivedAt: Number(timestamp) })
  if (!state.ok) return unusable(state)
  const hash = stateToHash(state.value, { appliedAt: now, projection })
  if (!hash.ok) return unusable(hash)
  const customer = { ...hash.value, record, ...(termsOf && { terms: termsOf(state.value) }) }
  if (!withDocuments) return customer
  const document = documentOf(state.value)
  return document === undefined
    ? unusable({ reason: 'nested-too-deep', detail: 'the customer is nested too deep to be written as JSON' })
    : { ...customer, document }
}

const readToHash = (record: RawRecord, options: ProjectOptions): NewestCustomer | Poison => {
  const one = read(record, options.maxFutureMs)
  return 'reason' in one ? one : toHash(one.event, record, options)
}

const keyOf = ({ key }: RawRecord): string | undefined => key?.toString('latin1')

const repeatedIn = (keys: readonly (string | undefined)[]): ReadonlySet<string | undefined> => {
  const seen = new Set<string | undefined>()
  const repeated = new Set<string | undefined>()
  for (const key of keys) {
    if (seen.has(key)) repeated.add(key)
    seen.add(key)
  }
  return repeated
}

// This function must not be inside another function. Otherwise its closure would keep the parsed
// event in memory.
const always =
  <Value>(value: Value) =>
  () =>
    value

/**
 * Reads customer and version of a record, and nothing else.
 * @returns undefined if the record must be parsed.
 */
export const peek = (
  record: RawRecord,
  maxFutureMs: number,
): { readonly customerUuid: string; readonly version: Version } | undefined => {
  const customerUuid = keyOf(record)
  if (customerUuid === undefined || record.value === null || contentTypeOf(record) !== undefined) return undefined
  const version = peekVersion(record.value, customerUuid)
  return version && !isTooFarInFuture(version, Number(record.timestamp), maxFutureMs)
    ? { customerUuid, version }
    : undefined
}

/** Returns the customer of a record. Undefined if the record has no customer. */
export const customerOf = (record: RawRecord): string | undefined => {
  const parsed = parseEvent(record.value ?? Buffer.alloc(0), {
    contentType: contentTypeOf(record),
    exactNumbers: false,
  })
  return parsed.ok && parsed.value.kind === 'customers' ? parsed.value.customerUuid : undefined
}

/** True if an operator sends the record to quarantine. */
export const isNamed = (
  { offset }: RawRecord,
  partition: number,
  { topic, named }: Pick<ProjectOptions, 'topic' | 'named'>,
): boolean => named.size > 0 && named.has(`${topic}/${partition}/${offset}`)

/**
 * Groups the events by customer. If a key occurs once, its event immediately becomes a hash, so
 * that few parsed events are in memory. If a key occurs more often, only the versions of its events
 * are read, because most of these events are superseded.
 */
const contendersOf = (records: readonly RawRecord[], options: ProjectOptions) => {
  const { partition, maxFutureMs } = options
  const customers = new Map<string, Contender[]>()
  const poison: Poison[] = []
  const add = (customerUuid: string, contender: Contender) => {
    const others = customers.get(customerUuid)
    if (others) others.push(contender)
    else customers.set(customerUuid, [contender])
  }
  const keys = records.map(keyOf)
  const repeated = repeatedIn(keys)
  for (const [i, record] of records.entries()) {
    if (isNamed(record, partition, options)) {
      poison.push(poisonOf(record, 'named-by-setting', 'QUARANTINE_RECORDS names this record'))
      continue
    }
    const isRepeated = repeated.has(keys[i])
    const peeked = isRepeated ? peek(record, maxFutureMs) : undefined
    if (peeked) {
      add(peeked.customerUuid, { version: peeked.version, hash: () => readToHash(record, options) })
      continue
    }
    const one = read(record, maxFutureMs)
    if ('reason' in one) {
      poison.push(one)
      continue
    }
    const { event, version } = one
    add(event.customerUuid, {
      version,
      hash: isRepeated ? () => toHash(event, record, options) : always(toHash(event, record, options)),
    })
  }
  return { customers, poison }
}

/**
 * Reduces the records of one partition, in order, to the hashes that Redis needs. The result counts
 * each record exactly once. Only the newest event of a customer becomes a hash. If the newest event
 * cannot become a hash, it is poison, and the next newest event takes its place. Older events may
 * be counted without being parsed. So an unusable older event is not poison.
 */
export const project = (records: readonly RawRecord[], options: ProjectOptions): Projected => {
  const { customers, poison } = contendersOf(records, options)
  const newest: NewestCustomer[] = []
  let stale = 0
  let duplicate = 0
  for (const contenders of customers.values()) {
    // The sort is stable, so the first copy of an event stays first.
    contenders.sort((a, b) => compareVersions(b.version, a.version))
    for (const [i, contender] of contenders.entries()) {
      const hash = contender.hash()
      if ('reason' in hash) {
        poison.push(hash)
        continue
      }
      newest.push(hash)
      for (const { version } of contenders.slice(i + 1)) {
        if (compareVersions(version, contender.version) === 0) duplicate += 1
        else stale += 1
      }
      break
    }
  }
  return { newest, poison, stale, duplicate }
}
