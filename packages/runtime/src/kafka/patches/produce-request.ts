import { createRequire } from 'node:module'
import type { BatchNumbers } from '../batch-numbers.ts'
import { crc32c } from '../crc32c.ts'
import { RequestBytes } from './request-bytes.ts'

type Bytes = Uint8Array | string | null | undefined

interface Message {
  readonly key?: Bytes
  readonly value: Bytes
  /** Unix milliseconds. Default: now. */
  readonly timestamp?: string | number | null
  readonly headers?: Readonly<Record<string, Bytes | readonly Bytes[]>> | undefined
  /** Numbers of the batch that begins with this message. Default: the batch has no producer id. */
  readonly numbers?: BatchNumbers
}

/** Arguments of a produce request of kafkajs. */
export interface ProduceArguments {
  readonly acks: number
  readonly timeout: number
  readonly compression?: number
  readonly transactionalId?: string | null
  readonly producerId?: unknown
  readonly topicData: readonly {
    readonly topic: string
    readonly partitions: readonly { readonly partition: number; readonly messages: readonly Message[] }[]
  }[]
}
interface Produce {
  readonly request: {
    /** Resolves with an object that kafkajs accepts in place of its own encoder. */
    encode(): Promise<{ readonly buf: Buffer; readonly buffer: Buffer }>
  }
  readonly response: { decode(bytes: Buffer): Promise<unknown> }
}
type CreateProduce = (args: ProduceArguments) => Produce

interface RecordPlan {
  readonly message: Message
  readonly timestampDelta: number
  readonly headers: readonly (readonly [name: string, value: Bytes])[]
  /** Bytes of the record after its length field. */
  readonly bodyBytes: number
}
interface BatchPlan {
  readonly partition: number
  readonly numbers: BatchNumbers | undefined
  readonly records: readonly RecordPlan[]
  readonly firstTimestamp: number
  readonly maxTimestamp: number
  readonly bytes: number
}

/** Size of the batch's fields before the records, in bytes. */
const BATCH_HEAD_BYTES = 61
/** Size of the batch's first two fields. The batch's length field does not count these bytes. */
const BEFORE_LENGTH_BYTES = 12
/** Position of the first byte that the checksum covers. */
const CHECKED_FROM = 21

const lengthOf = (bytes: Bytes): number =>
  bytes == null ? -1 : typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length

/** Maps a signed number to an unsigned number, as Kafka does for varints. Exact up to 2^52. */
const zigzag = (value: number): number => (value < 0 ? -2 * value - 1 : 2 * value)

const varintBytes = (value: number): number => {
  let size = 1
  for (let left = zigzag(value); left >= 0x80; left = Math.floor(left / 0x80)) size += 1
  return size
}
const sizeOf = (bytes: Bytes): number => {
  const length = lengthOf(bytes)
  return varintBytes(length) + Math.max(0, length)
}

class Writer extends RequestBytes {
  int8(value: number) {
    this.at = this.buf.writeInt8(value, this.at)
  }
  int16(value: number) {
    this.at = this.buf.writeInt16BE(value, this.at)
  }
  int32(value: number) {
    this.at = this.buf.writeInt32BE(value, this.at)
  }
  int64(value: number | bigint) {
    this.at = this.buf.writeBigInt64BE(BigInt(value), this.at)
  }
  varint(value: number) {
    let left = zigzag(value)
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.buf[this.at++] = (left % 0x80) | 0x80
    this.buf[this.at++] = left
  }
  /** Writes the bytes without a length field. */
  raw(bytes: Bytes) {
    if (typeof bytes === 'string') this.at += this.buf.write(bytes, this.at)
    else if (bytes != null) {
      this.buf.set(bytes, this.at)
      this.at += bytes.length
    }
  }
  varintAndBytes(bytes: Bytes) {
    this.varint(lengthOf(bytes))
    this.raw(bytes)
  }
}

const planRecord = (message: Message, offsetDelta: number, timestampDelta: number): RecordPlan => {
  const headers = Object.entries(message.headers ?? {}).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((each: Bytes) => [name, each] as const) : [[name, value as Bytes] as const],
  )
  let bodyBytes = 1 + varintBytes(timestampDelta) + varintBytes(offsetDelta) + varintBytes(headers.length)
  bodyBytes += sizeOf(message.key) + sizeOf(message.value)
  for (const [name, value] of headers) bodyBytes += sizeOf(name) + sizeOf(value)
  return { message, timestampDelta, headers, bodyBytes }
}

const planBatch = (partition: number, messages: readonly Message[], now: number): BatchPlan => {
  let firstTimestamp = Number.POSITIVE_INFINITY
  let maxTimestamp = Number.NEGATIVE_INFINITY
  for (const { timestamp } of messages) {
    firstTimestamp = Math.min(firstTimestamp, Number(timestamp ?? now))
    maxTimestamp = Math.max(maxTimestamp, Number(timestamp ?? now))
  }
  let bytes = BATCH_HEAD_BYTES
  const records = messages.map((message, i) => {
    const record = planRecord(message, i, Number(message.timestamp ?? now) - firstTimestamp)
    bytes += varintBytes(record.bodyBytes) + record.bodyBytes
    return record
  })
  return { partition, numbers: messages[0]?.numbers, records, firstTimestamp, maxTimestamp, bytes }
}

