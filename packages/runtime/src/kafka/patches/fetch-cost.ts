import { createRequire } from 'node:module'
import { decodeBatches, withoutAborted } from '../record-batches.ts'
import type { Fetched, FetchedPartition } from './fetch.ts'

interface Encoder {
  readonly buf: Buffer
  offset: number
  ensureAvailable(bytes: number): void
  writeInt8(value: number): Encoder
  writeInt32(value: number): Encoder
  writeString(value: string): Encoder
}
interface Decoder {
  readonly buffer: Buffer
  offset: number
  readInt16(): number
  readInt32(): number
  readInt64(): object
  readString(): string
  readBytes(length: number): Buffer
  readArray<T>(read: () => T): T[]
}
interface FetchRequest {
  readonly replicaId?: number
  readonly isolationLevel?: number
  readonly maxWaitTime: number
  readonly minBytes: number
  readonly maxBytes: number
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly {
      readonly partition: number
      readonly fetchOffset: string
      readonly maxBytes: number
    }[]
  }[]
  readonly rackId?: string
}
interface Protocol {
  readonly request: { encode(): Promise<Encoder> }
  readonly response: { decode(data: Buffer): Promise<Fetched> }
  readonly requestTimeout: number
}
interface Definition {
  protocol(options: { readonly version: number }): (request: FetchRequest) => Protocol
}
interface PartitionMetadata {
  readonly partitionId: number
  readonly leader: number | null
}
interface ConsumerGroup {
  readonly cluster: { findTopicPartitionMetadata(topic: string): readonly PartitionMetadata[] }
  readonly topicsSubscribed: readonly string[]
  readonly partitionsPerSubscribedTopic: ReadonlyMap<string, readonly number[]> | null
  readonly preferredReadReplicasPerTopicPartition: Readonly<Record<string, object>>
  findReadReplicaForPartitions(topic: string, partitions: readonly number[]): Record<number, number[]>
  checkForStaleAssignment(): void
}

const require = createRequire(import.meta.url)
const Encoder = require('kafkajs/src/protocol/encoder') as new () => Encoder
const Decoder = require('kafkajs/src/protocol/decoder') as new (data: Buffer) => Decoder
/** Newest version of a fetch that kafkajs knows. Kafka 2.3 and later support this version. */
const VERSION = 11
/** Size of one partition in a request, in bytes. */
const PARTITION_BYTES = 28

/**
 * Reduces the cost of partitions without records in a fetch. At a low rate of events, each fetch
 * names all partitions and returns a record of only one partition. kafkajs 2.2.4 then spends most
 * of its time on the empty partitions. kafkajs creates a buffer for each partition in the request,
 * and a batch and several promises for each partition in the response. kafkajs' searches for a
 * partition take quadratic time.
 *
 * Must run after {@link patchFetch}, and before a client fetches.
 */
export const patchFetchCost = (): void => {
  patchProtocol()
  patchConsumerGroup()
}

const patchProtocol = () => {
  const definition = require('kafkajs/src/protocol/requests/fetch') as Definition
  const { protocol } = definition
  const original = protocol({ version: VERSION })
  /** Requests without their partitions, by `maxWaitTime`. */
  const templates = new Map<number, Protocol>()
  const lean = (options: FetchRequest): Protocol => {
    let template = templates.get(options.maxWaitTime)
    if (template === undefined) {
      template = original(options)
      templates.set(options.maxWaitTime, template)
    }
    const { request, response } = template
    return {
      ...template,
      request: { ...request, encode: async () => encodeFetch(options) },
      response: { ...response, decode: decodeFetch },
    }
  }
  definition.protocol = ({ version }) => (version === VERSION ? lean : protocol({ version }))
}

/** Encodes a fetch request into one buffer, with the same bytes as kafkajs. */
export const encodeFetch = ({
  replicaId = -1,
  isolationLevel = 1,
  maxWaitTime,
  minBytes,
  maxBytes,
  topics,
  rackId = '',
}: FetchRequest): Encoder => {
  const encoder = new Encoder()
  encoder.writeInt32(replicaId).writeInt32(maxWaitTime).writeInt32(minBytes).writeInt32(maxBytes)
  encoder.writeInt8(isolationLevel)
  // Id and epoch of the fetch session. The values 0 and -1 mean "no session".
  encoder.writeInt32(0).writeInt32(-1)
  encoder.writeInt32(topics.length)
  for (const { topic, partitions } of topics) {
    encoder.writeString(topic).writeInt32(partitions.length)
    encoder.ensureAvailable(partitions.length * PARTITION_BYTES)
    for (const each of partitions) {
      encoder.buf.writeInt32BE(each.partition, encoder.offset)
      // The leader's epoch is -1, because kafkajs does not know the epoch. The first offset of the
      // log is -1, because only followers send this offset.
      encoder.buf.writeInt32BE(-1, encoder.offset + 4)
      encoder.buf.writeBigInt64BE(BigInt(each.fetchOffset), encoder.offset + 8)
      encoder.buf.writeBigInt64BE(-1n, encoder.offset + 16)
      encoder.buf.writeInt32BE(each.maxBytes, encoder.offset + 24)
      encoder.offset += PARTITION_BYTES
    }
  }
  // Number of topics to remove from the session.
  return encoder.writeInt32(0).writeString(rackId)
}

