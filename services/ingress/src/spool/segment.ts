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
 * Problem of a spool file.
 * - `torn-tail`: a crash interrupted an append. After a crash of the process, the incomplete
 *   records were not acknowledged. After a power loss, acknowledged records may be among them.
 * - `damage`: the disk returned bytes that differ from the written bytes.
 * - `unreadable`: the disk returned an error, or the file was deleted.
 * - `refused`: no topic accepts a record, not even quarantine.
 * - `foreign`: the file has an unknown format, and is not changed.
 */
export interface SpoolDamage {
  readonly file: string
  readonly offset: number
  readonly bytes: number
  readonly what: 'torn-tail' | 'damage' | 'unreadable' | 'refused' | 'foreign'
  /** Number of acknowledged records that cannot be read. Undefined if the number is unknown. */
  readonly records?: number | undefined
}

/** Returns the minimum number of acknowledged records that this damage has lost. */
export const lostRecords = ({ what, records }: SpoolDamage): number =>
  what === 'damage' || what === 'unreadable' ? (records ?? 1) : 0

/** Log messages: what happened, what the service does now, what a person must do. */
export const damageMessages: Readonly<Record<SpoolDamage['what'], string>> = {
  'torn-tail':
    'a crash interrupted the last write to a spool file; after a crash of the process no action is needed, because ' +
    'the records of this write were not acknowledged; after a power loss, see "The spool" in docs/operating.md',
  damage: 'a spool file is damaged; all other records are sent and the file is kept as .damaged: check the disk',
  unreadable: 'a part of a spool file cannot be read; all other records are sent and the file is kept: check the disk',
  refused:
    'Kafka accepts a spooled record in no topic; the file of the record is kept as .damaged: repair the topic, ' +
    'remove .damaged from the name of the file, restart the ingress',
  foreign:
    'the spool folder has a file of an unknown format; the file is unchanged: remove the file, or run the version of ' +
    'the ingress that wrote the file',
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
  /** True if an earlier process wrote the file. */
  readonly inherited: boolean
  readonly namedMarker: Buffer | undefined
  /** Layout of the file. Undefined until the header has been read. */
  layout: Layout | undefined
  /** Size of the file, including a write in progress. */
  bytes: number
  /** End of the bytes that are on disk (after fsync). */
  confirmedEnd: number
  /** Number of written records, if known. */
  written: number | undefined
  /** End of the bytes that the drain has read at least once. */
  scannedEnd: number
  /** Number of records found before `scannedEnd`. */
  found: number
  /**
   * Earliest time of the next attempt to read an unreadable file, on the clock of
   * `performance.now()`. 0 for a readable file.
   */
  retryAt: number
  /** Ids of the delivered records, in memory only. A restart sends the whole file again. */
  readonly delivered: ReturnType<typeof createBits>
  /** Timestamp of the first record after `scannedEnd`, perhaps estimated. */
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

/**
 * Makes the names of new files in a directory durable. A sync of a file makes only its bytes
 * durable.
 */
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
   * Writes frames. Resolves when the frames are on disk. After a failure only `abandon` may be
   * called, because the page cache may differ from the disk.
   */
  write(frames: readonly Buffer[], firstTimestamp: number): Promise<void>
  /**
   * Cuts off the unconfirmed bytes.
   * @returns true if the file had no confirmed bytes and was deleted.
   */
  abandon(): Promise<boolean>
  close(): Promise<void>
}

/** Ending of the name of a file without acknowledged records. */
export const NEW = '.new'

/**
 * Creates a file for new records.
 * @param isStillOurs throws if the directory was lost. No record is acknowledged in this case.
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
          // Give the file its final name. At the next start, a file whose name ends in `.new` is
          // deleted.
          await rename(segment.path, path)
          segment.path = path
          await syncDirectory(directory)
        }
        const { ino, nlink } = await file.stat()
        if (nlink === 0 || (await stat(path)).ino !== ino)
          throw new Error('the file was deleted or replaced while it was written')
        await isStillOurs()
        // Write the note last. If a check before this line fails, the new bytes are cut off, so the
        // note must not count them.
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
        // This process ignores the remaining bytes. The next process may send an unacknowledged
        // record, which is harmless.
        return false
      } finally {
        await file.close().catch(() => {})
      }
    },
    close: async () => {
      try {
        // Sync the last note.
        await file.datasync()
      } finally {
        await file.close()
      }
    },
  }
}

/**
 * Reports damage once for each offset. Marks the file, so that it is later renamed to `.damaged`. A
 * torn tail does not mark the file.
 */
export const noteDamage = (segment: Segment, damage: Omit<SpoolDamage, 'file'>, report: Report) => {
  if (damage.what !== 'torn-tail') segment.damaged = true
  if (segment.reported.has(damage.offset)) return
  segment.reported.add(damage.offset)
  report({ file: segment.path, ...damage })
}

export type FoundRecord = Extract<Found, { kind: 'record' }>

/**
 * Reads the file's start time and number of records from the header. Ignores errors, because
 * `readSegment` reports them later.
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
    // Ignore the error, because `readSegment` reports it later.
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
 * Reads a file's records up to `end`, with bounded memory for any file size. Reports damage, and
 * continues after the damaged bytes.
 * @param from the end of a record that was read before, or 0.
 * @param isStillOurs throws if the directory was replaced. A missing file does not count as damage
 *   in this case.
 * @throws UnknownFormatError, UnreadableFileError, or an error of the system that does not mean
 *   damage, such as too many open files.
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
    // Report no damage if all records were delivered, because the drain may have deleted the file.
    if (!isDone(segment)) {
      const { written } = segment
      noteDamage(segment, { what: 'unreadable', offset: 0, bytes: end, records: written }, report)
    }
    return
  }
  try {
    const layout = await layoutOf(segment, view, end, report)
    const { version, marker, start } = layout
    // The note at the start of the file has the record count of the whole file. So use the note
    // only if this call reads up to the end of the file.
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
