/**
 * Group commit, as in the publisher: what arrives while one write is being synced goes into the next, and one fsync serves hundreds of requests.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { SpoolFiles } from './directory.ts'
import { encodeFrame, HEADER_BYTES, newMarker } from './format.ts'
import { createSegment, type Segment, type SegmentWriter } from './segment.ts'

/** The spool has no room, on disk or for waiting: no promise may be given. */
export class SpoolFullError extends Error {
  override readonly name = 'SpoolFullError'
}

export interface AppenderOptions {
  readonly maxBytes: number
  readonly segmentBytes: number
  readonly maxWaitingBytes: number
}

export interface Appender {
  append(record: OutgoingRecord): Promise<void>
  /** Whether so many bytes more stay within `maxBytes`. */
  hasRoomFor(bytes: number): boolean
  /** Whether something waits for the disk, and this is the segment that it may go to. Undefined stands for the first of all. */
  mayWriteTo(segment: Segment | undefined): boolean
  /** Settled, and replaced, after each commit and when nothing waits any more. */
  readonly committed: Promise<void>
  /** Resolves when nothing waits any more. */
  idle(): Promise<void>
  /** Ends the file in writing. Only while nothing waits. */
  finish(): Promise<void>
}

interface Entry {
  readonly frame: Buffer
  readonly timestamp: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Room for one more record: it may have to begin a file. */
const reservedBytes = (frame: Buffer): number => frame.length + HEADER_BYTES

export const createAppender = (files: SpoolFiles, { maxBytes, segmentBytes, maxWaitingBytes }: AppenderOptions): Appender => {
  const { segments } = files
  const marker = newMarker()
  let queue: Entry[] = []
  let waitingBytes = 0
  let writer: SegmentWriter | undefined
  let pumping: Promise<void> | undefined
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
    const begun = await createSegment(files.directory, files.lastNumber, marker)
    segments.push(begun.segment)
    return begun
  }

  const abandon = async () => {
    const abandoned = writer
    writer = undefined
    if (abandoned && (await abandoned.abandon())) segments.splice(segments.indexOf(abandoned.segment), 1)
  }

  /** All that waits, as far as the file has room, but at least one. */
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
    if (writer && queue[0] && writer.segment.bytes + queue[0].frame.length > segmentBytes) await finish().catch(() => {})
    const group = take()
    let bytesBefore = 0
    let segment: Segment | undefined
    let failure: { readonly error: unknown } | undefined
    try {
      writer ??= await begin()
      segment = writer.segment
      bytesBefore = segment.bytes
      await writer.write(group.map(({ frame }) => frame))
      if (segment.unsent === 0) segment.oldestAt = group[0]?.timestamp
      segment.unsent += group.length
    } catch (error) {
      failure = { error }
      await abandon()
    }
    // Until here the whole reservation counted.
    if (segment) files.bytes += segment.bytes - bytesBefore
    for (const { frame } of group) waitingBytes -= reservedBytes(frame)
    for (const { resolve, reject } of group) failure ? reject(failure.error) : resolve()
  }

  const pump = async () => {
    // What arrives in the same turn of the event loop goes along.
    await new Promise(setImmediate)
    while (queue.length > 0) {
      await commit()
      signalCommit()
    }
    pumping = undefined
    signalCommit()
  }

  const hasRoomFor = (bytes: number) => files.bytes + waitingBytes + bytes <= maxBytes

  return {
    append: (record) => {
      const frame = encodeFrame(record, marker)
      const bytes = reservedBytes(frame)
      if (!hasRoomFor(bytes)) return Promise.reject(new SpoolFullError(`the spool holds its ${maxBytes} bytes`))
      if (waitingBytes + bytes > maxWaitingBytes) return Promise.reject(new SpoolFullError('too much waits for the disk'))
      return new Promise((resolve, reject) => {
        queue.push({ frame, timestamp: record.timestamp, resolve, reject })
        waitingBytes += bytes
        pumping ??= pump()
      })
    },
    hasRoomFor,
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
