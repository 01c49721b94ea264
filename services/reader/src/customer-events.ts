/** Reads the history of one customer from a bounded part of the raw topic. */
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import {
  type CustomerState,
  compareVersions,
  contentTypeOf,
  decide,
  partitionOf,
  readRecord,
  type StoredCustomer,
  type Version,
} from '@customer-stream/schemas'
import { createFindFormer } from './former-partitions.ts'
import { KafkaUnavailableError } from './kafka.ts'
import type { Positions } from './positions.ts'
import { readBackwards } from './read-backwards.ts'
import type { TopicReader } from './topic-reader.ts'

/**
 * - `applied`: the event was the newest event when the projector read it.
 * - `older`: an earlier record has a newer event.
 * - `repeat`: an earlier record has the same event.
 * - `unusable`: the event can never be applied. `reason` says why.
 * - `waiting`: the projector has not read the event yet.
 */
export const OUTCOMES = ['applied', 'older', 'repeat', 'unusable', 'waiting'] as const
export type Outcome = (typeof OUTCOMES)[number]

export interface CustomerEvent {
  readonly offset: number
  /** Unix milliseconds. */
  readonly receivedAt: number
  readonly version: Version | undefined
  /** Undefined if the outcome is not known. */
  readonly outcome: Outcome | undefined
  readonly reason: string | undefined
  /** True if the customer's hash in Redis is from this event. */
  readonly isCurrent: boolean
  /** Undefined if the event is unusable. */
  readonly state: CustomerState | undefined
  readonly bytes: Buffer
  readonly contentType: string | undefined
}

export interface CustomerEvents {
  readonly topic: string
  readonly partition: number
  /** The newest event first. */
  readonly events: readonly CustomerEvent[]
  /** Offsets of the records that were read: from `from` to `end` - 1. */
  readonly from: number
  readonly end: number
  /** True if the events are all events since the given time. */
  readonly isComplete: boolean
}

export interface EventsQuery {
  readonly customerUuid: string
  /** Unix milliseconds. */
  readonly since: number
  /** The customer in Redis. Undefined if Redis has none. */
  readonly current: StoredCustomer | undefined
  /** Aborts when the client has disconnected. The history then ends early. */
  readonly gone: AbortSignal
}

export type ReadEvents = (query: EventsQuery) => Promise<CustomerEvents>

/** Maximum number of records that one request reads. Records of other customers count, too. */
export const MAX_RECORDS = 20_000
/** Maximum bytes of these records. */
export const MAX_READ_BYTES = 64 * 1024 * 1024
/** Maximum number of events in an answer. */
export const MAX_EVENTS = 100
/** Maximum bytes of all events in an answer. A single event may be larger. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

type EventOutcome = Pick<CustomerEvent, 'outcome' | 'isCurrent'>
type EventWithoutOutcome = Omit<CustomerEvent, keyof EventOutcome>
/** The part of an event that decides its outcome. */
type Facts = Pick<EventWithoutOutcome, 'offset' | 'version' | 'reason'>

export interface Evidence {
  /** Offset of the record from which the customer's hash in Redis was written. */
  readonly current: number | undefined
  /** Offset of the next record to apply. */
  readonly next: number | undefined
  /** True if earlier events of the customer are unknown. */
  readonly hasUnknownBefore: boolean
}

/**
 * Returns a function that finds the outcomes of the events of one customer. The function must get
 * each event, the oldest first. An outcome that cannot be known is undefined.
 */
export const createFindOutcome = ({ current, next, hasUnknownBefore }: Evidence) => {
  let newest: Version | undefined
  let isNewestKnown = !hasUnknownBefore && current !== undefined && next !== undefined
  const outcomeOf = ({ offset, version, reason }: Facts): Outcome | undefined => {
    const isCurrent = offset === current
    if (next !== undefined && offset >= next && !isCurrent) return 'waiting'
    if (version === undefined || reason !== undefined) return 'unusable'
    isNewestKnown ||= isCurrent
    const decision = isCurrent ? 'apply' : decide(newest, version)
    if (newest === undefined || compareVersions(version, newest) > 0) newest = version
    if (decision === 'apply') return isNewestKnown ? 'applied' : undefined
    return decision === 'stale' ? 'older' : 'repeat'
  }
  return (event: Facts): EventOutcome => ({ outcome: outcomeOf(event), isCurrent: event.offset === current })
}

