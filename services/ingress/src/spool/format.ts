/**
 * Byte format of a segment file. Integers are little-endian. The spool writes version 2, and reads
 * versions 1 and 2.
 *
 *     version 2
 *     file   = header note frame*
 *     header = "CSSP" version:u32 marker:4 firstTimestamp:f64 crc32(the bytes before):u32
 *     note   = syncedEnd:f64 records:u32 crc32(marker and the bytes before):u32
 *     frame  = marker:4 ordinal:u32 bodyLength:u32 crc32(body):u32 crc32(the bytes before):u32 body
 *
 *     version 1
 *     file   = header frame*
 *     header = "CSSP" version:u32 marker:4 crc32(the bytes before):u32
 *     frame  = marker:4 crc32(the bytes after):u32 bodyLength:u32 body
 *
 *     body        = descriptionLength:u32 description value
 *     description = JSON of a record without its value; its key as base64
 *
 * The marker is a random number that never leaves the disk. After damage, reading resumes at the
 * next marker with a valid checksum, so that only the damaged records are lost. No sender can forge
 * a record inside a body, because the marker is secret. The file's name repeats the marker (version
 * 2), because the header may be in a bad sector.
 *
 * The spool rewrites the note in place after each sync. Only bytes before `syncedEnd` were
 * acknowledged. So an invalid frame before `syncedEnd` is damage, and never a torn tail. Header and
 * note are in the first sector, and disks write a sector completely or not at all. So an invalid
 * note after an intact header is damage. A power loss during a write cannot cause this damage.
 *
 * The ordinal counts the frames of a file from 0. The ordinals around a gap give the number of lost
 * records.
 */
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'

const MAGIC = Buffer.from('CSSP')
const MARKER_BYTES = 4
const HEAD_BYTES = 24
const NOTE_BYTES = 16
const LENGTH_BYTES = 4
export const NOTE_AT = HEAD_BYTES
export const HEADER_BYTES = HEAD_BYTES + NOTE_BYTES
const HEADER_BYTES_1 = 16

export const newMarker = (): Buffer => randomBytes(MARKER_BYTES)

const checked = (bytes: Buffer, at: number): boolean => crc32(bytes.subarray(0, at)) === bytes.readUInt32LE(at)

export const encodeHeader = (marker: Buffer, firstTimestamp: number): Buffer => {
  const header = Buffer.alloc(HEAD_BYTES)
  MAGIC.copy(header)
  header.writeUInt32LE(2, 4)
  marker.copy(header, 8)
  header.writeDoubleLE(firstTimestamp, 12)
  header.writeUInt32LE(crc32(header.subarray(0, 20)), 20)
  return header
}

/** Numbers of bytes and records of a file that are on disk (after fsync). */
export interface Note {
  readonly syncedEnd: number
  readonly records: number
}

export const encodeNote = (marker: Buffer, { syncedEnd, records }: Note): Buffer => {
  const note = Buffer.alloc(NOTE_BYTES)
  note.writeDoubleLE(syncedEnd, 0)
  note.writeUInt32LE(records, 8)
  note.writeUInt32LE(crc32(note.subarray(0, 12), crc32(marker)), 12)
  return note
}

const decodeNote = (note: Buffer, marker: Buffer): Note | undefined =>
  crc32(note.subarray(0, 12), crc32(marker)) === note.readUInt32LE(12)
    ? { syncedEnd: note.readDoubleLE(0), records: note.readUInt32LE(8) }
    : undefined

export interface Layout {
  readonly version: 1 | 2
  /**
   * Marker of the file. Undefined if neither the header nor the file's name has an intact marker.
   */
  readonly marker: Buffer | undefined
  readonly intact: boolean
  /** Offset of the first frame. */
  readonly start: number
  readonly note: Note | undefined
  readonly firstTimestamp: number | undefined
}

/** Error: the file has an unknown format version. The file is not damaged. */
export class UnknownFormatError extends Error {
  override readonly name = 'UnknownFormatError'
}

/**
 * Decodes the header and the note of a file.
 * @param head the first `HEADER_BYTES` bytes of the file, or the whole file if the file is shorter.
 * @param named the marker in the file's name. Undefined for version 1.
 * @throws UnknownFormatError
 */
