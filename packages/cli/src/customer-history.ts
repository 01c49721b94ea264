/**
 * Finds the outcome of each event of one customer. Pure function: it gets the records in the order
 * of their partition, and keeps only the newest records.
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

/**
 * Outcome of an event:
 * - `applied`: newer than every event before it.
 * - `older`, `repeat`: ignored, because an event before it is newer or the same.
 * - `quarantined`: it can never be applied, and quarantine has a copy.
 * - `unusable`: it can never be applied, and quarantine has no copy. A newer event may have
 *   superseded it, or the copy was deleted.
 * - `erased`: the customer was erased. The event is in the topic until its retention has passed.
 * - `waiting`: no projector has read it yet.
 */
export type Outcome = 'applied' | 'older' | 'repeat' | 'quarantined' | 'unusable' | 'erased' | 'waiting'

export interface HistoryEvent {
  /** `topic/partition/offset` of the record. An event that the ingress refused is in quarantine. */
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
  /** The raw topic, and the customer's partition in this topic. */
  readonly topic: string
  readonly partition: number
  readonly maxFutureMs: number
  /** Maximum number of events. Older events are left out. */
  readonly limit: number
  /** The customer's last erasure. Undefined if the customer was never erased. */
  readonly erasure: Pick<Erasure, 'scope' | 'erasedAt'> | undefined
  /** Offset of the next record to apply. Undefined if the offset is unknown. */
  readonly position: bigint | undefined
  /** `_source` of the hash in Redis. */
  readonly source: string | undefined
}

export interface History {
  /** Adds a record of the customer's partition. Ignores records of other customers. */
  addRaw(record: FetchedRecord): void
  /**
   * Adds a record of quarantine. Must be called after `addRaw` was called for all raw records.
   * Ignores records of other customers.
   */
  addQuarantined(record: FetchedRecord, topic: string, partition: number): void
  /** Returns the events in the order of their receipt. */
  events(): readonly HistoryEvent[]
  /** Number of older events that were left out. */
  readonly leftOut: number
}

interface Kept {
  readonly place: string
  readonly offset: bigint
  readonly receivedAt: number
  readonly version: Version | undefined
  readonly reason: string | undefined
}

const textOf = (header: unknown): string | undefined => (header === undefined ? undefined : String(header))

export const createHistory = ({ customerUuid, topic, partition, limit, ...options }: HistoryOptions): History => {
  const { maxFutureMs, erasure, position, source } = options
  const key = Buffer.from(customerUuid)
  const raw: Kept[] = []
  const refused: HistoryEvent[] = []
  /** Copies in quarantine, by offset of the raw record. */
  const copies = new Map<bigint, { readonly reason: string; readonly copy: string }>()
  /** Offsets of the kept records. Built at the first call of `addQuarantined`. */
  let offsets: ReadonlySet<bigint> | undefined
  let leftOut = 0
  /** Newest version of the events that were left out. */
  let heldBefore: Version | undefined

  const isNewer = (version: Version, held: Version | undefined) => !held || compareVersions(version, held) > 0
  const isOfErased = (version: Version | undefined) =>
    erasure !== undefined && (version ? isErased(erasure, version) : erasure.scope === 'forever')

  const outcomeOf = ({ place, offset, version, reason }: Kept, held: Version | undefined) => {
    const copy = copies.get(offset)
    // The projector writes the hash before it moves the position.
    if (position !== undefined && offset >= position && place !== source) return { outcome: 'waiting' as const }
    if (copy !== undefined && place !== source) return { outcome: 'quarantined' as const, ...copy }
    if (version === undefined) return { outcome: 'unusable' as const, ...(reason !== undefined && { reason }) }
    if (isOfErased(version)) return { outcome: 'erased' as const }
    const decision = decide(held, version)
    return { outcome: ({ apply: 'applied', duplicate: 'repeat', stale: 'older' } as const)[decision] }
  }

  return {
    addRaw: (record) => {
      if (!record.key || !key.equals(record.key)) return
      const read = readRecord({ topic, partition, ...record }, { maxFutureMs })
      // Another producer may use the key of one customer for another customer.
      if (read.ok && read.value.customerUuid !== customerUuid) return
      raw.push({
        place: `${topic}/${partition}/${record.offset}`,
        offset: BigInt(record.offset),
        receivedAt: Number(record.timestamp),
        version: read.ok ? read.value.version : undefined,
        reason: read.ok ? undefined : read.reason,
      })
      if (raw.length <= limit) return
      const version = raw.shift()?.version
      leftOut += 1
      if (version && isNewer(version, heldBefore)) heldBefore = version
    },
    addQuarantined: (record, quarantine, from) => {
      const header = (name: keyof typeof QUARANTINE_HEADERS) => textOf(record.headers?.[QUARANTINE_HEADERS[name]])
      const reason = header('reason') ?? 'no reason'
      const offset = header('offset')
      if (offset !== undefined) {
        const isOfPartition = header('topic') === topic && header('partition') === String(partition)
        const found = isOfPartition && /^\d+$/.test(offset) ? BigInt(offset) : undefined
        offsets ??= new Set(raw.map((each) => each.offset))
        if (found !== undefined && offsets.has(found))
          copies.set(found, { reason, copy: `${quarantine}/${from}/${record.offset}` })
        return
      }
      if (!record.key || !key.equals(record.key)) return
      refused.push({
        place: `${quarantine}/${from}/${record.offset}`,
        receivedAt: Number(record.timestamp),
        version: null,
        ...{ outcome: 'quarantined', reason, isInRedis: false },
      })
      if (refused.length > limit) refused.shift()
    },
    events: () => {
      let held = heldBefore
      const events = raw.map((kept): HistoryEvent => {
        const { place, receivedAt, version } = kept
        const became = outcomeOf(kept, held)
        if (version && became.outcome === 'applied') held = version
        return { place, receivedAt, version: version ?? null, ...became, isInRedis: place === source }
      })
      // Insert the events that the ingress quarantined, by their time of receipt. The other events
      // keep their order.
      for (const event of refused) {
        const at = events.findIndex(({ receivedAt }) => receivedAt > event.receivedAt)
        events.splice(at < 0 ? events.length : at, 0, event)
      }
      return events
    },
    get leftOut() {
      return leftOut
    },
  }
}
