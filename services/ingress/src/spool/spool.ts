/**
 * Keeps records on a local disk while Kafka does not answer, so that they can be promised all the same.
 *
 * At least once: how far a file was sent is not stored and files are deleted whole, so after a crash up to a file's worth of records is sent again, which
 * every reader tolerates (it goes by version).
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

/** `empty`: all was sent. `failed`: a send was rejected, or left something. `stopped`: by the signal or by closing. */
export type DrainEnd = 'empty' | 'failed' | 'stopped'

/**
 * Resolves when the records need not be kept any longer, with those that must be, for want of a place to go to by now. Rejects when none could be sent.
 * @param keep has the file set aside instead of deleted, for people: a record in it will be taken nowhere.
 */
export type SpoolSend = (records: readonly OutgoingRecord[], keep: () => void) => Promise<readonly OutgoingRecord[]>

export interface Spool {
  /**
   * Resolves when the record is on disk.
   * @throws SpoolFullError at once, or the error of the disk: then no promise may be given, though the record may still be sent.
   */
  append(record: OutgoingRecord): Promise<void>
  /** Whether a record with a value of so many bytes fits. Appends are refused before the last byte is taken, so that `size` cannot tell. */
  hasRoomFor(valueBytes: number): boolean
  /**
   * Hands the records to `send`, batch by batch, in order of arrival, and forgets them when it has resolved; also those that are appended meanwhile.
   * What it leaves is appended anew, so that it holds up nothing behind it, and the drain ends before it comes to that again.
   * A send that is rejected ends the drain, and the next drain begins with the same records: that a record which Kafka will never take does not stand
   * there for ever is `send`'s business, as is the pace. One drain at a time; a second call joins the first.
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

const oldest = (timestamps: readonly (number | undefined)[]): number | undefined =>
  timestamps.reduce((a, b) => (a === undefined || (b !== undefined && b < a) ? b : a), undefined)

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

  const countUnsent = () => segments.reduce((sum, { unsent }) => sum + unsent, 0)

  /** @param pass how many records this drain may still hand over; set once some were left. */
  const sendSegment = async (segment: Segment, send: SpoolSend, isStopped: () => boolean, pass: { left: number }) => {
    const end = segment.confirmedEnd
    const records = await readUnsent(segment, report)
    for (let next = records.next(); !next.done; ) {
      const batch: OutgoingRecord[] = []
      let { sentEnd } = segment
      let bytes = 0
      while (
        !next.done &&
        batch.length < MAX_BATCH_RECORDS &&
        (batch.length === 0 || bytes + next.value.end - next.value.at <= MAX_BATCH_BYTES)
      ) {
        batch.push(next.value.record)
        bytes += next.value.end - next.value.at
        sentEnd = next.value.end
        next = records.next()
      }
      segment.oldestAt = oldest(batch.map(({ timestamp }) => timestamp))
      if (isStopped()) return 'stopped'
      if (pass.left <= 0) return 'failed'
      try {
        const left = await send(batch, () => noteDamage(segment, 'refused', segment.sentEnd, sentEnd, report))
        pass.left = Math.min(pass.left, left.length > 0 ? countUnsent() : pass.left) - batch.length
        await Promise.all(left.map((record) => appender.append(record)))
      } catch {
        return 'failed'
      }
      segment.sentEnd = sentEnd
      segment.unsent -= batch.length
    }
    segment.sentEnd = end
    // Of a damaged one fewer came out than had gone in.
    if (segment.confirmedEnd === end) segment.unsent = 0
    return 'sent'
  }

  const run: (...args: Parameters<Spool['drain']>) => Promise<DrainEnd> = async (send, signal) => {
    const isStopped = () => closed !== undefined || signal?.aborted === true
    const pass = { left: Number.POSITIVE_INFINITY }
    for (;;) {
      const [segment] = segments
      const isWritten = appender.mayWriteTo(segment)
      if (!segment && !isWritten) return 'empty'
      const isSent = segment !== undefined && segment.sentEnd >= segment.confirmedEnd
      if (isSent && !isWritten) {
        if (segment === segments.at(-1)) await appender.finish()
        await retire(files, segment)
      } else if (isStopped()) return 'stopped'
      else if (!segment || isSent) await appender.committed
      else {
        const end = await sendSegment(segment, send, isStopped, pass)
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
        records: countUnsent(),
        bytes: files.bytes,
        oldestAt: oldest(segments.filter(({ unsent }) => unsent > 0).map(({ oldestAt }) => oldestAt)),
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