export const decodeHeader = (head: Buffer, named: Buffer | undefined): Layout => {
  const file = Buffer.alloc(HEADER_BYTES)
  head.copy(file)
  const isOurs = head.length >= HEADER_BYTES_1 && file.compare(MAGIC, 0, 4, 0, 4) === 0
  const marker = file.subarray(8, 8 + MARKER_BYTES)
  if (isOurs && file.readUInt32LE(4) === 1 && checked(file, 12))
    return { version: 1, marker, intact: true, start: HEADER_BYTES_1, note: undefined, firstTimestamp: undefined }
  if (isOurs && (checked(file, 20) || (checked(file, 12) && file.readUInt32LE(4) > 2))) {
    const version = file.readUInt32LE(4)
    if (version !== 2) throw new UnknownFormatError(`format version ${version} is not known`)
    const note = decodeNote(file.subarray(NOTE_AT), marker)
    return {
      version,
      marker,
      intact: note !== undefined,
      start: HEADER_BYTES,
      note,
      firstTimestamp: file.readDoubleLE(12),
    }
  }
  const damaged = { intact: false, note: undefined, firstTimestamp: undefined }
  if (named)
    return {
      ...damaged,
      version: 2,
      marker: named,
      start: HEADER_BYTES,
      note: decodeNote(file.subarray(NOTE_AT), named),
    }
  return { ...damaged, version: 1, marker: undefined, start: HEADER_BYTES_1 }
}

interface Description {
  readonly topic: string
  readonly key: string | null
  readonly headers?: Readonly<Record<string, string>>
  readonly timestamp: number
  readonly noValue?: true
}

const FRAME_HEAD_BYTES = { 1: 12, 2: 20 } as const

/** Encodes a record as a frame. `sealFrame` adds marker and ordinal, which depend on the file. */
export const encodeFrame = ({ topic, key, value, headers, timestamp }: OutgoingRecord): Buffer => {
  const description: Description = {
    topic,
    key: key?.toString('base64') ?? null,
    ...(headers && { headers }),
    timestamp,
    ...(value === null && { noValue: true }),
  }
  const text = JSON.stringify(description)
  const textBytes = Buffer.byteLength(text)
  const bodyAt = FRAME_HEAD_BYTES[2]
  const frame = Buffer.allocUnsafe(bodyAt + LENGTH_BYTES + textBytes + (value?.length ?? 0))
  frame.writeUInt32LE(frame.length - bodyAt, 8)
  frame.writeUInt32LE(textBytes, bodyAt)
  frame.write(text, bodyAt + LENGTH_BYTES)
  value?.copy(frame, bodyAt + LENGTH_BYTES + textBytes)
  frame.writeUInt32LE(crc32(frame.subarray(bodyAt)), 12)
  return frame
}

export const sealFrame = (frame: Buffer, marker: Buffer, ordinal: number): Buffer => {
  marker.copy(frame)
  frame.writeUInt32LE(ordinal, 4)
  frame.writeUInt32LE(crc32(frame.subarray(0, 16)), 16)
  return frame
}

const decodeBody = (body: Buffer): OutgoingRecord | undefined => {
  try {
    const valueAt = LENGTH_BYTES + body.readUInt32LE(0)
    const { topic, key, headers, timestamp, noValue } = JSON.parse(
      body.toString('utf8', LENGTH_BYTES, valueAt),
    ) as Description
    return {
      topic,
      key: key === null ? null : Buffer.from(key, 'base64'),
      value: noValue ? null : body.subarray(valueAt),
      ...(headers && { headers }),
      timestamp,
    }
  } catch {
    return undefined
  }
}

/** Reads a range of bytes. The result is shorter than requested only at the end of the file. */
export type View = (at: number, bytes: number) => Promise<Buffer>

export interface Frame {
  /** Unique number of the frame in its file. Each reading of the file gives the same number. */
  readonly id: number
  readonly end: number
  /** Undefined if the frame's body is damaged. */
  readonly record: OutgoingRecord | undefined
}

/**
 * Reads the frame at an offset. Undefined if the frame's head is damaged, or if its body ends after
 * `end`.
 */
const frameAt = async (
  view: View,
  at: number,
  end: number,
  version: 1 | 2,
  marker: Buffer,
): Promise<Frame | undefined> => {
  const headBytes = FRAME_HEAD_BYTES[version]
  const head = await view(at, headBytes)
  if (head.length < headBytes || marker.compare(head, 0, MARKER_BYTES) !== 0) return undefined
  if (version === 2 && !checked(head, 16)) return undefined
  const bodyBytes = head.readUInt32LE(8)
  const frameEnd = at + headBytes + bodyBytes
  if (frameEnd > end) return undefined
  if (version === 2) {
    const [id, bodyCrc] = [head.readUInt32LE(4), head.readUInt32LE(12)]
    const body = await view(at + headBytes, bodyBytes)
    return { id, end: frameEnd, record: crc32(body) === bodyCrc ? decodeBody(body) : undefined }
  }
  const frame = await view(at, headBytes + bodyBytes)
  if (crc32(frame.subarray(8)) !== frame.readUInt32LE(4)) return undefined
  // Frames of version 1 have no ordinal. Use the offset divided by 32 as the id. The id is unique,
  // because each frame has more than 32 bytes.
  return { id: Math.floor(at / 32), end: frameEnd, record: decodeBody(frame.subarray(headBytes)) }
}

const SCAN_BYTES = 64 * 1024

/**
 * Returns the offset of the next intact frame head at or after `from`. Returns `end` if there is no
 * intact head.
 */
