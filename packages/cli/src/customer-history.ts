/**
 * Finds the outcome of each event of one customer. The caller adds the records of each partition in
 * order. Only the newest records are kept in memory.
 */
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import {
  compareVersions,
  decide,
  type Erasure,
  isErased,
  QUARANTINE_HEADERS,
  readRecord,
  type Version,
} from '@customer-stream/schemas'
import { versionOf } from './record-version.ts'

/**
 * Outcome of an event:
 * - `applied`: newer than the events of all earlier records.
 * - `older`: ignored, because an earlier record has a newer event.
 * - `repeat`: ignored, because an earlier record has the same event.
 * - `quarantined`: it can never be applied, and quarantine has a copy.
 * - `unusable`: it can never be applied, and quarantine has no copy. A newer event may have
 *   superseded it, or the copy was deleted.
 * - `erased`: the customer was erased. The event is in the topic until its retention has passed.
 * - `waiting`: no projector has applied the event yet, or the event is in a lookahead window that
 *   is not completely applied.
 */
export type Outcome = 'applied' | 'older' | 'repeat' | 'quarantined' | 'unusable' | 'erased' | 'waiting'

export interface HistoryEvent {
  /**
   * `topic/partition/offset` of the record. For an event that the ingress refused, this is its
   * record in quarantine.
   */
  readonly place: string
  /** Unix milliseconds. */
  readonly receivedAt: number
  /** Null if the event has no valid version. */
  readonly version: Version | null
  readonly outcome: Outcome
  /** Reason why the event is unusable or in quarantine. */
  readonly reason?: string
  /** `topic/partition/offset` of the newest copy in quarantine. */
  readonly copy?: string
  /** True if the hash in Redis comes from this record. */
  readonly isInRedis: boolean
}

export interface HistoryOptions {
  readonly customerUuid: string
  /** The raw topic. */
  readonly topic: string
  readonly maxFutureMs: number
  /** Maximum number of events. Older events are left out. */
  readonly limit: number
  /** The customer's last erasure. Undefined if the customer was never erased. */
  readonly erasure: Pick<Erasure, 'scope' | 'erasedAt'> | undefined
  /**
   * Offset by partition. Redis has every event of the partition before this offset. If the offset
   * is not known, the map has no entry.
   */
  readonly positions: ReadonlyMap<number, bigint>
  /** `_source` of the hash in Redis. */
  readonly source: string | undefined
}

export interface History {
  /**
   * Adds a record of the raw topic. Ignores records of other customers. The records of one
   * partition must be added in order. The partitions may be added in any order.
   */
  addRaw(record: FetchedRecord, partition: number): void
  /**
   * Adds a record of quarantine. Must be called after `addRaw` was called for all raw records.
   * Ignores records of other customers.
   */
  addQuarantined(record: FetchedRecord, topic: string, partition: number): void
  /**
   * Returns the events in the order of their receipt. Events of one partition keep their order.
   * Call this function once, at the end.
   */
  events(): readonly HistoryEvent[]
  /** Number of older events that were left out. */
  readonly leftOut: number
}

interface Kept {
  readonly place: string
  readonly partition: number
  readonly offset: bigint
  readonly receivedAt: number
  /** Undefined if the event has no valid version. */
  readonly version: Version | undefined
  /** Reason why the projector cannot apply the event. Undefined if it can. */
  readonly reason: string | undefined
}

/** Merges the partitions by time of receipt. The records of one partition keep their order. */
const merged = (partitions: Iterable<readonly Kept[]>): Kept[] => {
  const rest = [...partitions].map((records) => [...records])
  const all: Kept[] = []
  for (;;) {
    const waiting = rest.filter((records) => records.length > 0)
    const [first] = waiting.sort(([a], [b]) => (a?.receivedAt ?? 0) - (b?.receivedAt ?? 0))
    const next = first?.shift()
    if (next === undefined) return all
    all.push(next)
  }
}

/** Inserts the events that the ingress refused, each at its time of receipt. */
const inserted = (events: readonly HistoryEvent[], refused: readonly HistoryEvent[]): readonly HistoryEvent[] => {
  const all = [...events]
  for (const event of refused) {
    const at = all.findIndex(({ receivedAt }) => receivedAt > event.receivedAt)
    all.splice(at < 0 ? all.length : at, 0, event)
  }
  return all
}

