/**
 * Keeps records on a local disk while Kafka does not answer, so that they can be promised all the same.
 *
 * At least once: what of a file was sent is not stored and files are deleted whole, so after a crash a file that was begun, or has records left, is sent again,
 * which every reader tolerates (it goes by version).
 * A promise is as good as the disk: without a volume that outlives the process's machine, or with one that lies about fsync, 202 is not honest.
 */
import { resolve as resolvePath } from 'node:path'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { createAppender } from './appender.ts'
import { findFiles, makeDirectory, retire, type SpoolFiles } from './directory.ts'
import { lockDirectory } from './lock.ts'
import { noteDamage, readUnsent, type Segment, type SpoolDamage } from './segment.ts'

export { SpoolFullError } from './appender.ts'
export { SpoolInUseError } from './lock.ts'
export type { SpoolDamage } from './segment.ts'

export interface SpoolOptions {
  /** Made if it is missing. One living process at a time. */
  readonly directory: string
  /** Of all files together, what is being written included. A file system counts whole blocks and needs a little more. */
  readonly maxBytes: number
  /** After this many bytes the next file begins; room is freed by whole files. A file is read into memory as a whole. */
  readonly segmentBytes?: number
  /** What may wait in memory for the disk. */
  readonly maxWaitingBytes?: number
  /** Each damage is told once, at opening or when it is met in draining. */
  readonly onDamage?: (damage: SpoolDamage) => void
}

/** `empty`: all was sent. `left`: a send has left something. `stopped`: by the signal or by closing. */
export type DrainEnd = 'empty' | 'left' | 'stopped'

export interface SendOptions {
  /** Whether these were left before. */
  readonly isRetry: boolean
  /** Has the record's file set aside instead of deleted, for people: the record will be taken nowhere. */
  readonly keep: (record: OutgoingRecord) => void
}

/** Resolves with those of the records that must be kept on. Never rejects. */
export type SpoolSend = (records: readonly OutgoingRecord[], options: SendOptions) => Promise<readonly OutgoingRecord[]>

export interface Spool {
  /**
   * Resolves when the record is on disk.
   * @throws SpoolFullError at once, or the error of the disk: then no promise may be given, though the record may still be sent.
   */
  append(record: OutgoingRecord): Promise<void>
  /** Whether a record with a value of so many bytes fits. Appends are refused before the last byte is taken, so that `size` cannot tell. */
  hasRoomFor(valueBytes: number): boolean
  /**
   * Hands the records to `send`, batch by batch, in order of arrival, and forgets those that it does not leave; also those that are appended meanwhile.
   * What it leaves, e.g. for a partition that fails, is tried again at the beginning of the next drain and holds up nothing behind it, until a few thousand are
   * left: then the drain ends. That a record which Kafka will never take is not left for ever is `send`'s business, as is the pace. One drain at a time; a second
   * call joins the first.
   * @throws the error of the disk; what could not be read or deleted does not stand in the way of the next drain.
   */
  drain(send: SpoolSend, signal?: AbortSignal): Promise<DrainEnd>
  /** Records not yet sent, bytes on disk, and the timestamp of the record that has waited longest. */
  readonly size: { readonly records: number; readonly bytes: number; readonly oldestAt: number | undefined }
  /** Resolves when what waits is on disk, a drain has finished the send it was in, and the directory is free. */
  close(): Promise<void>
}

const DEFAULT_SEGMENT_BYTES = 8 * 1024 * 1024
const DEFAULT_MAX_WAITING_BYTES = 16 * 1024 * 1024
/** As the publisher's flushes. */
const MAX_BATCH_RECORDS = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** What is left is held in memory. */
const MAX_LEFT_RECORDS = 5000
const MAX_LEFT_BYTES = 16 * 1024 * 1024

/** A record that was read, and where from. */
interface Item {
  readonly record: OutgoingRecord
  readonly segment: Segment
  readonly at: number
  readonly end: number
}

/** By itself, a view would hold the whole file in memory. */
const copied = (item: Item): Item => {
  const { key, value } = item.record
  return { ...item, record: { ...item.record, key: key && Buffer.from(key), value: value && Buffer.from(value) } }
}

const bytesOf = (items: readonly Item[]) => items.reduce((sum, { at, end }) => sum + end - at, 0)

const find = async (directory: string, report: (damage: SpoolDamage) => void): Promise<SpoolFiles> => {
  const files = await findFiles(directory, report)
  for (const segment of files.segments.filter(({ unsent }) => unsent === 0)) await retire(files, segment)
  return files
}

/**
 * Finds what an earlier process left, and sends it first.
 * @throws SpoolInUseError, or if a file is of a newer format: nothing of it is touched.
 */