const nextFrame = async (view: View, from: number, end: number, version: 1 | 2, marker: Buffer): Promise<number> => {
  for (let at = from; at < end; ) {
    const bytes = await view(at, Math.min(SCAN_BYTES, end - at))
    const found = bytes.indexOf(marker)
    if (found < 0) at += Math.max(1, bytes.length - MARKER_BYTES + 1)
    else if (await frameAt(view, at + found, end, version, marker)) return at + found
    else at += found + 1
  }
  return end
}

const DESCRIPTION_START = Buffer.from('{"topic":"')

/**
 * Finds the marker of a version 1 file with a damaged header: the marker whose intact frames cover
 * the most bytes. Ignores a frame inside another frame, because a sender may have hidden this frame
 * in a body.
 */
export const findMarker = async (view: View, end: number): Promise<Buffer | undefined> => {
  const covered = new Map<string, number>()
  for (let at = 0; at < end; ) {
    const bytes = await view(at, Math.min(SCAN_BYTES, end - at))
    const found = bytes.indexOf(DESCRIPTION_START)
    if (found < 0) {
      at += Math.max(1, bytes.length - DESCRIPTION_START.length + 1)
      continue
    }
    const frameStart = at + found - FRAME_HEAD_BYTES[1] - LENGTH_BYTES
    const marker = frameStart >= HEADER_BYTES_1 ? Buffer.from(await view(frameStart, MARKER_BYTES)) : undefined
    const frame = marker && (await frameAt(view, frameStart, end, 1, marker))
    if (frame) {
      const name = marker.toString('hex')
      covered.set(name, (covered.get(name) ?? 0) + frame.end - frameStart)
    }
    at = frame?.end ?? at + found + 1
  }
  const [best] = [...covered].sort(([, a], [, b]) => b - a)
  return best && Buffer.from(best[0], 'hex')
}

/**
 * Returns true if the bytes from `from` to `end` are an incomplete append: the start of a frame, or
 * zeros.
 */
const isTorn = async (view: View, from: number, end: number, marker: Buffer): Promise<boolean> => {
  const head = await view(from, FRAME_HEAD_BYTES[2])
  const known = Math.min(head.length, MARKER_BYTES)
  if (head.compare(marker, 0, known, 0, known) === 0) return head.length < FRAME_HEAD_BYTES[2] || checked(head, 16)
  for (let at = from; at < end; ) {
    const bytes = await view(at, Math.min(SCAN_BYTES, end - at))
    if (bytes.some((byte) => byte !== 0)) return false
    at += bytes.length
  }
  return true
}

/**
 * Part of a spool file: a record or damage. `records` is the number of lost records, or undefined
 * if the number is unknown.
 */
export type Found =
  | {
      readonly kind: 'record'
      readonly record: OutgoingRecord
      readonly id: number
      readonly at: number
      readonly end: number
    }
  | {
      readonly kind: 'damage' | 'torn-tail'
      readonly at: number
      readonly end: number
      readonly records: number | undefined
    }

export interface ReadRange {
  readonly from: number
  readonly end: number
  /** Ordinal of the first frame, if known. Version 2 only. */
  readonly ordinal: number | undefined
  /** End of the synced bytes according to the file's note. Infinity if the note is unknown. */
  readonly syncedEnd: number
  /** Number of records before `syncedEnd`, if known. */
  readonly records: number | undefined
}

const counted = (from: number | undefined, to: number | undefined): number | undefined =>
  from !== undefined && to !== undefined && to > from ? to - from : undefined

export async function* readFrames(
  view: View,
  version: 1 | 2,
  marker: Buffer,
  { from, end, ordinal, syncedEnd, records }: ReadRange,
): AsyncGenerator<Found, void, void> {
  let next = ordinal
  /** Offset at which bytes without an intact frame begin. Undefined after an intact frame. */
  let badFrom: number | undefined
  for (let at = from; at < end; ) {
    const frame = await frameAt(view, at, end, version, marker)
    if (!frame?.record) {
      badFrom ??= at
      at = frame?.end ?? (await nextFrame(view, at + 1, end, version, marker))
      continue
    }
    if (badFrom !== undefined) {
      yield { kind: 'damage', at: badFrom, end: at, records: counted(next, version === 2 ? frame.id : undefined) }
      badFrom = undefined
    }
    yield { kind: 'record', record: frame.record, id: frame.id, at, end: frame.end }
    if (version === 2) next = frame.id + 1
    at = frame.end
  }
  const missing = counted(next, records)
  if (badFrom !== undefined && badFrom >= syncedEnd && (await isTorn(view, badFrom, end, marker)))
    yield { kind: 'torn-tail', at: badFrom, end, records: 0 }
  else if (badFrom !== undefined) yield { kind: 'damage', at: badFrom, end, records: missing }
  // The disk has lost acknowledged bytes at the end of the file.
  else if (Number.isFinite(syncedEnd) && end < syncedEnd)
    yield { kind: 'damage', at: end, end: syncedEnd, records: missing }
}