const textOf = (header: unknown): string | undefined => (header === undefined ? undefined : String(header))

export const createHistory = ({ customerUuid, topic, limit, ...options }: HistoryOptions): History => {
  const { maxFutureMs, erasure, positions, source } = options
  const key = Buffer.from(customerUuid)
  const raw = new Map<number, Kept[]>()
  const refused: HistoryEvent[] = []
  /** Copies in quarantine, by place of the raw record. */
  const copies = new Map<string, { readonly reason: string; readonly copy: string }>()
  /** Places of the raw records that are in memory. Built at the first call of `addQuarantined`. */
  let places: ReadonlySet<string> | undefined
  let leftOut = 0
  /** Newest version of the events that were left out. */
  let heldBefore: Version | undefined

  const leaveOut = ({ version, reason }: Kept) => {
    leftOut += 1
    const isUsable = version !== undefined && reason === undefined
    if (isUsable && (!heldBefore || compareVersions(version, heldBefore) > 0)) heldBefore = version
  }
  const isOfErased = (version: Version | undefined) =>
    erasure !== undefined && (version ? isErased(erasure, version) : erasure.scope === 'forever')

  const outcomeOf = ({ place, partition, offset, version, reason }: Kept, held: Version | undefined) => {
    const copy = copies.get(place)
    const position = positions.get(partition)
    // The hash may come from an event after the position, because the projector writes the hash
    // before it moves the position.
    if (position !== undefined && offset >= position && place !== source) return { outcome: 'waiting' as const }
    if (copy !== undefined && place !== source) return { outcome: 'quarantined' as const, ...copy }
    if (version === undefined || reason !== undefined)
      return { outcome: 'unusable' as const, ...(reason !== undefined && { reason }) }
    if (isOfErased(version)) return { outcome: 'erased' as const }
    const decision = decide(held, version)
    return { outcome: ({ apply: 'applied', duplicate: 'repeat', stale: 'older' } as const)[decision] }
  }

  return {
    addRaw: (record, partition) => {
      if (!record.key || !key.equals(record.key)) return
      const read = readRecord({ topic, partition, ...record }, { maxFutureMs })
      // Skip a record that has this customer's key but names another customer. Only a foreign
      // producer writes such a record.
      if (read.ok && read.value.customerUuid !== customerUuid) return
      const kept = raw.get(partition) ?? []
      raw.set(partition, kept)
      kept.push({
        place: `${topic}/${partition}/${record.offset}`,
        partition,
        offset: BigInt(record.offset),
        receivedAt: Number(record.timestamp),
        version: read.ok ? read.value.version : versionOf(record),
        reason: read.ok ? undefined : read.reason,
      })
      const oldest = kept.length > limit ? kept.shift() : undefined
      if (oldest) leaveOut(oldest)
    },
    addQuarantined: (record, quarantine, from) => {
      const header = (name: keyof typeof QUARANTINE_HEADERS) => textOf(record.headers?.[QUARANTINE_HEADERS[name]])
      const reason = header('reason') ?? 'no reason'
      const offset = header('offset')
      if (offset !== undefined) {
        const original = `${header('topic')}/${header('partition')}/${offset}`
        places ??= new Set([...raw.values()].flat().map(({ place }) => place))
        if (places.has(original)) copies.set(original, { reason, copy: `${quarantine}/${from}/${record.offset}` })
        return
      }
      if (!record.key || !key.equals(record.key)) return
      refused.push({
        place: `${quarantine}/${from}/${record.offset}`,
        receivedAt: Number(record.timestamp),
        version: null,
        outcome: 'quarantined',
        reason,
        isInRedis: false,
      })
      if (refused.length > limit) refused.shift()
    },
    events: () => {
      const newest = merged(raw.values())
      for (const kept of newest.splice(0, Math.max(0, newest.length - limit))) leaveOut(kept)
      let held = heldBefore
      const events = newest.map((kept): HistoryEvent => {
        const { place, receivedAt, version } = kept
        const became = outcomeOf(kept, held)
        if (version && became.outcome === 'applied') held = version
        return { place, receivedAt, version: version ?? null, ...became, isInRedis: place === source }
      })
      return inserted(events, refused)
    },
    get leftOut() {
      return leftOut
    },
  }
}
