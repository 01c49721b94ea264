/**
 * The newest changes, in memory. Kafka is read once for all streams. Each stream keeps the number
 * of its next change. The log has a limit, so it may have removed the next change of a slow stream.
 */
import type { FetchedPart } from '@customer-stream/runtime/kafka'
import { type Change, createChange } from './change.ts'
import { offsetText, positionText, topicTag } from './stream-position.ts'

export interface LoggedChange {
  readonly change: Change
  /** Position after this change and all changes before it in the log. */
  readonly id: string
}

export interface LogPlace {
  /** Number of the next change. */
  readonly number: number
  /** Next offset of each partition. */
  readonly offsets: readonly number[]
}

export interface ChangeLog {
  /** Removes all changes, and continues at these positions. */
  begin(topicId: string, positions: ReadonlyMap<number, string>): void
  add(partition: number, part: Pick<FetchedPart, 'records' | 'nextOffset'>): void
  /** Undefined before `begin`. */
  readonly topic: string | undefined
  /** Next offset of each partition. */
  readonly offsets: readonly number[]
  /** Position after all changes. */
  readonly id: string
  /** Number of the oldest change in the log. */
  readonly first: number
  /** Number of the next change. */
  readonly end: number
  /** Returns a change by its number, from `first` to `end` - 1. */
  at(number: number): LoggedChange
  /** Returns true if the log has all changes of a partition at and after an offset. */
  hasFrom(partition: number, offset: number): boolean
  /**
   * Returns a partition whose changes must be read from Kafka, because the log does not have all
   * changes from these offsets on. Undefined if the log has them.
   */
  missingFor(offsets: readonly number[]): number | undefined
}

export interface ChangeLogLimits {
  readonly maxChanges: number
  readonly maxBytes: number
}

export const createChangeLog = ({ maxChanges, maxBytes }: ChangeLogLimits): ChangeLog => {
  let topic: string | undefined
  let entries: (LoggedChange | undefined)[] = []
  /** Index of the oldest change in `entries`. The slots before this index are empty. */
  let head = 0
  let first = 0
  let bytes = 0
  let offsets: number[] = []
  let texts: string[] = []
  /** For each partition, the offset from which on the log has all changes. */
  let starts: number[] = []

  const id = () => positionText(topic ?? '', texts)
  const move = (partition: number, offset: number) => {
    offsets[partition] = offset
    texts[partition] = offsetText(offset)
  }
  const forgetOldest = () => {
    const { change } = entries[head]!
    // Free the memory of the change now. Its slot is removed later, together with many other empty
    // slots.
    entries[head++] = undefined
    first += 1
    bytes -= change.bytes
    starts[change.partition] = change.offset + 1
    if (head < maxChanges) return
    entries = entries.slice(head)
    head = 0
  }

  return {
    begin: (topicId, positions) => {
      topic = topicTag(topicId)
      first += entries.length - head
      ;[entries, head, bytes, offsets, texts, starts] = [[], 0, 0, [], [], []]
      for (const [partition, position] of [...positions].toSorted(([a], [b]) => a - b)) {
        move(partition, Number(position))
        starts[partition] = Number(position)
      }
    },
    add: (partition, { records, nextOffset }) => {
      // Added partitions begin at offset 0. Any of them may get the first record, so add the
      // partitions with lower numbers, too.
      for (let added = offsets.length; added <= partition; added++) {
        move(added, 0)
        starts[added] = 0
      }
      for (const record of records) {
        const change = createChange(partition, record)
        move(partition, change.offset + 1)
        entries.push({ change, id: id() })
        bytes += change.bytes
        while (entries.length - head > maxChanges || (bytes > maxBytes && entries.length - head > 1)) forgetOldest()
      }
      move(partition, Number(nextOffset))
    },
    get topic() {
      return topic
    },
    get offsets() {
      return offsets
    },
    get id() {
      return id()
    },
    get first() {
      return first
    },
    get end() {
      return first + entries.length - head
    },
    at: (number) => entries[head + number - first]!,
    hasFrom: (partition, offset) => {
      const [start, end] = [starts[partition], offsets[partition]]
      return start !== undefined && end !== undefined && offset >= start && offset <= end
    },
    missingFor: (given) => {
      const partition = starts.findIndex((start, i) => (given[i] ?? 0) < start)
      return partition < 0 ? undefined : partition
    },
  }
}
