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
import { KafkaUnavailableError } from './kafka.ts'
import type { Positions } from './positions.ts'
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
  /** True if Redis has the customer from this event. */
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
  /** The records that were read: from the offset `from` up to, not including, `end`. */
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
  /** Aborts when the client is gone. The reading then ends early. */
  readonly gone: AbortSignal
}

export type ReadEvents = (query: EventsQuery) => Promise<CustomerEvents>

/** Maximum number of records that one request reads, of all customers of the partition. */
export const MAX_RECORDS = 20_000
/** Maximum number of events in an answer. */
export const MAX_EVENTS = 100
/** Maximum bytes of all events in an answer. A single event may be larger. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

type EventWithoutOutcome = Omit<CustomerEvent, 'outcome' | 'isCurrent'>

export interface Evidence {
  /** Offset of the record from which Redis has the customer. */
  readonly current: number | undefined
  /** Offset of the next record to apply. */
  readonly next: number | undefined
  /** True if earlier events of the customer are unknown. */
  readonly hasUnknownBefore: boolean
}

/**
 * Returns a function that adds the outcome to the events of one customer. The function must get
 * each event, the oldest first. An outcome that cannot be known is undefined.
 */
export const createAddOutcome = ({ current, next, hasUnknownBefore }: Evidence) => {
  let newest: Version | undefined
  let isNewestKnown = !hasUnknownBefore && current !== undefined && next !== undefined
  const outcomeOf = ({ offset, version, reason }: EventWithoutOutcome): Outcome | undefined => {
    const isCurrent = offset === current
    if (next !== undefined && offset >= next && !isCurrent) return 'waiting'
    if (version === undefined || reason !== undefined) return 'unusable'
    isNewestKnown ||= isCurrent
    const decision = isCurrent ? 'apply' : decide(newest, version)
    if (newest === undefined || compareVersions(version, newest) > 0) newest = version
    if (decision === 'apply') return isNewestKnown ? 'applied' : undefined
    return decision === 'stale' ? 'older' : 'repeat'
  }
  return (event: EventWithoutOutcome): CustomerEvent => ({
    ...event,
    outcome: outcomeOf(event),
    isCurrent: event.offset === current,
  })
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
 * Keeps the newest events, within the limits of an answer. A customer may have 20,000 events of a
 * megabyte, so older events must not stay in memory.
 */
const createNewest = () => {
  const kept: CustomerEvent[] = []
  let bytes = 0
  let count = 0
  return {
    add: (event: CustomerEvent) => {
      count += 1
      bytes += event.bytes.byteLength
      kept.push(event)
      while (kept.length > MAX_EVENTS || (bytes > MAX_ANSWER_BYTES && kept.length > 1))
        bytes -= kept.shift()?.bytes.byteLength ?? 0
    },
    /** Returns the kept events, the newest first, and whether they are all events. */
    result: () => ({ events: kept.toReversed(), areAll: kept.length === count }),
  }
}

export const createReadEvents =
  (raw: TopicReader, positions: Pick<Positions, 'read'>): ReadEvents =>
  async ({ customerUuid, since, current, gone }) => {
    const { topic } = raw
    const partition = partitionOf(customerUuid, await raw.countPartitions())
    // Read the position before the end. A record after this position was not applied at that time.
    const next = (await positions.read()).nextOffset(topic, partition)
    const [marks, start] = await Promise.all([raw.watermarks(), raw.offsetAt(partition, since)])
    const mark = marks.get(partition)
    if (mark === undefined || start === undefined) throw new KafkaUnavailableError('the partition has no leader')
    const [low, end] = [Number(mark.low), Number(mark.stable)]
    const from = Math.max(Math.min(start, end), low, end - MAX_RECORDS)
    const key = Buffer.from(customerUuid)
    const [, currentOffset] = /^.*\/(\d+)$/.exec(current?.source ?? '') ?? []
    const addOutcome = createAddOutcome({
      current: current?.source === `${topic}/${partition}/${currentOffset}` ? Number(currentOffset) : undefined,
      next,
      hasUnknownBefore: from > 0,
    })
    const newest = createNewest()
    for (let offset = from; offset < end && !gone.aborted; ) {
      const { records, nextOffset } = await raw.read(partition, offset, end)
      for (const record of records) {
        if (!record.key || !key.equals(record.key) || Number(record.offset) >= end) continue
        const event = eventOf(record, topic, partition)
        // Another producer may use the key of one customer for another customer.
        if (event.state === undefined || event.state.customerUuid === customerUuid) newest.add(addOutcome(event))
      }
      offset = Number(nextOffset)
    }
    const { events, areAll } = newest.result()
    return {
      topic,
      partition,
      events,
      from,
      end,
      isComplete: areAll && from <= Math.max(start, low),
    }
  }