export const openSpool = async (options: SpoolOptions): Promise<Spool> => {
  const { maxBytes, segmentBytes = DEFAULT_SEGMENT_BYTES, maxWaitingBytes = DEFAULT_MAX_WAITING_BYTES } = options
  const directory = resolvePath(options.directory)
  const report = (damage: SpoolDamage) => options.onDamage?.(damage)
  await makeDirectory(directory)
  const unlock = lockDirectory(directory)
  const files = await find(directory, report).catch((error) => {
    unlock()
    throw error
  })
  const { segments } = files
  const appender = createAppender(files, { maxBytes, segmentBytes, maxWaitingBytes })
  let draining: Promise<DrainEnd> | undefined
  let closed: Promise<void> | undefined

  let left: readonly Item[] = []

  const handOver = async (items: readonly Item[], send: SpoolSend, isRetry: boolean): Promise<readonly Item[]> => {
    const itemOf = new Map(items.map((item) => [item.record, item]))
    const keep = (record: OutgoingRecord) => {
      const item = itemOf.get(record)
      if (item) noteDamage(item.segment, 'refused', item.at, item.end, report)
    }
    const records = items.map(({ record }) => record)
    const stay = new Set(await send(records, { isRetry, keep }))
    for (const { record, segment } of items) if (!stay.has(record)) segment.unsent -= 1
    return items.filter(({ record }) => stay.has(record))
  }
  const retryLeft = async (send: SpoolSend) => {
    if (left.length === 0) return
    const before = left
    left = await handOver(before, send, true)
    const stay = new Set(left)
    for (const item of before) if (!stay.has(item)) item.segment.left -= 1
  }
  const mayLeaveMore = () => left.length < MAX_LEFT_RECORDS && bytesOf(left) < MAX_LEFT_BYTES

  const sendSegment = async (segment: Segment, send: SpoolSend, isStopped: () => boolean): Promise<Exclude<DrainEnd, 'empty'> | 'sent'> => {
    const end = segment.confirmedEnd
    const records = await readUnsent(segment, report)
    for (let next = records.next(); !next.done; ) {
      const batch: Item[] = []
      let bytes = 0
      while (
        !next.done &&
        batch.length < MAX_BATCH_RECORDS &&
        (batch.length === 0 || bytes + next.value.end - next.value.at <= MAX_BATCH_BYTES)
      ) {
        batch.push({ ...next.value, segment })
        bytes += next.value.end - next.value.at
        next = records.next()
      }
      if (segment.left === 0) segment.oldestAt = batch[0]?.record.timestamp
      if (isStopped()) return 'stopped'
      if (!mayLeaveMore()) return 'left'
      const stay = await handOver(batch, send, false)
      segment.left += stay.length
      left = left.concat(stay.map(copied))
      segment.sentEnd = batch.at(-1)?.end ?? segment.sentEnd
    }
    segment.sentEnd = end
    // Of a damaged one fewer came out than had gone in.
    if (segment.confirmedEnd === end) segment.unsent = segment.left
    return 'sent'
  }

  const run: (...args: Parameters<Spool['drain']>) => Promise<DrainEnd> = async (send, signal) => {
    const isStopped = () => closed !== undefined || signal?.aborted === true
    if (!isStopped()) await retryLeft(send)
    for (;;) {
      const isRead = ({ sentEnd, confirmedEnd }: Segment) => sentEnd >= confirmedEnd
      const sent = segments.find((segment) => isRead(segment) && segment.left === 0 && !appender.mayWriteTo(segment))
      const unread = segments.find((segment) => !isRead(segment))
      if (sent) {
        if (sent === segments.at(-1)) await appender.finish()
        await retire(files, sent)
      } else if (!unread && !appender.mayWriteTo(segments.at(-1))) return left.length > 0 ? 'left' : 'empty'
      else if (isStopped()) return 'stopped'
      else if (!unread) await appender.committed
      else if (!mayLeaveMore()) return 'left'
      else {
        const end = await sendSegment(unread, send, isStopped)
        if (end !== 'sent') return end
      }
    }
  }

  return {
    append: (record) => (closed ? Promise.reject(new Error('the spool is closed')) : appender.append(record)),
    hasRoomFor: (valueBytes) => appender.hasRoomFor(valueBytes),
    drain: (send, signal) => {
      draining ??= run(send, signal).finally(() => {
        draining = undefined
      })
      return draining
    },
    get size() {
      return {
        records: segments.reduce((sum, { unsent }) => sum + unsent, 0),
        bytes: files.bytes,
        oldestAt: segments.find(({ unsent }) => unsent > 0)?.oldestAt,
      }
    },
    close: () => {
      closed ??= (async () => {
        await appender.idle()
        await draining?.catch(() => {})
        await appender.finish().catch(() => {})
        unlock()
      })()
      return closed
    },
  }
}
