/**
 * Writes records to the spool in groups. Records that arrive during an fsync go into the next
 * write, so one fsync serves hundreds of requests.
 */
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { SpoolFiles } from './directory.ts'
import { encodeFrame, HEADER_BYTES, newMarker } from './format.ts'
import { createSegment, type Segment, type SegmentWriter } from './segment.ts'

/** Error: the spool has no room on disk or in memory. The record must not be acknowledged. */
export class SpoolFullError extends Error {
  override readonly name = 'SpoolFullError'
}

export interface AppenderOptions {
  readonly maxBytes: number
  readonly segmentBytes: number
  readonly maxWaitingBytes: number
  /** Throws if the directory or its lock file was replaced. */
  readonly isStillOurs: () => Promise<void>
}

export interface Appender {
  append(record: OutgoingRecord): Promise<void>
  /** Returns true if a record of this size fits, and the disk accepted the last record. */
  hasRoomFor(bytes: number): boolean
  /**
   * If the disk refused the last records, writes a test file to find out whether the disk works
   * again.
   */
  tryDisk(): Promise<void>
  /** Returns true if the next write may go to this segment (undefined: no segment yet). */
  mayWriteTo(segment: Segment | undefined): boolean
  /**
   * Resolves after the next write to the disk, even if the write failed. Stays pending while no
   * record is queued. Each write makes a new promise.
   */
  readonly committed: Promise<void>
  /** Resolves when no record waits for the disk. */
  idle(): Promise<void>
  /** Closes the current file. May be called only while no record waits for the disk. */
  finish(): Promise<void>
}

interface Entry {
  readonly frame: Buffer
  readonly timestamp: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const PROBE_BYTES = 64 * 1024

const canWrite = async (path: string): Promise<boolean> => {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'w')
    const { bytesWritten } = await file.write(Buffer.alloc(PROBE_BYTES))
    await file.datasync()
    return bytesWritten === PROBE_BYTES
  } catch {
    return false
  } finally {
    await file?.close()
    await unlink(path).catch(() => {})
  }
}

/** Returns the bytes that a record may need: its frame, and the header of a new file. */
const reservedBytes = (frame: Buffer): number => frame.length + HEADER_BYTES

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one open file
export const createAppender = (files: SpoolFiles, options: AppenderOptions): Appender => {
  const { maxBytes, segmentBytes, maxWaitingBytes } = options
  const { segments } = files
  const marker = newMarker()
  let queue: Entry[] = []
  let waitingBytes = 0
  let writer: SegmentWriter | undefined
  let pumping: Promise<void> | undefined
  let isFailing = false
  let committed = Promise.withResolvers<void>()
  const signalCommit = () => {
    committed.resolve()
    committed = Promise.withResolvers()
  }

  const finish = async () => {
    const finished = writer
    writer = undefined
    await finished?.close()
  }

  const begin = async (): Promise<SegmentWriter> => {
    files.lastNumber += 1
    const begun = await createSegment(files.directory, files.lastNumber, marker, options.isStillOurs)
    segments.push(begun.segment)
    return begun
  }

  const abandon = async () => {
    const abandoned = writer
    writer = undefined
    if (abandoned && (await abandoned.abandon())) segments.splice(segments.indexOf(abandoned.segment), 1)
  }

  /**
   * Takes the waiting records that fit into the current file. If no record fits, takes one record.
   */
  const take = (): Entry[] => {
    let end = writer?.segment.bytes ?? HEADER_BYTES
    let count = 0
    for (const { frame } of queue) {
      if (count > 0 && end + frame.length > segmentBytes) break
      end += frame.length
      count += 1
    }
    const group = queue.slice(0, count)
    queue = queue.slice(count)
    return group
  }

  const commit = async () => {
    if (writer && queue[0] && writer.segment.bytes + queue[0].frame.length > segmentBytes)
      await finish().catch(() => {})
    const group = take()
    let bytesBefore = 0
    let segment: Segment | undefined
    let failure: { readonly error: unknown } | undefined
    try {
      writer ??= await begin()
      segment = writer.segment
      bytesBefore = segment.bytes
      await writer.write(
        group.map(({ frame }) => frame),
        group[0]?.timestamp ?? 0,
      )
      isFailing = false
    } catch (error) {
      failure = { error }
      isFailing = true
      await abandon()
      // If the folder was moved, reject with the error about the folder instead, because the move
      // is the cause.
      await options.isStillOurs().catch((cause) => {
        failure = { error: cause }
      })
    }
    // Count the growth of the file instead of the reserved bytes.
    if (segment) files.bytes += segment.bytes - bytesBefore
    for (const { frame } of group) waitingBytes -= reservedBytes(frame)
    for (const { resolve, reject } of group) failure ? reject(failure.error) : resolve()
  }

  const pump = async () => {
    // Yield once, so that records of the same event-loop turn join this group.
    await new Promise(setImmediate)
    while (queue.length > 0) {
      await commit()
      signalCommit()
    }
    pumping = undefined
    signalCommit()
  }

  const isWithinBounds = (bytes: number) => files.bytes + waitingBytes + bytes <= maxBytes

  return {
    append: (record) => {
      const frame = encodeFrame(record)
      const bytes = reservedBytes(frame)
      if (!isWithinBounds(bytes)) return Promise.reject(new SpoolFullError(`the spool is full: ${maxBytes} bytes`))
      if (waitingBytes + bytes > maxWaitingBytes)
        return Promise.reject(new SpoolFullError('too many bytes wait for the disk'))
      return new Promise((resolve, reject) => {
        queue.push({ frame, timestamp: record.timestamp, resolve, reject })
        waitingBytes += bytes
        pumping ??= pump()
      })
    },
    hasRoomFor: (bytes) => !isFailing && isWithinBounds(bytes),
    tryDisk: async () => {
      if (!isFailing) return
      // Write a test file instead of waiting for the next record. The process is not ready, so a
      // load balancer may send it no request.
      isFailing = !(await canWrite(join(files.directory, 'probe')))
    },
    mayWriteTo: (segment) => pumping !== undefined && segment === segments.at(-1),
    get committed() {
      return committed.promise
    },
    idle: async () => {
      await pumping
    },
    finish,
  }
}
