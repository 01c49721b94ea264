import { type FileHandle, open, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import {
  decodeHeader,
  encodeHeader,
  encodeNote,
  type Found,
  findMarker,
  HEADER_BYTES,
  type Layout,
  NOTE_AT,
  readFrames,
  sealFrame,
} from './format.ts'
import { type FileView, openView, withPath } from './view.ts'

/**
 * `torn-tail`: an append that a crash cut short; nothing was acknowledged. `damage`: the disk returned other bytes than were
 * written. `unreadable`: the disk returned an error, or the file is gone. `refused`: Kafka accepts a record in no topic.
 * `foreign`: not a file of a known format; it is left as it is.
 */
export interface SpoolDamage {
  readonly file: string
  readonly offset: number
  readonly bytes: number
  readonly what: 'torn-tail' | 'damage' | 'unreadable' | 'refused' | 'foreign'
  /** Acknowledged records that cannot be read. Undefined if they cannot be counted. */
  readonly records?: number | undefined
}

/** The number of acknowledged records that this damage has cost, at least. */
export const lostRecords = ({ what, records }: SpoolDamage): number => (what === 'damage' || what === 'unreadable' ? (records ?? 1) : 0)

/** For the log: what happened, what the service does now, what a person must do. */
export const damageMessages: Readonly<Record<SpoolDamage['what'], string>> = {
  'torn-tail': 'a crash cut short the last write to a spool file; nothing in it was acknowledged; nothing is to be done',
  damage: 'a spool file is damaged; all other records are sent and the file is kept as .damaged: check the disk',
  unreadable: 'a spool file cannot be read in part; all other records are sent and the file is kept: check the disk',
  refused: 'Kafka accepts a spooled record in no topic; its file is kept as .damaged: mend the topic, take .damaged off, restart',
  foreign: 'the spool folder has a file of an unknown format; it is left as it is: remove it, or run the version that wrote it',
}

export type Report = (damage: SpoolDamage) => void

/** A growing set of small numbers: which records of a file were delivered. */
const createBits = () => {
  let bits = new Uint8Array(64)
  let count = 0
  return {
    has: (id: number) => ((bits[id >> 3] ?? 0) & (1 << (id & 7))) !== 0,
    add: (id: number) => {
      if (id >> 3 >= bits.length) {
        const grown = new Uint8Array(Math.max(2 * bits.length, (id >> 3) + 1))
        grown.set(bits)
        bits = grown
      }
      const mask = 1 << (id & 7)
      if (((bits[id >> 3] ?? 0) & mask) !== 0) return
      bits[id >> 3]! |= mask
      count += 1
    },
    get count() {
      return count
    },
  }
}

/** One file. */
export interface Segment {
  readonly number: number
  path: string
  /** Written by an earlier process. */
  readonly inherited: boolean
  readonly namedMarker: Buffer | undefined
  /** Undefined until the header was read. */
  layout: Layout | undefined
  /** Bytes written, or being written. */
  bytes: number
  /** Bytes known to be on disk. */
  confirmedEnd: number
  /** Records that were written, if that is known. */
  written: number | undefined
  /** Everything before this offset was read once. */
  scannedEnd: number
  /** Records found before `scannedEnd`. */
  found: number
  /** While the disk returns nothing of the file, it is not read again before this time, by `performance.now()`. */
  retryAt: number
  /** Records that were delivered, in memory only: the next process sends again the files that it finds. */
  readonly delivered: ReturnType<typeof createBits>
  /** The timestamp of the first record behind `scannedEnd`, or a bound of it. */
  unreadSince: number | undefined
  damaged: boolean
  readonly reported: Set<number>
}

export const newSegment = (path: string, number: number, bytes: number, inherited: boolean, namedMarker?: Buffer): Segment => ({
  number,
  path,
  inherited,
  namedMarker,
  layout: undefined,
  bytes,
  confirmedEnd: inherited ? bytes : 0,
  written: inherited ? undefined : 0,
  scannedEnd: inherited ? -1 : 0,
  found: 0,
  retryAt: 0,
  delivered: createBits(),
  unreadSince: undefined,
  damaged: false,
  reported: new Set(),
})

/** Makes new names in a directory durable: syncing the files themselves does not. */
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
  /** Resolves when the frames are on disk. After a failure only `abandon` may be called: the page cache can no longer be trusted. */
  write(frames: readonly Buffer[], firstTimestamp: number): Promise<void>
  /** Cuts off the bytes that were not confirmed. @returns whether the file is gone, because nothing in it was confirmed. */
  abandon(): Promise<boolean>
  close(): Promise<void>
}

/** The ending of a file in which nothing was acknowledged yet. */
export const NEW = '.new'

