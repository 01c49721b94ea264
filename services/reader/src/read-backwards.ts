/**
 * Reads a range of a partition from its end, within a limit of bytes. Kafka reads only forwards, so
 * the range is read in windows, the newest window first.
 */
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import type { TopicReader } from './topic-reader.ts'

export interface BackwardRange {
  readonly partition: number
  /** Offset of the first record. */
  readonly first: number
  /** Offset after the last record. */
  readonly end: number
  /** Maximum bytes that are read, of all records. */
  readonly maxBytes: number
  /** Ends the reading early. */
  readonly signal: AbortSignal
}

export interface Window {
  /** Called for each record of the window, the oldest first. */
  add(record: FetchedRecord): void
}

/**
 * Number of records in the first window. Each later window has at most twice as many as the window
 * before it.
 */
const FIRST_WINDOW = 25

const bytesOf = ({ key, value }: FetchedRecord): number => (key?.byteLength ?? 0) + (value?.byteLength ?? 0)

/**
 * @param open returns a new window.
 * @param close called for each complete window. A window that would exceed the limit is dropped,
 *   because its newest records were not read.
 * @returns offset of the first record of the last complete window. `end` if there is none.
 */
export const readBackwards = async <W extends Window>(
  raw: Pick<TopicReader, 'read'>,
  { partition, first, end, maxBytes, signal }: BackwardRange,
  open: () => W,
  close: (window: W) => void,
): Promise<number> => {
  let bytes = 0

  /** Returns undefined if all windows together reach `limit` bytes. */
  const readWindow = async (from: number, until: number, limit: number): Promise<W | undefined> => {
    const window = open()
    for (let offset = from; offset < until; ) {
      if (bytes >= limit || signal.aborted) return undefined
      const { records, nextOffset } = await raw.read(partition, offset, until)
      for (const record of records) {
        bytes += bytesOf(record)
        if (Number(record.offset) < until) window.add(record)
      }
      offset = Number(nextOffset)
    }
    return window
  }

  let size = FIRST_WINDOW
  let oldest = end
  /** Bytes of the dropped first window. */
  let dropped = 0
  while (oldest > first && size >= 1) {
    const from = Math.max(first, oldest - size)
    const isFirst = oldest === end && size > 1
    // If the first window exceeds half of the limit, it is dropped, and the other half is used to
    // read a smaller window. Otherwise neither the large records nor the records before them could
    // be read.
    const window = await readWindow(from, oldest, isFirst ? maxBytes / 2 : maxBytes)
    if (window === undefined) {
      if (!isFirst || signal.aborted) return oldest
      size = 1
      dropped = bytes
      continue
    }
    close(window)
    oldest = from
    // Older records probably have the same size. Read only half as many as would fit, because they
    // may be larger.
    const fitting = Math.floor(((maxBytes - bytes) * (end - oldest)) / Math.max(bytes - dropped, 1) / 2)
    size = Math.min(2 * size, fitting)
  }
  return oldest
}
