/**
 * Reads a partition ahead while its position is far behind, e.g. during a rebuild or after a loss
 * of Redis. The projector reads a window of records twice. The first pass reads only the versions
 * of the records. The second pass applies the records, and leaves out each event whose customer has
 * a newer event in the window. Parsing and storing an event cost much more than reading it twice.
 *
 * The position does not move during the first pass. During the second pass, each chunk stores the
 * position and the window. If the process ends during the second pass, the next process applies the
 * window again from its start. The list of superseded events was only in the memory of the process
 * that has ended.
 */
import type { FetchedBatch } from '@customer-stream/runtime/kafka'
import { compareVersions, type Version } from '@customer-stream/schemas'
import type { LookaheadWindow } from './position-store.ts'
import type { RawRecord } from './project.ts'

export interface LookaheadOptions {
  /** Maximum records of a window. 0 switches the first pass off. */
  readonly maxRecords: number
  /**
   * Returns the customer and the version of a record. Undefined if the customer or the version
   * cannot be read with certainty. The record and all later events of its customer are then
   * applied.
   */
  readonly peek: (
    record: RawRecord,
    partition: number,
  ) => { readonly customerUuid: string; readonly version: Version } | undefined
  /** Returns the customer of a record for which `peek` returned undefined. */
  readonly customerOf: (record: RawRecord) => string | undefined
  /** Returns the time in milliseconds. */
  readonly now?: () => number
}

/**
 * `apply`: the batch must be applied now. `read`: the batch was read, and the fetch continues after
 * the batch. `seek`: the first pass has ended, and the fetch must go back to the position.
 */
export type LookaheadStep = 'apply' | 'read' | 'seek'

export interface Lookahead {
  /**
   * Decides what happens to a batch. During a first pass, also notes the versions of the records.
   * @param position the expected position. Undefined if the position is not loaded.
   */
  step(batch: FetchedBatch, position: string | undefined): LookaheadStep
  /** Returns the records that are not superseded by a newer event of the window. */
  withoutSuperseded(partition: number, records: readonly RawRecord[]): readonly RawRecord[]
  /** Counts the events that `withoutSuperseded` leaves out between two offsets. */
  supersededBetween(
    partition: number,
    from: string,
    next: string,
  ): { readonly stale: number; readonly duplicate: number }
  /** The window to which the partition's next chunk belongs. */
  window(partition: number): LookaheadWindow | undefined
  /** Returns true if one of these records supersedes an event of the window. */
  supersedes(partition: number, records: readonly RawRecord[]): boolean
  /** Applies all records before the offset `end` without a first pass. */
  skipTo(partition: number, end: string): void
  /**
   * Forgets the window. Must be called when the position of the partition is loaded, before the
   * next fetch.
   */
  drop(partition: number): void
  /** Forgets all windows. */
  clear(): void
}

/**
 * A first pass needs at least this many records before the end of the partition. The pass ends
 * after this many records if it has found too few superseded records. If `maxRecords` is smaller,
 * `maxRecords` is used instead.
 */
const MIN_RECORDS = 5000
const MIN_SUPERSEDED_SHARE = 0.25
/**
 * After a first pass with too few superseded records, this many offsets are applied without a first
 * pass.
 */
const SKIPPED_RECORDS = 100_000n
/** Maximum customers in memory, over all first passes. Each customer needs about 250 bytes. */
const MAX_CUSTOMERS = 200_000
/**
 * Maximum time of a first pass. The position does not move during a first pass, and /readyz fails
 * if the position does not move for 15 s.
 */
const MAX_PASS_MS = 8000

/** Marks of a record. Records with the mark SUPERSEDES, or without a mark (0), must be applied. */
const SUPERSEDES = 1
const STALE = 2
const DUPLICATE = 3

interface Window extends LookaheadWindow {
  readonly endsAt: number
  /** Number of records that were read. */
  readonly records: number
  /** Number of customers in memory. 0 after the first pass. */
  readonly customers: number
  readonly superseded: number
  readonly isReading: boolean
  read(batch: FetchedBatch): void
  endPass(): void
  /** Returns the marks of the records between two offsets. */
  marksBetween(from: string, to: string): Uint8Array
  markOf(offset: string): number | undefined
}

