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
 * A problem of a spool file.
 * - `torn-tail`: a crash cut short an append. Nothing was acknowledged.
 * - `damage`: the disk returned other bytes than were written.
 * - `unreadable`: the disk returned an error, or the file is gone.
 * - `refused`: no topic accepts a record, not even quarantine.
 * - `foreign`: the file has an unknown format. It is not changed.
 */
export interface SpoolDamage {
  readonly file: string
  readonly offset: number
  readonly bytes: number
  readonly what: 'torn-tail' | 'damage' | 'unreadable' | 'refused' | 'foreign'
  /** Acknowledged records that cannot be read. Undefined if they cannot be counted. */
  readonly records?: number | undefined
}

/** Returns the minimum number of acknowledged records lost by this damage. */
export const lostRecords = ({ what, records }: SpoolDamage): number =>
  what === 'damage' || what === 'unreadable' ? (records ?? 1) : 0

/** Log messages: what happened, what the service does now, what a person must do. */
export const damageMessages: Readonly<Record<SpoolDamage['what'], string>> = {
  'torn-tail':
    'a crash cut short the last write to a spool file; nothing in it was acknowledged; nothing is to be done',
  damage: 'a spool file is damaged; all other records are sent and the file is kept as .damaged: check the disk',
  unreadable: 'a spool file cannot be read in part; all other records are sent and the file is kept: check the disk',
  refused:
    'Kafka accepts a spooled record in no topic; its file is kept as .damaged: mend the topic, take .damaged ' +
    'off, restart',
  foreign:
    'the spool folder has a file of an unknown format; it is left as it is: remove it, or run the version that ' +
    'wrote it',
}

export type Report = (damage: SpoolDamage) => void

/** Creates a growing set of small numbers, for the ids of the delivered records of a file. */
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

/** A spool file. */
export interface Segment {
  readonly number: number
  path: string
  /** Written by an earlier process. */
  readonly inherited: boolean
  readonly namedMarker: Buffer | undefined
  /** Undefined until the header has been read. */
  layout: Layout | undefined
  /** Number of bytes that are written or being written. */
  bytes: number
  /** End of the bytes that are known to be on disk. */
  confirmedEnd: number
  /** Number of written records, if known. */
  written: number | undefined
  /** End of the bytes that have been read at least once. */
  scannedEnd: number
  /** Number of records found before `scannedEnd`. */
  found: number
  /**
   * Earliest time of the next reading, on the clock of `performance.now()`. Set while nothing of
   * the file can be read.
   */
  retryAt: number
  /** Ids of the delivered records, in memory only. After a restart the whole file is sent again. */
  readonly delivered: ReturnType<typeof createBits>
  /** Timestamp of the first record after `scannedEnd`, or an estimate of it. */
  unreadSince: number | undefined
  damaged: boolean
  readonly reported: Set<number>
}

export const newSegment = (
  path: string,
  number: number,
  bytes: number,
  inherited: boolean,
  namedMarker?: Buffer,
): Segment => ({
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

/** Returns true if all records of the file were read at least once. */
export const isScanned = ({ scannedEnd, confirmedEnd }: Segment) => scannedEnd >= confirmedEnd
/** Returns true if all records of the file were delivered. */
export const isDone = (segment: Segment) => isScanned(segment) && segment.delivered.count >= segment.found

/** Makes new file names in a directory durable. A sync of the files themselves does not do this. */
export const syncDirectory = async (directory: string) => {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const writeAll = async (file: FileHandle, bytes: Buffer, position: number) => {
  for (let done = 0; done < bytes.length; )
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
}

export interface SegmentWriter {
  readonly segment: Segment
  /**
   * Writes frames. Resolves when they are on disk. After a failure only `abandon` may be called,
   * because the page cache can no longer be trusted.
   */
  write(frames: readonly Buffer[], firstTimestamp: number): Promise<void>
  /**
   * Cuts off the bytes that were not confirmed.
   * @returns true if nothing was confirmed, so that the file was deleted.
   */
  abandon(): Promise<boolean>
  close(): Promise<void>
}

/** Ending of the name of a file in which nothing has been acknowledged yet. */
export const NEW = '.new'

/**
 * Creates a file for new records.
 * @param isStillOurs throws if the directory was lost. Then nothing is acknowledged.
 */
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
        const note = {
          syncedEnd: frames.reduce((end, { length }) => end + length, startAt),
          records: written + frames.length,
        }
        segment.bytes = note.syncedEnd
        const header = isNew ? [encodeHeader(marker, firstTimestamp), encodeNote(marker, note)] : []
        await writeAll(file, Buffer.concat([...header, ...sealed]), segment.confirmedEnd)
        await file.datasync()
        if (isNew) {
          // Only a file with its final name may have acknowledged records.
          await rename(segment.path, path)
          segment.path = path
          await syncDirectory(directory)
        }
        const { ino, nlink } = await file.stat()
        if (nlink === 0 || (await stat(path)).ino !== ino)
          throw new Error('the file was deleted or replaced while it was written')
        await isStillOurs()
        // The note comes last. If a check above fails, the new bytes are cut off again, and the
        // note must not call them synced.
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
        // This process does not read the remaining bytes. The next process may send a record that
        // was never acknowledged, which is allowed.
        return false
      } finally {
        await file.close().catch(() => {})
      }
    },
    close: async () => {
      try {
        // Makes the last note durable.
        await file.datasync()
      } finally {
        await file.close()
      }
    },
  }
}

/**
 * Reports damage, once for each offset. Any damage but a torn tail also marks the file, so that it
 * is kept as `.damaged` later.
 */
export const noteDamage = (segment: Segment, damage: Omit<SpoolDamage, 'file'>, report: Report) => {
  if (damage.what !== 'torn-tail') segment.damaged = true
  if (segment.reported.has(damage.offset)) return
  segment.reported.add(damage.offset)
  report({ file: segment.path, ...damage })
}

export type FoundRecord = Extract<Found, { kind: 'record' }>

/**
 * Reads from the header when the file was begun and how many records it has. Errors are ignored:
 * `readSegment` handles them.
 */
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
    // `readSegment` handles the error.
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
 * Reads a file's records up to `end`, with bounded memory for any file size. Damage is skipped and
 * reported.
 * @param from the end of a record that was read before, or 0.
 * @param isStillOurs throws if the directory itself was replaced. Then a missing file is no damage.
 * @throws UnknownFormatError, UnreadableFileError, or an error that is no sign of a damaged file.
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
    // The drain may have deleted the file meanwhile, because all its records were delivered.
    if (!isDone(segment)) {
      const { written } = segment
      noteDamage(segment, { what: 'unreadable', offset: 0, bytes: end, records: written }, report)
    }
    return
  }
  try {
    const layout = await layoutOf(segment, view, end, report)
    const { version, marker, start } = layout
    // The note applies only to a reading up to the end of the file, not to a single record that is
    // read again.
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
