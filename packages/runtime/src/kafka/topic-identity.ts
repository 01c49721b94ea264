/**
 * Reads the id of the cluster, and the id and the number of partitions of a topic. Topic ids need a
 * Metadata request of version 10, and kafkajs knows versions up to 6. So this file encodes the
 * request (Kafka protocol guide, KIP-516).
 */
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProtocolRequest } from './cluster.ts'
import { administratorOf, clusterOf, type TopicAdmin } from './topic-admin.ts'

/**
 * Ids of a cluster and a topic. An id is undefined if the broker is too old: topic ids exist since
 * Kafka 2.8, cluster ids since 0.10.1.
 */
export interface TopicIdentity {
  readonly clusterId: string | undefined
  /** UUID as 32 hexadecimal digits. A topic that is deleted and created again gets another id. */
  readonly topicId: string | undefined
  /** Number of partitions. Undefined if `topicId` is undefined. */
  readonly partitionCount?: number | undefined
}

interface Encoder {
  readonly buffer: Buffer
  writeUVarInt(value: number): Encoder
  writeUVarIntString(value: string | null): Encoder
  writeInt8(value: number): Encoder
  writeBuffer(value: Buffer): Encoder
}
interface Decoder {
  offset: number
  readInt8(): number
  readInt16(): number
  readInt32(): number
  readUVarInt(): number
  readUVarIntString(): string | null
  readBytes(length: number): Buffer
  readTaggedFields(): unknown
}
interface DescribedTopic extends TopicIdentity {
  readonly errorCode: number
}

const require = createRequire(import.meta.url)
const EncoderClass = require('kafkajs/src/protocol/encoder') as new () => Encoder
const DecoderClass = require('kafkajs/src/protocol/decoder') as new (buffer: Buffer) => Decoder
const { createErrorFromCode } = require('kafkajs/src/protocol/error') as { createErrorFromCode(code: number): Error }

const METADATA = 3
const VERSION = 10
const ATTEMPT_MS = 2000
const MAX_ATTEMPTS = 3
const UUID_BYTES = 16
const NO_UUID = '0'.repeat(2 * UUID_BYTES)

const skipArray = (decoder: Decoder, skipOne: () => void) => {
  for (let left = decoder.readUVarInt() - 1; left > 0; left--) skipOne()
}

const skipBroker = (decoder: Decoder) => {
  decoder.readInt32()
  decoder.readUVarIntString()
  decoder.readInt32()
  decoder.readUVarIntString()
  decoder.readTaggedFields()
}

const decode = (raw: Buffer): DescribedTopic => {
  const decoder = new DecoderClass(raw)
  // Skip the tagged fields of the response header, because kafkajs leaves them at the start of the
  // body.
  decoder.readTaggedFields()
  const throttleMs = decoder.readInt32()
  if (throttleMs < 0) throw new Error(`a throttle time of ${throttleMs} ms: the response was misread`)
  skipArray(decoder, () => skipBroker(decoder))
  const clusterId = decoder.readUVarIntString() ?? undefined
  decoder.readInt32()
  if (decoder.readUVarInt() - 1 !== 1) throw new Error('Kafka did not describe exactly one topic')
  const errorCode = decoder.readInt16()
  decoder.readUVarIntString()
  const id = raw.subarray(decoder.offset, decoder.offset + UUID_BYTES).toString('hex')
  decoder.offset += UUID_BYTES
  decoder.readInt8() // whether the topic is internal
  const partitionCount = decoder.readUVarInt() - 1
  return { errorCode, clusterId, topicId: id === NO_UUID ? undefined : id, partitionCount }
}

const metadataRequest = (topic: string): ProtocolRequest<DescribedTopic> => ({
  request: {
    apiKey: METADATA,
    apiName: 'Metadata',
    apiVersion: VERSION,
    encode: async () =>
      new EncoderClass()
        .writeUVarInt(0) // tagged fields of the request header
        .writeUVarInt(2) // one topic
        .writeBuffer(Buffer.alloc(UUID_BYTES))
        .writeUVarIntString(topic)
        .writeUVarInt(0)
        .writeInt8(0) // no automatic creation
        .writeInt8(0) // no authorized operations of the cluster
        .writeInt8(0) // no authorized operations of the topic
        .writeUVarInt(0),
  },
  response: {
    decode: async (raw) => decode(raw),
    parse: async (data) => {
      if (data.errorCode !== 0) throw createErrorFromCode(data.errorCode)
      return data
    },
  },
})

const identityOf = ({ clusterId, topicId, partitionCount }: DescribedTopic): TopicIdentity => ({
  clusterId,
  topicId,
  partitionCount,
})

/**
 * Reads the ids of the cluster and the topic, and the number of partitions. Rejects if Kafka does
 * not answer or the topic does not exist.
 * @param admin a connected client of createAdmin.
 */
export const readTopicIdentity = async (admin: TopicAdmin, topic: string): Promise<TopicIdentity> => {
  const { brokerPool } = clusterOf(admin)
  // Any known broker can answer. A refresh at each call would double the requests, and would
  // replace the metadata of the client's other topics.
  if (Object.keys(brokerPool.brokers).length === 0) await brokerPool.refreshMetadata([topic])
  for (let attempts = 1; ; attempts++) {
    // kafkajs chooses a random broker. If that broker hangs, the next attempt can ask another
    // broker.
    const broker = await brokerPool.findConnectedBroker()
    if ((broker.versions[METADATA]?.maxVersion ?? 0) < VERSION) {
      // Rejects if the topic does not exist.
      await admin.describeTopics([topic])
      const { clusterId } = await administratorOf(admin).describeCluster()
      return { clusterId: clusterId || undefined, topicId: undefined }
    }
    const asked = broker.connectionPool.send(metadataRequest(topic))
    if (attempts === MAX_ATTEMPTS) return identityOf(await asked)
    const answer = await Promise.race([asked, sleep(ATTEMPT_MS, undefined, { ref: false })])
    if (answer) return identityOf(answer)
    asked.catch(() => undefined)
  }
}