/** @param isStillOurs throws if the directory was lost: then nothing is acknowledged. */
export const createSegment = async (
  directory: string,
  number: number,
  marker: Buffer,
  isStillOurs: () => Promise<void>,
): Promise<SegmentWriter> => {
  const path = join(directory, `${String(number).padStart(16, '0')}-${marker.toString('hex')}.segment`)
  const segment = newSegment(path + NEW, number, 0, false, marker)
  segment.layout = { version: 2, marker, intact: true, start: HEADER_BYTES, note: undefined, firstTimestamp: undefined }
  const file = await open(segment.path, 'wx')
  return {
    segment,
    write: async (frames, firstTimestamp) => {
      try {
        const isNew = segment.confirmedEnd === 0
        const written = segment.written ?? 0
        const sealed = frames.map((frame, i) => sealFrame(frame, marker, written + i))
        const startAt = isNew ? HEADER_BYTES : segment.confirmedEnd
        const note = { syncedEnd: frames.reduce((end, { length }) => end + length, startAt), records: written + frames.length }
        segment.bytes = note.syncedEnd
        const header = isNew ? [encodeHeader(marker, firstTimestamp), encodeNote(marker, note)] : []
        await writeAll(file, Buffer.concat([...header, ...sealed]), segment.confirmedEnd)
        await file.datasync()
        if (isNew) {
          // Only the final name says that the file holds acknowledged records.
          await rename(segment.path, path)
          segment.path = path
          await syncDirectory(directory)
        }
        const { ino, nlink } = await file.stat()
        if (nlink === 0 || (await stat(path)).ino !== ino) throw new Error('the file was deleted or replaced while it was written')
        await isStillOurs()
        // Last: the note must not promise bytes that are cut off again because they are not acknowledged.
        if (!isNew) await writeAll(file, encodeNote(marker, note), NOTE_AT)
        if (segment.scannedEnd >= segment.confirmedEnd) segment.unreadSince = firstTimestamp
        segment.confirmedEnd = note.syncedEnd
        segment.written = note.records
      } catch (error) {
        throw withPath(error, path)
      }
    },
    abandon: async () => {
      try {
        const isEmpty = segment.confirmedEnd === 0
        await (isEmpty ? unlink(segment.path) : file.truncate(segment.confirmedEnd))
        segment.bytes = segment.confirmedEnd
        return isEmpty
      } catch {
        // This process does not read what remains. The next one may send a record that was never acknowledged, which is allowed.
        return false
      } finally {
        await file.close().catch(() => {})
      }
    },
    close: async () => {
      try {
        // The last note.
        await file.datasync()
      } finally {
        await file.close()
      }
    },
  }
}

/** Keeps the file as `.damaged` when it is done with, unless nothing acknowledged is missing. Each offset is reported once. */
export const noteDamage = (segment: Segment, damage: Omit<SpoolDamage, 'file'>, report: Report) => {
  if (damage.what !== 'torn-tail') segment.damaged = true
  if (segment.reported.has(damage.offset)) return
  segment.reported.add(damage.offset)
  report({ file: segment.path, ...damage })
}

export type FoundRecord = Extract<Found, { kind: 'record' }>

/** Learns from the header alone when a file was begun and how many records it has. Errors are left to `readSegment`. */
export const readHeader = async (segment: Segment) => {
  const head = Buffer.alloc(HEADER_BYTES)
  let file: FileHandle | undefined
  try {
    file = await open(segment.path, 'r')
    const { bytesRead } = await file.read(head, 0, HEADER_BYTES, 0)
    const { firstTimestamp, note } = decodeHeader(head.subarray(0, bytesRead), segment.namedMarker)
    segment.unreadSince = firstTimestamp ?? segment.unreadSince
    segment.written = note?.records
  } catch {
    // Not read here.
  } finally {
    await file?.close()
  }
}

const layoutOf = async (segment: Segment, view: FileView, end: number, report: Report): Promise<Layout> => {
  if (segment.layout) return segment.layout
  const decoded = decodeHeader(await view.read(0, HEADER_BYTES), segment.namedMarker)
  const layout = { ...decoded, marker: decoded.marker ?? (await findMarker(view.read, end)) }
  segment.layout = layout
  segment.unreadSince = layout.firstTimestamp ?? segment.unreadSince
  segment.written ??= layout.note?.records
  if (!layout.intact && layout.marker)
    noteDamage(segment, { what: 'damage', offset: 0, bytes: Math.min(layout.start, end), records: 0 }, report)
  return layout
}

/**
 * Reads a file's records up to `end`, with bounded memory, whatever the size of the file. Damage is skipped and reported.
 * @param from the end of a record that was read before, or 0.
 * @param isStillOurs throws if the directory itself was replaced: then a missing file is no damage.
 * @throws UnknownFormatError, or an error of the disk that says nothing about the file.
 */
export async function* readSegment(
  segment: Segment,
  from: number,
  end: number,
  report: Report,
  isStillOurs: () => Promise<void>,
): AsyncGenerator<FoundRecord, void, void> {
  const view = await openView(segment.path, end)
  if (!view) {
    await isStillOurs()
    noteDamage(segment, { what: 'unreadable', offset: 0, bytes: end, records: segment.written }, report)
    return
  }
  try {
    const layout = await layoutOf(segment, view, end, report)
    const { version, marker, start } = layout
    // A single record that is read again says nothing about the end of the file.
    const note = end === segment.confirmedEnd ? layout.note : undefined
    if (!marker) {
      noteDamage(segment, { what: 'damage', offset: 0, bytes: end }, report)
      return
    }
    const range = {
      from: Math.max(from, start),
      end,
      ordinal: from === 0 ? 0 : undefined,
      syncedEnd: note?.syncedEnd ?? Number.POSITIVE_INFINITY,
      records: note?.records,
    }
    for await (const found of readFrames(view.read, version, marker, range)) {
      if (found.kind === 'record') yield found
      else {
        const what = found.kind === 'damage' && view.hasGap(found.at, found.end) ? 'unreadable' : found.kind
        noteDamage(segment, { what, offset: found.at, bytes: found.end - found.at, records: found.records }, report)
      }
    }
  } finally {
    await view.close()
  }
}
