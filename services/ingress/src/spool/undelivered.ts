/**
 * Reads the undelivered records of the spool's files. Skips an unreadable file and retries it
 * later, because the disk may be missing only for a while.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { UnknownFormatError } from './format.ts'
import { isScanned, noteDamage, type Report, readSegment, type Segment } from './segment.ts'
import { UnreadableFileError } from './view.ts'

/** Time between two attempts to read an unreadable file. */
const RETRY_MS = 500

/** Position in the spool: a file, and the offset of a frame in this file. */
export interface Position {
  readonly segment: number
  readonly at: number
}

/** Location of a record on disk, with the fields that a retry needs. */
export interface Place {
  readonly segment: Segment
  readonly at: number
  readonly end: number
  readonly id: number
  readonly timestamp: number
  readonly partition: string
}

export interface Item extends Place {
  readonly record: OutgoingRecord
}

export const isBefore = (a: Position, b: Position) => a.segment < b.segment || (a.segment === b.segment && a.at < b.at)

type PartitionOf = (record: OutgoingRecord) => string

export interface UndeliveredOptions {
  /**
   * Files of the spool, oldest first. The reader removes a file of an unknown format from the list.
   */
  readonly segments: Segment[]
  readonly report: Report
  /** Throws if the directory or the lock file was replaced. */
  readonly isStillOurs: () => Promise<void>
}

export interface Undelivered {
  /**
   * Reads the undelivered records at and after a position, in order. Yields each record with the
   * position after it.
   * @returns the position at which reading ended.
   */
  readFrom(
    from: Position,
    partitionOf: PartitionOf,
  ): AsyncGenerator<Item & { readonly behind: Position }, Position, void>
  /** Reads records again. Counts a record as delivered if it has become unreadable. */
  readPlaces(places: readonly Place[]): Promise<Item[]>
  /** Returns true if there is a file to read at or after a position. */
  hasFileFrom(from: Position): boolean
  /** Tries to read one unreadable file again. Returns true if the file has become readable. */
  retryUnreadable(): Promise<boolean>
}

export const createUndelivered = ({ segments, report, isStillOurs }: UndeliveredOptions): Undelivered => {
  const givesUp = (segment: Segment, error: unknown) => {
    if (error instanceof UnknownFormatError) {
      noteDamage(segment, { what: 'foreign', offset: 0, bytes: segment.bytes }, report)
      segments.splice(segments.indexOf(segment), 1)
      return true
    }
    if (!(error instanceof UnreadableFileError)) return false
    // Retry the file later, because the disk may be missing only for a while.
    if (segment.retryAt === 0)
      report({ file: segment.path, what: 'unreadable', offset: 0, bytes: segment.bytes, records: 0 })
    segment.retryAt = performance.now() + RETRY_MS
    return true
  }

  /**
   * Returns the file to read next. An empty file of an earlier process must be read too. Otherwise
   * no one would report that its records are lost.
   */
  const nextFile = (from: Position): Segment | undefined =>
    segments.find(
      ({ number, confirmedEnd, inherited, retryAt }) =>
        (number > from.segment ? confirmedEnd > 0 || inherited : number === from.segment && from.at < confirmedEnd) &&
        retryAt === 0,
    )

  /** Returns true if an unreadable file has become readable. */
  const becameReadable = async (segment: Segment): Promise<boolean> => {
    const reader = readSegment(segment, 0, segment.confirmedEnd, report, isStillOurs)
    // Set `retryAt` before the attempt. If the attempt fails, the next attempt reads another file.
    segment.retryAt = performance.now() + RETRY_MS
    try {
      await reader.next()
      segment.retryAt = 0
      return true
    } catch (error) {
      if (!givesUp(segment, error)) throw error
      return false
    } finally {
      await reader.return()
    }
  }

  async function* readFile(segment: Segment, start: number, end: number, partitionOf: PartitionOf) {
    const isReread = start === 0 && isScanned(segment)
    const reread: number[] = []
    for await (const { record, id, at, end: behind } of readSegment(segment, start, end, report, isStillOurs)) {
      if (at >= segment.scannedEnd) {
        segment.found += 1
        segment.scannedEnd = behind
      }
      if (segment.delivered.has(id)) continue
      if (isReread) reread.push(id)
      const { timestamp } = record
      const place = { segment, at, end: behind, id, timestamp, partition: partitionOf(record) }
      yield { ...place, record, behind: { segment: segment.number, at: behind } }
    }
    // Do not count records that have become unreadable. Otherwise the file would never be done.
    if (isReread && segment.scannedEnd === end)
      segment.found = segment.delivered.count + reread.filter((id) => !segment.delivered.has(id)).length
    segment.scannedEnd = Math.max(segment.scannedEnd, end)
  }

  async function* readFrom(from: Position, partitionOf: PartitionOf): ReturnType<Undelivered['readFrom']> {
    for (let at = from; ; ) {
      const segment = nextFile(at)
      if (!segment) return at
      const start = segment.number === at.segment ? at.at : 0
      const { confirmedEnd } = segment
      at = { segment: segment.number, at: confirmedEnd }
      try {
        yield* readFile(segment, start, confirmedEnd, partitionOf)
      } catch (error) {
        if (!givesUp(segment, error)) throw error
      }
    }
  }

  const readPlaces = async (places: readonly Place[]): Promise<Item[]> => {
    const items: Item[] = []
    for (const place of places) {
      let record: OutgoingRecord | undefined
      for await (const found of readSegment(place.segment, place.at, place.end, report, isStillOurs))
        record = found.record
      if (record) items.push({ ...place, record })
      // Count the record as delivered, because it has become unreadable. `readSegment` has reported
      // the damage.
      else place.segment.delivered.add(place.id)
    }
    return items
  }

  return {
    readFrom,
    readPlaces,
    hasFileFrom: (from) => nextFile(from) !== undefined,
    retryUnreadable: async () => {
      const unreadable = segments.find(({ retryAt }) => retryAt > 0 && retryAt <= performance.now())
      return unreadable !== undefined && (await becameReadable(unreadable))
    },
  }
}
