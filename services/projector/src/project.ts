/** Converts raw records to customer hashes. Pure: it uses neither Kafka's client nor Redis'. */
import {
  type CustomerHash,
  type CustomersEvent,
  compareVersions,
  customerToHash,
  isTooFarInFuture,
  type ParseFault,
  type ProjectionFault,
  parseEvent,
  RAW_HEADERS,
  readVersion,
  type Version,
} from '@customer-stream/schemas'

/** A raw record of Kafka. `timestamp` is the time of receipt, Unix milliseconds as text. */
export interface RawRecord {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Headers in the form of kafkajs. A repeated header is an array. */
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>
}

export type QuarantineReason =
  | ParseFault
  | ProjectionFault
  | 'not-a-customers-event'
  | 'too-far-in-future'
  | 'named-by-setting'
  | 'unreadable-batch'

/** A record that can never be applied, and the reason. */
export interface Poison {
  readonly record: RawRecord
  readonly reason: QuarantineReason
  readonly detail: string
  /** customerUuid or event id, if it could be read. */
  readonly id?: string
}

export interface Projected {
  /** The newest event of each customer, at most one for each. */
  readonly newest: readonly CustomerHash[]
  readonly poison: readonly Poison[]
  /**
   * Events that are older than, or equal to, another event of this batch. They are not sent to
   * Redis.
   */
  readonly stale: number
  readonly duplicate: number
}

export interface ProjectOptions {
  readonly topic: string
  readonly partition: number
  readonly projection: number
  readonly maxFutureMs: number
  /** Records that an operator sends to quarantine, as `topic/partition/offset`. */
  readonly named: ReadonlySet<string>
  readonly now: number
}

/** A usable event, not yet compared with the others. */
interface Candidate {
  readonly record: RawRecord
  readonly event: CustomersEvent
  readonly version: Version
}

const poisonOf = (record: RawRecord, reason: QuarantineReason, detail: string, id?: string): Poison => ({
  record,
  reason,
  detail,
  ...(id !== undefined && { id }),
})

export const contentTypeOf = ({ headers }: RawRecord): string | undefined =>
  headers?.[RAW_HEADERS.contentType]?.toString()

const read = (record: RawRecord, maxFutureMs: number): Candidate | Poison => {
  const parsed = parseEvent(record.value ?? Buffer.alloc(0), { contentType: contentTypeOf(record) })
  if (!parsed.ok) return poisonOf(record, parsed.reason, parsed.detail, parsed.eventId)
  const event = parsed.value
  if (event.kind !== 'customers')
    return poisonOf(record, 'not-a-customers-event', `the type is ${event.type.slice(0, 100)}`)
  const version = readVersion(event.envelope)
  if (!version.ok) return poisonOf(record, version.reason, version.detail, event.customerUuid)
  const receivedAt = Number(record.timestamp)
  if (isTooFarInFuture(version.value, receivedAt, maxFutureMs)) {
    const detail = `the timestamp ${version.value.timestamp} lies too long after the receipt at ${receivedAt}`
    return poisonOf(record, 'too-far-in-future', detail, event.customerUuid)
  }
  return { record, event, version: version.value }
}

const newestOfEach = (candidates: readonly Candidate[]) => {
  const newest = new Map<string, Candidate>()
  let stale = 0
  let duplicate = 0
  for (const candidate of candidates) {
    const { customerUuid } = candidate.event
    const kept = newest.get(customerUuid)
    const order = kept === undefined ? undefined : compareVersions(candidate.version, kept.version)
    if (order === undefined || order > 0) newest.set(customerUuid, candidate)
    // The older of the two is counted here.
    if (order === 0) duplicate += 1
    else if (order !== undefined) stale += 1
  }
  return { newest: [...newest.values()], stale, duplicate }
}

/**
 * Reduces the records of one partition, in order, to the hashes that Redis needs. The result counts
 * each record exactly once. Only the newest event of a customer becomes a hash. If that is
 * impossible, it is poison, and the next newest event replaces it.
 */
export const project = (
  records: readonly RawRecord[],
  { topic, partition, projection, maxFutureMs, named, now }: ProjectOptions,
): Projected => {
  const poison: Poison[] = []
  let candidates: Candidate[] = []
  for (const record of records) {
    const isNamed = named.size > 0 && named.has(`${topic}/${partition}/${record.offset}`)
    const one = isNamed
      ? poisonOf(record, 'named-by-setting', 'QUARANTINE_RECORDS names this record')
      : read(record, maxFutureMs)
    if ('reason' in one) poison.push(one)
    else candidates.push(one)
  }
  for (;;) {
    const { newest, stale, duplicate } = newestOfEach(candidates)
    const hashes: CustomerHash[] = []
    const unfit = new Set<Candidate>()
    for (const candidate of newest) {
      const { record, event } = candidate
      const receivedAt = Number(record.timestamp)
      const hash = customerToHash(event, {
        topic,
        partition,
        offset: record.offset,
        receivedAt,
        appliedAt: now,
        projection,
      })
      if (hash.ok) hashes.push(hash.value)
      else {
        unfit.add(candidate)
        poison.push(poisonOf(record, hash.reason, hash.detail, event.customerUuid))
      }
    }
    if (unfit.size === 0) return { newest: hashes, poison, stale, duplicate }
    candidates = candidates.filter((candidate) => !unfit.has(candidate))
  }
}