/**
 * Returns undefined for an empty partition: it has no record, no error and no preferred replica.
 */
const decodePartition = (decoder: Decoder): Promise<FetchedPartition> | undefined => {
  const partition = decoder.readInt32()
  const errorCode = decoder.readInt16()
  const watermarkAt = decoder.offset
  // Skip the high watermark, the last stable offset and the first offset of the log.
  decoder.offset += 24
  const aborted = decoder.readArray(() => ({
    producerId: String(decoder.readInt64()),
    firstOffset: String(decoder.readInt64()),
  }))
  const preferredReadReplica = decoder.readInt32()
  const size = Math.max(0, decoder.readInt32())
  if (size === 0 && errorCode === 0 && preferredReadReplica === -1) return undefined
  const highWatermark = String(decoder.buffer.readBigInt64BE(watermarkAt))
  return decodeBatches(decoder.readBytes(size)).then((records) => ({
    partition,
    errorCode,
    highWatermark,
    preferredReadReplica,
    abortedTransactions: [],
    messages: withoutAborted(records, aborted),
  }))
}

/** Decodes a response. Leaves out empty partitions. */
export const decodeFetch = async (data: Buffer): Promise<Fetched> => {
  const decoder = new Decoder(data)
  const clientSideThrottleTime = decoder.readInt32()
  const errorCode = decoder.readInt16()
  const sessionId = decoder.readInt32()
  const responses = decoder.readArray(() => ({
    topicName: decoder.readString(),
    partitions: decoder.readArray(() => decodePartition(decoder)).filter((partition) => partition !== undefined),
  }))
  return {
    // Since version 8 the client, not the broker, waits for the throttle time. kafkajs calls this
    // time `clientSideThrottleTime`.
    throttleTime: 0,
    clientSideThrottleTime,
    errorCode,
    sessionId,
    responses: await Promise.all(
      responses.map(async ({ topicName, partitions }) => ({ topicName, partitions: await Promise.all(partitions) })),
    ),
  }
}

const patchConsumerGroup = () => {
  const { prototype } = require('kafkajs/src/consumer/consumerGroup') as { prototype: ConsumerGroup }
  const { findReadReplicaForPartitions, checkForStaleAssignment } = prototype

  prototype.findReadReplicaForPartitions = function (topic, partitions) {
    const leaders = leadersOf(this.cluster.findTopicPartitionMetadata(topic))
    const hasPreferred = Object.keys(this.preferredReadReplicasPerTopicPartition[topic] ?? {}).length > 0
    if (hasPreferred || leaders === undefined) return findReadReplicaForPartitions.call(this, topic, partitions)
    const byNode: Record<number, number[]> = {}
    for (const partition of partitions) {
      const leader = leaders.get(partition)
      if (leader === undefined) continue
      const led = byNode[leader] ?? []
      byNode[leader] = led
      led.push(partition)
    }
    return byNode
  }

  /**
   * Metadata and subscription at the last check for a stale assignment, by consumer group. If
   * metadata and subscription are unchanged, the check is skipped.
   */
  const compared = new WeakMap<ConsumerGroup, readonly unknown[]>()
  prototype.checkForStaleAssignment = function () {
    const current = [
      this.partitionsPerSubscribedTopic,
      ...this.topicsSubscribed.map((topic) => this.cluster.findTopicPartitionMetadata(topic)),
    ]
    const last = compared.get(this)
    if (last?.length === current.length && current.every((each, i) => each === last[i])) return
    checkForStaleAssignment.call(this)
    compared.set(this, current)
  }
}

const leadersOfMetadata = new WeakMap<object, ReadonlyMap<number, number>>()

/**
 * Returns the leader of each partition. Undefined if a partition has no leader, which is an error
 * in kafkajs. The cache is safe, because kafkajs never changes a metadata object.
 */
const leadersOf = (metadata: readonly PartitionMetadata[]): ReadonlyMap<number, number> | undefined => {
  const known = leadersOfMetadata.get(metadata)
  if (known) return known
  const leaders = new Map<number, number>()
  for (const { partitionId, leader } of metadata) {
    if (leader === null) return undefined
    leaders.set(partitionId, leader)
  }
  leadersOfMetadata.set(metadata, leaders)
  return leaders
}
