/**
 * The bytes of a segment file, version 1. Integers are little-endian.
 *
 *     file        = header frame*
 *     header      = "CSSP" version:u32 marker:4 crc32(what stands before it):u32
 *     frame       = marker:4 crc32(what follows in the frame):u32 bodyLength:u32 body
 *     body        = descriptionLength:u32 description value
 *     description = JSON of a record without its value; its key as base64
 *
 * The marker is random and on no wire. Where a frame cannot be read, reading goes on at the next marker whose frame agrees with its checksum: damage
 * costs the record that it hits, though it be the length that is damaged, and nobody can post a body that holds a forged record.
 */
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'

const MAGIC = Buffer.from('CSSP')
const VERSION = 1
const MARKER_BYTES = 4
export const HEADER_BYTES = 16
const FRAME_HEAD_BYTES = 12
const LENGTH_BYTES = 4

export const newMarker = (): Buffer => randomBytes(MARKER_BYTES)

export const encodeHeader = (marker: Buffer): Buffer => {
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUInt32LE(VERSION, 4)
  marker.copy(header, 8)
  header.writeUInt32LE(crc32(header.subarray(0, 12)), 12)
  return header
}

/**
 * @param file the beginning of a file, if it has them with the first four bytes after the header.
 * @throws if a newer version wrote the file: its records must not be taken for damage.
 */
export const decodeHeader = (file: Buffer): { readonly marker: Buffer; readonly intact: boolean } => {
  const intact = crc32(file.subarray(0, 12)) === file.readUInt32LE(12)
  if (intact && file.readUInt32LE(4) !== VERSION) throw new Error(`format version ${file.readUInt32LE(4)} of the spool is unknown here`)
  // The first frame repeats what a damaged header cannot tell.
  const marker = Buffer.alloc(MARKER_BYTES)
  file.copy(marker, 0, intact ? 8 : HEADER_BYTES)
  return { marker, intact }
}

interface Description {
  readonly topic: string
  readonly key: string | null
  readonly headers?: Readonly<Record<string, string>>
  readonly timestamp: number
  readonly noValue?: true
}

export const encodeFrame = ({ topic, key, value, headers, timestamp }: OutgoingRecord, marker: Buffer): Buffer => {
  const description: Description = {
    topic,
    key: key?.toString('base64') ?? null,
    ...(headers && { headers }),
    timestamp,
    ...(value === null && { noValue: true }),
  }
  const text = JSON.stringify(description)
  const textBytes = Buffer.byteLength(text)
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + LENGTH_BYTES + textBytes + (value?.length ?? 0))
  marker.copy(frame)
  frame.writeUInt32LE(frame.length - FRAME_HEAD_BYTES, 8)
  frame.writeUInt32LE(textBytes, FRAME_HEAD_BYTES)
  frame.write(text, FRAME_HEAD_BYTES + LENGTH_BYTES)
  value?.copy(frame, FRAME_HEAD_BYTES + LENGTH_BYTES + textBytes)
  frame.writeUInt32LE(crc32(frame.subarray(8)), 4)
  return frame
}

const decodeBody = (body: Buffer): OutgoingRecord => {
  const valueAt = LENGTH_BYTES + body.readUInt32LE(0)
  const { topic, key, headers, timestamp, noValue } = JSON.parse(body.toString('utf8', LENGTH_BYTES, valueAt)) as Description
  return {
    topic,
    key: key === null ? null : Buffer.from(key, 'base64'),
    value: noValue ? null : body.subarray(valueAt),
    ...(headers && { headers }),
    timestamp,
  }
}

const decodeFrame = (bytes: Buffer, at: number, end: number): OutgoingRecord | undefined => {
  try {
    return decodeBody(bytes.subarray(at + FRAME_HEAD_BYTES, end))
  } catch {
    return undefined
  }
}

/** The end of the frame that begins here, if it is whole and its checksum agrees. */
const frameEnd = (bytes: Buffer, at: number, marker: Buffer): number | undefined => {
  const bodyAt = at + FRAME_HEAD_BYTES
  if (bodyAt + LENGTH_BYTES > bytes.length || marker.compare(bytes, at, at + MARKER_BYTES) !== 0) return undefined
  const end = bodyAt + bytes.readUInt32LE(at + 8)
  if (end > bytes.length || crc32(bytes.subarray(at + 8, end)) !== bytes.readUInt32LE(at + 4)) return undefined
  return end
}

const nextFrame = (bytes: Buffer, from: number, marker: Buffer): number => {
  for (let at = bytes.indexOf(marker, from); at >= 0; at = bytes.indexOf(marker, at + 1)) if (frameEnd(bytes, at, marker)) return at
  return bytes.length
}

/**
 * Whether an append that was cut short can have left this at the end of a file: part of a frame, or zeros where the length was on disk before the data.
 * Damage to the length of the last frame looks the same.
 */
const isTorn = (tail: Buffer, marker: Buffer): boolean => {
  if (tail.every((byte) => byte === 0)) return true
  const known = Math.min(tail.length, MARKER_BYTES)
  if (tail.compare(marker, 0, known, 0, known) !== 0) return false
  return tail.length < FRAME_HEAD_BYTES || FRAME_HEAD_BYTES + tail.readUInt32LE(8) > tail.length
}

/** What stands in a file, in order. Offsets count from the beginning of the bytes given. */
export type Found =
  | { readonly kind: 'record'; readonly record: OutgoingRecord; readonly at: number; readonly end: number }
  | { readonly kind: 'damage' | 'torn-tail'; readonly at: number; readonly end: number }

export function* readFrames(bytes: Buffer, marker: Buffer, from = 0): Generator<Found, void, void> {
  for (let at = from; at < bytes.length; ) {
    const whole = frameEnd(bytes, at, marker)
    const record = whole && decodeFrame(bytes, at, whole)
    const end = whole ?? nextFrame(bytes, at + 1, marker)
    if (record) yield { kind: 'record', record, at, end }
    else yield { kind: end === bytes.length && isTorn(bytes.subarray(at), marker) ? 'torn-tail' : 'damage', at, end }
    at = end
  }
}