const eventOf = (record: FetchedRecord, topic: string, partition: number): EventWithoutOutcome => {
  const read = readRecord({ topic, partition, ...record })
  return {
    offset: Number(record.offset),
    receivedAt: Number(record.timestamp),
    version: read.ok ? read.value.version : undefined,
    reason: read.ok ? undefined : read.reason,
    state: read.ok ? read.value : undefined,
    // Copy the bytes. Otherwise a small record would keep its whole batch in memory.
    bytes: Buffer.from(record.value ?? ''),
    contentType: contentTypeOf(record),
  }
}

/**
 * Keeps the newest events, within the limits of an answer. A customer may have thousands of large
 * events, so older events must not stay in memory. Events must be added the oldest first.
 */
const createNewest = () => {
  const kept: EventWithoutOutcome[] = []
  let bytes = 0
  let count = 0
  return {
    kept,
    isFull: () => kept.length < count,
    add: (event: EventWithoutOutcome) => {
      count += 1
      bytes += event.bytes.byteLength
      kept.push(event)
      while (kept.length > MAX_EVENTS || (bytes > MAX_ANSWER_BYTES && kept.length > 1))
        bytes -= kept.shift()?.bytes.byteLength ?? 0
    },
  }
}

/** Collects the events of a customer from windows of records, the newest window first. */
const createCollection = (customerUuid: string, topic: string, partition: number) => {
  const key = Buffer.from(customerUuid)
  let facts: Facts[] = []
  let newest = createNewest()

  const open = () => {
    const window = { facts: [] as Facts[], newest: createNewest() }
    const add = (record: FetchedRecord) => {
      if (!record.key || !key.equals(record.key)) return
      const event = eventOf(record, topic, partition)
      // Another producer may use the key of one customer for another customer.
      if (event.state !== undefined && event.state.customerUuid !== customerUuid) return
      const { offset, version, reason } = event
      window.facts.push({ offset, version, reason })
      window.newest.add(event)
    }
    return { ...window, add }
  }

  const close = (window: ReturnType<typeof open>) => {
    facts = [...window.facts, ...facts]
    // An event did not fit into the answer. Older events must not take its place.
    if (newest.isFull()) return
    for (const event of newest.kept) window.newest.add(event)
    newest = window.newest
  }

  /**
   * Returns the events that fit into an answer, the newest first, and whether these are all events.
   */
  const withOutcomes = (evidence: Evidence) => {
    const findOutcome = createFindOutcome(evidence)
    const outcomes = new Map(facts.map((each) => [each.offset, findOutcome(each)]))
    return {
      events: newest.kept.map((event) => ({ ...event, ...outcomes.get(event.offset)! })).toReversed(),
      areAll: !newest.isFull(),
    }
  }
  return { open, close, withOutcomes }
}

export const createReadEvents =
  (raw: TopicReader, positions: Pick<Positions, 'read'>, findFormer = createFindFormer(raw)): ReadEvents =>
  async ({ customerUuid, since, current, gone }) => {
    const { topic } = raw
    const count = await raw.countPartitions()
    const partition = partitionOf(customerUuid, count)
    // Read the position before the end of the partition. Otherwise an event could be stored and
    // applied between the two reads, and would be reported as waiting.
    const next = (await positions.read()).nextOffset(topic, partition)
    const [marks, start] = await Promise.all([raw.watermarks(), raw.offsetAt(partition, since)])
    const mark = marks.get(partition)
    if (mark === undefined || start === undefined) throw new KafkaUnavailableError('the partition has no leader')
    const [low, end] = [Number(mark.low), Number(mark.stable)]
    const first = Math.max(Math.min(start, end), low, end - MAX_RECORDS)
    const collection = createCollection(customerUuid, topic, partition)
    const range = { partition, first, end, maxBytes: MAX_READ_BYTES, signal: gone }
    const [from, former] = await Promise.all([
      readBackwards(raw, range, collection.open, collection.close),
      // If another partition cannot be read, answer with the events of this partition.
      findFormer({ customerUuid, since, count, marks }).catch(() => 'since' as const),
    ])
    const [, currentOffset] = /^.*\/(\d+)$/.exec(current?.source ?? '') ?? []
    const { events, areAll } = collection.withOutcomes({
      current: current?.source === `${topic}/${partition}/${currentOffset}` ? Number(currentOffset) : undefined,
      next,
      hasUnknownBefore: from > 0 || former !== 'none',
    })
    return {
      topic,
      partition,
      events,
      from,
      end,
      isComplete: areAll && from <= Math.max(start, low) && former !== 'since',
    }
  }