const writeRecord = (to: Writer, { message, timestampDelta, headers, bodyBytes }: RecordPlan, offsetDelta: number) => {
  to.varint(bodyBytes)
  to.int8(0)
  to.varint(timestampDelta)
  to.varint(offsetDelta)
  to.varintAndBytes(message.key)
  to.varintAndBytes(message.value)
  to.varint(headers.length)
  for (const [name, value] of headers) {
    to.varintAndBytes(name)
    to.varintAndBytes(value)
  }
}

const writeBatch = (to: Writer, { numbers, records, firstTimestamp, maxTimestamp, bytes }: BatchPlan) => {
  const start = to.at
  to.int64(0) // first offset: the broker sets it
  to.int32(bytes - BEFORE_LENGTH_BYTES)
  to.int32(0) // partition leader epoch: the broker sets it
  to.int8(2) // message format
  to.int32(0) // checksum: set below
  to.int16(0) // attributes: no compression, no transaction
  to.int32(records.length - 1)
  to.int64(firstTimestamp)
  to.int64(maxTimestamp)
  to.int64(numbers?.producerId ?? -1)
  to.int16(numbers?.epoch ?? 0)
  to.int32(numbers?.sequence ?? 0)
  to.int32(records.length)
  for (const [i, record] of records.entries()) writeRecord(to, record, i)
  to.buf.writeUInt32BE(crc32c(to.buf, start + CHECKED_FROM, to.at), start + CHECKED_FROM - 4)
}

/** Encodes a produce request of version 3 to 7 without its header. */
export const encodeProduce = ({ acks, timeout, topicData }: ProduceArguments, now = Date.now()): RequestBytes => {
  // Transactional id, acks, timeout, number of topics.
  let size = 2 + 2 + 4 + 4
  const topics = topicData.map(({ topic, partitions }) => {
    const batches = partitions.map(({ partition, messages }) => planBatch(partition, messages, now))
    size += 2 + Buffer.byteLength(topic) + 4
    for (const { bytes } of batches) size += 4 + 4 + bytes
    return { topic, batches }
  })
  const to = new Writer(size)
  to.int16(-1)
  to.int16(acks)
  to.int32(timeout)
  to.int32(topics.length)
  for (const { topic, batches } of topics) {
    to.int16(Buffer.byteLength(topic))
    to.raw(topic)
    to.int32(batches.length)
    for (const batch of batches) {
      to.int32(batch.partition)
      to.int32(batch.bytes)
      writeBatch(to, batch)
    }
  }
  return to
}

const require = createRequire(import.meta.url)
const OLDEST_VERSION = 3

/** True for the requests of our own producers. kafkajs encodes all other requests. */
const isPlain = ({ compression = 0, transactionalId, producerId = -1 }: ProduceArguments): boolean =>
  compression === 0 && transactionalId == null && producerId === -1

/** Encodes a request into one buffer, and frees the buffer when the response has arrived. */
const inOneBuffer = ({ request, response }: Produce, args: ProduceArguments): Produce => {
  let bytes: RequestBytes | undefined
  return {
    request: {
      ...request,
      encode: async () => {
        bytes = encodeProduce(args)
        return bytes
      },
    },
    response: {
      ...response,
      // Without a response the memory is not freed, because the socket may still need the bytes.
      decode: (answer) => {
        bytes?.free()
        bytes = undefined
        return response.decode(answer)
      },
    },
  }
}

/**
 * Encodes each produce request into one buffer. kafkajs 2.2.4 copies each record through eight
 * growing buffers, so the ingress needs a sixth more CPU for an accepted event. kafkajs also calls
 * `require` for each request. The bytes are the same as those of kafkajs, with one exception.
 * kafkajs compares timestamps as text, which is wrong for numbers of different lengths.
 *
 * Must run before a client is created.
 */
export const patchProduceRequest = (): void => {
  const produce = require('kafkajs/src/protocol/requests/produce') as {
    protocol(options: { readonly version: number }): CreateProduce
  }
  const { protocol } = produce
  /** Functions that create a request, by version. */
  const creators = new Map<number, CreateProduce>()
  produce.protocol = (options) => {
    const version = Number(options.version)
    const creator = creators.get(version) ?? creatorOf(protocol({ version }), version)
    creators.set(version, creator)
    return creator
  }
}

const creatorOf = (create: CreateProduce, version: number): CreateProduce => {
  /** Requests without records, by `acks`. Their functions do not depend on other arguments. */
  const templates = new Map<number, Produce>()
  return (args) => {
    if (version < OLDEST_VERSION || !isPlain(args)) return create(args)
    const template = templates.get(args.acks) ?? create({ ...args, topicData: [] })
    templates.set(args.acks, template)
    return inOneBuffer(template, args)
  }
}