const openWindow = (start: string, { maxRecords, peek, customerOf }: LookaheadOptions, endsAt: number): Window => {
  const base = BigInt(start)
  const indexOf = (offset: string) => Number(BigInt(offset) - base)
  const marks = new Uint8Array(maxRecords)
  /** Newest event of each customer. */
  const newest = new Map<string, { readonly version: Version; readonly index: number }>()
  /**
   * Customers with a record whose version is uncertain. After this record, no event of its customer
   * is marked as superseded. Otherwise that record could replace the hash, although an event that
   * was left out is newer.
   */
  const uncertain = new Set<string>()
  let isReading = true
  let end = start
  let records = 0
  let superseded = 0

  const note = (index: number, customerUuid: string, version: Version) => {
    if (uncertain.has(customerUuid)) return
    const other = newest.get(customerUuid)
    const order = other === undefined ? 1 : compareVersions(version, other.version)
    if (order > 0) newest.set(customerUuid, { version, index })
    if (other === undefined) return
    const [winner, loser] = order > 0 ? [index, other.index] : [other.index, index]
    marks[loser] = order === 0 ? DUPLICATE : STALE
    marks[winner] = SUPERSEDES
    superseded += 1
  }

  return {
    start,
    endsAt,
    get end() {
      return end
    },
    get records() {
      return records
    },
    get customers() {
      return newest.size + uncertain.size
    },
    get superseded() {
      return superseded
    },
    get isReading() {
      return isReading
    },
    read: (batch) => {
      for (const record of batch.records) {
        const index = indexOf(record.offset)
        if (index >= maxRecords) break
        const peeked = peek(record, batch.partition)
        if (peeked) note(index, peeked.customerUuid, peeked.version)
        else {
          const customerUuid = customerOf(record)
          if (customerUuid !== undefined) uncertain.add(customerUuid)
        }
        records += 1
      }
      end = batch.nextOffset
    },
    endPass: () => {
      newest.clear()
      uncertain.clear()
      isReading = false
    },
    marksBetween: (from, to) => marks.subarray(indexOf(from), indexOf(to)),
    markOf: (offset) => marks[indexOf(offset)],
  }
}

export const createLookahead = (options: LookaheadOptions): Lookahead => {
  const { maxRecords, now = () => performance.now() } = options
  const minRecords = Math.min(MIN_RECORDS, maxRecords)
  const windows = new Map<number, Window>()
  /** By partition: records before this offset are applied without a first pass. */
  const skippedTo = new Map<number, bigint>()

  const isFull = () => windows.values().reduce((sum, { customers }) => sum + customers, 0) >= MAX_CUSTOMERS
  const isFarBehind = (position: string, highWatermark: string) =>
    BigInt(highWatermark) - BigInt(position) >= minRecords

  /** Reads a batch, and decides whether the first pass continues. */
  const read = (window: Window, batch: FetchedBatch): LookaheadStep => {
    const { partition, nextOffset, highWatermark } = batch
    window.read(batch)
    const paysNot = window.records >= minRecords && window.superseded < window.records * MIN_SUPERSEDED_SHARE
    if (paysNot) skippedTo.set(partition, BigInt(nextOffset) + SKIPPED_RECORDS)
    const isAtEnd =
      BigInt(nextOffset) >= BigInt(highWatermark) || BigInt(nextOffset) - BigInt(window.start) >= maxRecords
    if (!paysNot && !isAtEnd && !isFull() && now() < window.endsAt) return 'read'
    window.endPass()
    return 'seek'
  }

  /** Continues a first pass. Undefined if the batch does not belong to the first pass. */
  const readOn = (window: Window, batch: FetchedBatch): LookaheadStep | undefined => {
    if (batch.fetchedFrom !== window.end) return undefined
    if (!batch.unreadable) return read(window, batch)
    window.endPass()
    return 'seek'
  }

  return {
    step: (batch, position) => {
      const { partition, fetchedFrom, highWatermark, records, unreadable } = batch
      const window = windows.get(partition)
      if (window?.isReading) {
        const step = readOn(window, batch)
        if (step) return step
      } else if (window && position !== undefined && BigInt(position) < BigInt(window.end)) return 'apply'
      windows.delete(partition)
      if (maxRecords === 0 || fetchedFrom !== position || unreadable || records.length === 0) return 'apply'
      if (BigInt(position) < (skippedTo.get(partition) ?? 0n) || isFull()) return 'apply'
      if (!isFarBehind(position, highWatermark)) return 'apply'
      const opened = openWindow(position, options, now() + MAX_PASS_MS)
      windows.set(partition, opened)
      return read(opened, batch)
    },
    withoutSuperseded: (partition, records) => {
      const window = windows.get(partition)
      return window ? records.filter(({ offset }) => (window.markOf(offset) ?? 0) < STALE) : records
    },
    supersededBetween: (partition, from, next) => {
      const marks = windows.get(partition)?.marksBetween(from, next) ?? new Uint8Array()
      const count = (wanted: number) => marks.reduce((sum, mark) => (mark === wanted ? sum + 1 : sum), 0)
      return { stale: count(STALE), duplicate: count(DUPLICATE) }
    },
    window: (partition) => {
      const window = windows.get(partition)
      return window && { start: window.start, end: window.end }
    },
    supersedes: (partition, records) => {
      const window = windows.get(partition)
      return window !== undefined && records.some(({ offset }) => window.markOf(offset) === SUPERSEDES)
    },
    skipTo: (partition, end) => void skippedTo.set(partition, BigInt(end)),
    drop: (partition) => void windows.delete(partition),
    clear: () => {
      windows.clear()
      skippedTo.clear()
    },
  }
}
