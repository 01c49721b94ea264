/**
 * Decodes Kafka's record batches (message format 2, the format since Kafka 0.11). This decoder
 * replaces kafkajs' decoder, which has three bugs:
 * - One batch that cannot be decoded fails the whole fetch. The error lacks the partition and the
 *   offset.
 * - A batch whose records were all removed by compaction is dropped, so the position never moves
 *   past this batch.
 * - A batch of more than about 100,000 records exceeds the stack. A record with more than about
 *   100,000 headers makes the decoder hang.
 */
import { createRequire } from 'node:module'
import { decompressors } from './codecs.ts'

const crc32c = createRequire(import.meta.url)('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number

/** Batch that cannot be decoded, because it is damaged or its compression codec is unknown. */
export interface UnreadableBatch {
  /** Offset of the batch's first record. */
  readonly offset: string
  /** Offset after the batch's last record. */
  readonly nextOffset: string
  readonly error: Error
}

export interface DecodedRecord {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Record<string, Buffer | Buffer[]>
  readonly attributes: number
  readonly isControlRecord: boolean
  readonly batchContext: { readonly producerId: string; readonly inTransaction: boolean }
}

/** Records of one partition, as kafkajs represents them. */
export type DecodedRecords = DecodedRecord[] & {
  /** Offset after the last batch that was decoded. Undefined if no batch was decoded. */
  nextOffset?: string | undefined
  /** Batch that follows the decoded batches and cannot be decoded. */
  unreadable?: UnreadableBatch | undefined
}

const BATCH_HEAD_BYTES = 61
const LENGTH_AT = 8
const MAGIC_AT = 16
const CHECKSUM_AT = 17
const ATTRIBUTES_AT = 21
const LAST_OFFSET_DELTA_AT = 23
const FIRST_TIMESTAMP_AT = 27
const MAX_TIMESTAMP_AT = 35
const PRODUCER_ID_AT = 43
const COUNT_AT = 57

const CODEC_MASK = 0x07
const LOG_APPEND_TIME = 0x08
const TRANSACTIONAL = 0x10
const CONTROL = 0x20

/**
 * Minimum size of a record: seven fields of at least one byte each (length, attributes, two deltas,
 * two lengths, header count).
 */
const LEAST_RECORD_BYTES = 7

const damaged = (problem: string): RangeError => new RangeError(`damaged batch: ${problem}`)

const addHeader = (headers: Record<string, Buffer | Buffer[]>, name: string, value: Buffer) => {
  // Define the property, because an assignment to `__proto__` would set no property.
  const before = Object.getOwnPropertyDescriptor(headers, name)?.value as Buffer | Buffer[] | undefined
  if (Array.isArray(before)) before.push(value)
  else
    Object.defineProperty(headers, name, {
      value: before === undefined ? value : [before, value],
      enumerable: true,
      configurable: true,
    })
}

type BatchHead = Pick<DecodedRecord, 'isControlRecord' | 'batchContext'> & {
  readonly firstOffset: bigint
  readonly timestampOf: (delta: number) => string
}

const decodeRecords = (
  bytes: Buffer,
  count: number,
  { firstOffset, timestampOf, isControlRecord, batchContext }: BatchHead,
): DecodedRecord[] => {
  if (count < 0 || count * LEAST_RECORD_BYTES > bytes.length) throw damaged(`${count} records in ${bytes.length} bytes`)
  let at = 0
  let end = bytes.length
  /** Reads a number. Numbers beyond 2^53 lose digits. Only a wrong timestamp can be that large. */
  const readVarint = (): number => {
    let value = 0
    for (let scale = 1, byte = 0x80; byte >= 0x80; scale *= 128) {
      if (at >= end || scale > 2 ** 63) throw damaged('a number has no end')
      byte = bytes[at++] as number
      value += (byte & 0x7f) * scale
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  const readBytes = (): Buffer | null => {
    const length = readVarint()
    if (length === -1) return null
    const start = at
    if (length < 0 || start + length > end) throw damaged('a field ends beyond its record')
    at += length
    return bytes.subarray(start, at)
  }
  const records: DecodedRecord[] = []
  for (let i = 0; i < count; i++) {
    end = bytes.length
    const length = readVarint()
    if (length < 0 || at + length > bytes.length) throw damaged('a record ends beyond its batch')
    end = at + length
    const attributes = bytes[at++] ?? 0
    const timestamp = timestampOf(readVarint())
    const offset = String(firstOffset + BigInt(readVarint()))
    const key = readBytes()
    const value = readBytes()
    const headers = {}
    for (let left = readVarint(); left > 0; left--)
      addHeader(headers, String(readBytes() ?? ''), readBytes() ?? Buffer.alloc(0))
    if (at !== end) throw damaged('a record is longer than its fields')
    records.push({ offset, timestamp, key, value, headers, attributes, isControlRecord, batchContext })
  }
  if (at !== bytes.length) throw damaged('bytes follow its last record')
  return records
}

const decodeBatch = async (batch: Buffer): Promise<DecodedRecord[]> => {
  const magic = batch.readInt8(MAGIC_AT)
  if (magic !== 2) throw new RangeError(`unknown message format ${magic}`)
  const attributes = batch.readInt16BE(ATTRIBUTES_AT)
  const firstTimestamp = batch.readBigInt64BE(FIRST_TIMESTAMP_AT)
  const appendedAt = (attributes & LOG_APPEND_TIME) !== 0 ? String(batch.readBigInt64BE(MAX_TIMESTAMP_AT)) : undefined
  const head = {
    firstOffset: batch.readBigInt64BE(0),
    timestampOf: (delta: number) => appendedAt ?? String(firstTimestamp + BigInt(delta)),
    isControlRecord: (attributes & CONTROL) !== 0,
    batchContext: {
      producerId: String(batch.readBigInt64BE(PRODUCER_ID_AT)),
      inTransaction: (attributes & TRANSACTIONAL) !== 0,
    },
  }
  const codec = attributes & CODEC_MASK
  const bytes = batch.subarray(BATCH_HEAD_BYTES)
  if (codec === 0) return decodeRecords(bytes, batch.readInt32BE(COUNT_AT), head)
  const decompress = decompressors.get(codec)
  if (decompress === undefined) throw new RangeError(`unknown compression codec ${codec}`)
  return decodeRecords(await decompress(bytes), batch.readInt32BE(COUNT_AT), head)
}

const isIntact = (batch: Buffer): boolean => batch.readUInt32BE(CHECKSUM_AT) === crc32c(batch.subarray(ATTRIBUTES_AT))

/**
 * Returns the end of the batch that starts at `at`. In a damaged batch the result can be any
 * number.
 */
const endOfBatch = (bytes: Buffer, at: number): number => at + LENGTH_AT + 4 + bytes.readInt32BE(at + LENGTH_AT)

/**
 * Returns the first offset of the batch that starts at `at`, if the batch is complete and intact.
 */
const firstOffsetAt = (bytes: Buffer, at: number): string | undefined => {
  if (at + BATCH_HEAD_BYTES > bytes.length) return undefined
  const end = endOfBatch(bytes, at)
  const isWhole = end >= at + BATCH_HEAD_BYTES && end <= bytes.length
  return isWhole && isIntact(bytes.subarray(at, end)) ? String(bytes.readBigInt64BE(at)) : undefined
}

/**
 * Decodes the batches of one partition up to the first batch that cannot be decoded. Ignores an
 * incomplete last batch, because Kafka cuts a response at the fetch's byte limit.
 */
export const decodeBatches = async (bytes: Buffer): Promise<DecodedRecords> => {
  const records: DecodedRecords = []
  for (let at = 0; at + BATCH_HEAD_BYTES <= bytes.length; ) {
    const end = endOfBatch(bytes, at)
    if (end > bytes.length) break
    const firstOffset = bytes.readBigInt64BE(at)
    let nextOffset = String(firstOffset + BigInt(bytes.readInt32BE(at + LAST_OFFSET_DELTA_AT)) + 1n)
    const batch = bytes.subarray(at, Math.max(at, end))
    try {
      if (batch.length < BATCH_HEAD_BYTES) throw damaged('its length is too small')
      const decoded = await decodeBatch(batch)
      const last = decoded.at(-1)
      const afterLast = last === undefined ? String(firstOffset) : String(BigInt(last.offset) + 1n)
      // After compaction, the last offset in the batch's head may be greater than the last record's
      // offset. Check the checksum in this case, because a damaged head could move the position
      // past later records.
      if (nextOffset !== afterLast && !isIntact(batch)) {
        nextOffset = afterLast
        throw damaged('its checksum is wrong')
      }
      for (const record of decoded) records.push(record)
    } catch (error) {
      // If the checksum is wrong, the last offset in the head may be wrong too. Continue at the
      // first offset of the next batch, so that no record is skipped. If the length is wrong too,
      // the next batch cannot be found. Then continue after the last offset in the head.
      if (batch.length >= BATCH_HEAD_BYTES && !isIntact(batch)) nextOffset = firstOffsetAt(bytes, end) ?? nextOffset
      records.unreadable = { offset: String(firstOffset), nextOffset, error: error as Error }
      break
    }
    records.nextOffset = nextOffset
    at = end
  }
  return records
}

export interface AbortedTransaction {
  readonly producerId: string
  readonly firstOffset: string
}

/**
 * Returns true for the control record that ends an aborted transaction. The key has two bytes of
 * version and two bytes of type. Type 0 means an abort.
 */
const isAbortMarker = ({ isControlRecord, key }: DecodedRecord) =>
  isControlRecord && key !== null && key.length >= 4 && key.readInt16BE(2) === 0

/**
 * Removes the records of aborted transactions, as Java's consumer does. kafkajs' filter misses some
 * of these records, for three reasons:
 * - kafkajs expects transactions in the order of their starts. Kafka sends the transactions in the
 *   order of their ends.
 * - Before each record, kafkajs adds at most one transaction to the set of aborted transactions.
 * - kafkajs treats a customer's record with the key 00 00 00 00 as the end of a transaction.
 */
export const withoutAborted = (
  records: DecodedRecords,
  transactions: readonly AbortedTransaction[],
): DecodedRecords => {
  if (transactions.length === 0) return records
  const pending = transactions.toSorted((a, b) => Number(BigInt(a.firstOffset) - BigInt(b.firstOffset)))
  const aborted = new Set<string>()
  const kept: DecodedRecords = records.filter((record) => {
    for (
      let next = pending[0];
      next !== undefined && BigInt(next.firstOffset) <= BigInt(record.offset);
      next = pending[0]
    ) {
      aborted.add(next.producerId)
      pending.shift()
    }
    const { producerId, inTransaction } = record.batchContext
    if (isAbortMarker(record)) aborted.delete(producerId)
    return !(inTransaction && !record.isControlRecord && aborted.has(producerId))
  })
  return Object.assign(kept, { nextOffset: records.nextOffset, unreadable: records.unreadable })
}
