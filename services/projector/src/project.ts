/** What becomes of raw records, before Redis is asked. Pure: knows neither Kafka's client nor Redis'. */
import {
  type CustomerHash,
  compareVersions,
  customerToHash,
  isTooFarInFuture,
  type ParseFault,
  type ProjectionFault,
  parseEvent,
} from '@customer-stream/schemas'

/** A raw record as Kafka holds it. `timestamp`: Unix milliseconds as text, when ingress received it. */
export interface RawRecord {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
}

export type QuarantineReason = ParseFault | ProjectionFault | 'not-a-customers-event' | 'too-far-in-future'

/** A record that can never be handled, and why. */
export interface Poison {
  readonly record: RawRecord
  readonly reason: QuarantineReason
  readonly detail: string
  /** customerUuid or event id where one could be read. */
  readonly id?: string
}

export interface Projected {
  /** The newest event of each customer: at most one per customer. */
  readonly newest: readonly CustomerHash[]
  readonly poison: readonly Poison[]
  /** Events beaten by another of this batch, and those that equal it: they need not be sent to Redis. */
  readonly stale: number
  readonly duplicate: number
}

export interface ProjectOptions {
  readonly topic: string
  readonly partition: number
  readonly projection: number
  readonly maxFutureMs: number
  readonly now: number
}

type One = { readonly hash: CustomerHash } | { readonly poison: Poison }

const projectOne = (record: RawRecord, options: ProjectOptions): One => {
  const poison = (reason: QuarantineReason, detail: string, id?: string): One => ({
    poison: { record, reason, detail, ...(id !== undefined && { id }) },
  })
  const parsed = parseEvent(record.value ?? Buffer.alloc(0))
  if (!parsed.ok) return poison(parsed.reason, parsed.detail, parsed.eventId)
  const event = parsed.value
  if (event.kind !== 'customers') return poison('not-a-customers-event', `the type is ${event.type.slice(0, 100)}`)
  const receivedAt = Number(record.timestamp)
  const { topic, partition, projection, now } = options
  const hash = customerToHash(event, { topic, partition, offset: record.offset, receivedAt, appliedAt: now, projection })
  if (!hash.ok) return poison(hash.reason, hash.detail, event.customerUuid)
  if (isTooFarInFuture(hash.value.version, receivedAt, options.maxFutureMs)) {
    return poison(
      'too-far-in-future',
      `the timestamp ${hash.value.version.timestamp} lies too long after the receipt at ${receivedAt}`,
      event.customerUuid,
    )
  }
  return { hash: hash.value }
}

/** Reduces records of one partition, in order, to what Redis must be told. Every record is counted in exactly one place of the result. */
export const project = (records: readonly RawRecord[], options: ProjectOptions): Projected => {
  const newest = new Map<string, CustomerHash>()
  const poison: Poison[] = []
  let stale = 0
  let duplicate = 0
  for (const record of records) {
    const one = projectOne(record, options)
    if ('poison' in one) {
      poison.push(one.poison)
      continue
    }
    const { hash } = one
    const kept = newest.get(hash.customerUuid)
    const order = kept === undefined ? undefined : compareVersions(hash.version, kept.version)
    if (order === undefined || order > 0) newest.set(hash.customerUuid, hash)
    // Whichever of the two loses is the one that is counted here.
    if (order === 0) duplicate += 1
    else if (order !== undefined) stale += 1
  }
  return { newest: [...newest.values()], poison, stale, duplicate }
}
