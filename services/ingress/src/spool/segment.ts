import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeHeader, encodeHeader, type Found, HEADER_BYTES, readFrames } from './format.ts'

/**
 * `torn-tail`: an append that was cut short, as a crash leaves it; nothing had been promised. `damage`: the medium gave back other bytes than were
 * written; what was promised may be lost. `unreadable`: it gave back none. `refused`: no damage of the medium; Kafka will take one of these records nowhere.
 */
export interface SpoolDamage {
  readonly file: string
  readonly offset: number
  readonly bytes: number
  readonly what: 'torn-tail' | 'damage' | 'unreadable' | 'refused'
}

/** One file. What waits in it are the records between `sentEnd` and `confirmedEnd`, and those before that were left. */
export interface Segment {
  readonly path: string
  marker: Buffer
  /** Written, or begun to be. */
  bytes: number
  /** Up to here it is known to be on disk. */
  confirmedEnd: number
  /** In memory only: what was sent of a file that is not yet deleted is sent again by the next process. */
  sentEnd: number
  /** How many were handed over in vain. */
  left: number
  unsent: number
  oldestAt: number | undefined
  /** Left by an earlier process: only such a one can end in a torn tail. */
  readonly inherited: boolean
  damaged: boolean
  readonly reported: Set<number>
}

const newSegment = (directory: string, number: number, marker: Buffer, inherited: boolean): Segment => ({
  path: join(directory, `${String(number).padStart(16, '0')}.segment`),
  marker,
  bytes: 0,
  confirmedEnd: 0,
  sentEnd: HEADER_BYTES,
  left: 0,
  unsent: 0,
  oldestAt: undefined,
  inherited,
  damaged: false,
  reported: new Set(),
})

/** Without it a power loss takes new names, though the files themselves were synced. */
export const syncDirectory = async (directory: string) => {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const writeAll = async (file: FileHandle, bytes: Buffer, position: number) => {
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
}

export interface SegmentWriter {
  readonly segment: Segment
  /** Resolves when the frames are on disk. After a failure only `abandon` may be called: what the page cache holds can no longer be trusted. */
  write(frames: readonly Buffer[]): Promise<void>
  /** Cuts off what was not confirmed. @returns whether the file is gone, nothing in it having been confirmed. */
  abandon(): Promise<boolean>
  close(): Promise<void>
}

export const createSegment = async (directory: string, number: number, marker: Buffer): Promise<SegmentWriter> => {
  const segment = newSegment(directory, number, marker, false)
  const file = await open(segment.path, 'wx')
  return {
    segment,
    write: async (frames) => {
      const isNew = segment.confirmedEnd === 0
      const bytes = Buffer.concat(isNew ? [encodeHeader(marker), ...frames] : frames)
      segment.bytes = segment.confirmedEnd + bytes.length
      await writeAll(file, bytes, segment.confirmedEnd)
      await file.datasync()
      if (isNew) await syncDirectory(directory)
      segment.confirmedEnd = segment.bytes
    },
    abandon: async () => {
      try {
        const isEmpty = segment.confirmedEnd === 0
        await (isEmpty ? unlink(segment.path) : file.truncate(segment.confirmedEnd))
        segment.bytes = segment.confirmedEnd
        return isEmpty
      } catch {
        // What stays is not read by this process; the next may send a record that was never promised, which is allowed.
        return false
      } finally {
        await file.close().catch(() => {})
      }
    },
    close: () => file.close(),
  }
}

/** The medium's own faults. Any other error (too many open files, no permission) says nothing about the file. */
const isMediumFault = (error: unknown): boolean => ['EIO', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')

/** @returns undefined if the medium does not give the bytes. */
const readRange = async ({ path }: Segment, from: number, to: number): Promise<Buffer | undefined> => {
  let file: FileHandle | undefined
  try {
    file = await open(path, 'r')
    const bytes = Buffer.allocUnsafe(to - from)
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, from + done)
      if (bytesRead === 0) return undefined
      done += bytesRead
    }
    return bytes
  } catch (error) {
    if (isMediumFault(error)) return undefined
    throw error
  } finally {
    await file?.close()
  }
}

export type Report = (damage: SpoolDamage) => void

/** Has the file set aside when it is done with, but for a torn tail. */
export const noteDamage = (segment: Segment, what: SpoolDamage['what'], offset: number, end: number, report: Report) => {
  if (what !== 'torn-tail') segment.damaged = true
  if (segment.reported.has(offset) || offset === end) return
  segment.reported.add(offset)
  report({ file: segment.path, offset, bytes: end - offset, what })
}

export type FoundRecord = Extract<Found, { kind: 'record' }>

/** Decodes one by one; the offsets count from the beginning of the file. */
function* unsentIn(segment: Segment, bytes: Buffer, report: Report): Generator<FoundRecord, void, void> {
  const { sentEnd } = segment
  for (const found of readFrames(bytes, segment.marker)) {
    const at = sentEnd + found.at
    const end = sentEnd + found.end
    if (found.kind === 'record') yield { ...found, at, end }
    else noteDamage(segment, segment.inherited ? found.kind : 'damage', at, end, report)
  }
}

/** The records that were not yet sent when it was called. */
export const readUnsent = async (segment: Segment, report: Report): Promise<Iterator<FoundRecord, unknown, undefined>> => {
  const { sentEnd, confirmedEnd } = segment
  const bytes = await readRange(segment, sentEnd, confirmedEnd)
  if (bytes) return unsentIn(segment, bytes, report)
  noteDamage(segment, 'unreadable', sentEnd, confirmedEnd, report)
  return [][Symbol.iterator]()
}

/** Opens what an earlier process left, and counts what is in it. */
export const inheritSegment = async (directory: string, number: number, bytes: number, report: Report): Promise<Segment> => {
  const segment = newSegment(directory, number, Buffer.alloc(0), true)
  segment.bytes = bytes
  const file = await readRange(segment, 0, bytes)
  if (!file) noteDamage(segment, 'unreadable', 0, bytes, report)
  else if (file.length < HEADER_BYTES || file.every((byte) => byte === 0)) noteDamage(segment, 'torn-tail', 0, bytes, report)
  else {
    const { marker, intact } = decodeHeader(file)
    if (!intact) noteDamage(segment, 'damage', 0, HEADER_BYTES, report)
    segment.marker = marker
    segment.confirmedEnd = bytes
    for (const { record } of unsentIn(segment, file.subarray(HEADER_BYTES), report)) {
      segment.oldestAt ??= record.timestamp
      segment.unsent += 1
    }
  }
  return segment
}
