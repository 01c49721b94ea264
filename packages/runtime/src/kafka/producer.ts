import { partitionOfKey } from '@customer-stream/schemas/partitioner'
import kafkajs, { type Message, type Producer, type RecordMetadata } from 'kafkajs'
import { type BatchNumbers, createNumbering, type Numbering } from './batch-numbers.ts'
import { type Cluster, withCluster } from './cluster.ts'
import { errorType } from './error-type.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'
import { createTransactionalIds } from './transactional-ids.ts'

export interface OutgoingRecord {
  readonly topic: string
  /**
   * Null if the producer may choose the partition. In one send, all records without a key get the
   * same partition.
   */
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** If true, the producer may choose the partition although the record has a key. */
  readonly anyPartition?: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** Unix milliseconds. */
  readonly timestamp: number
}

/**
 * Error of a send: some or all records of the send may be missing in Kafka.
 * - `refused`: Kafka will never accept at least one of the records.
 * - `unavailable`: the outcome is unknown. A later attempt may succeed.
 */
export class NotStoredError extends Error {
  override readonly name = 'NotStoredError'
  readonly kind: 'refused' | 'unavailable'
  constructor(kind: 'refused' | 'unavailable', cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause })
    this.kind = kind
  }
}

/** Lets Kafka refuse requests that come late, from this producer and from any other process. */
export interface Fence {
  /**
   * Called when this process gets partitions from other processes. After the next send to a
   * partition, Kafka refuses the requests of these processes to this partition.
   */
  takeOver(): void
  /** Rejects if Kafka gives this user no fence for the topic. */
  check(topic: string): Promise<void>
}

export interface VerifiedProducer {
  connect(): Promise<void>
  /**
   * Sets the partition count of each topic. Until the count is set, every send to the topic is
   * `unavailable`. Resolves when the leaders of these topics are known, and then keeps the leaders
   * up to date. Otherwise the first send, perhaps days later, would fail if the first broker of
   * KAFKA_BROKERS did not answer.
   */
  setPartitions(partitions: ReadonlyMap<string, number>): Promise<void>
  /**
   * Returns the partition that the record's key selects. Undefined if the record has no key, or
   * while the topic's partition count is unknown.
   */
  partitionOf(record: OutgoingRecord): number | undefined
  /**
   * Resolves when all in-sync replicas have stored every record.
   * @throws NotStoredError otherwise.
   */
  send(records: readonly OutgoingRecord[]): Promise<void>
  /** Undefined without `transactionalIdPrefix`. */
  readonly fence?: Fence
  disconnect(): Promise<void>
}

export interface ProducerOptions {
  readonly metadataMaxAgeMs: number
  readonly produceTimeoutMs: number
  /**
   * If given, the producer has a fence. Readers that use the last record of a key need a fence.
   * Readers that compare versions need none. Each partition has a transactional id with this
   * prefix. Producers with the same prefix fence each other. Default: no fence.
   */
  readonly transactionalIdPrefix?: string
  /**
   * Called with the number of records to resend, because the produce response did not include their
   * partition.
   */
  readonly onUnacknowledged?: (records: number) => void
}

/** Errors with which Kafka refuses a record forever. Any other error is an outage. */
const refusals: ReadonlySet<string> = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_RECORD',
  'INVALID_TIMESTAMP',
  'CORRUPT_MESSAGE',
])

/** The first message of a partition in a send may have the numbers of its batch. */
type PinnedMessage = Message & { readonly partition: number; readonly numbers?: BatchNumbers }
type Batch = Map<string, PinnedMessage[]>

const MAX_RESENDS = 3

/** Opens kafkajs' producer. Also returns its private cluster object. */
const openProducer = (kafka: KafkaClient, metadataMaxAgeMs: number) => {
  const creator = kafkajsOf(kafka)
  return withCluster(creator, () =>
    creator.producer({
      idempotent: false,
      allowAutoTopicCreation: false,
      metadataMaxAge: metadataMaxAgeMs,
      // kafkajs' retries are off, because kafkajs would retry the whole request and delay healthy
      // partitions. The publisher retries the failed records of each partition.
      retry: { retries: 0 },
      createPartitioner:
        () =>
        ({ message }) =>
          (message as PinnedMessage).partition,
    }),
  )
}

/**
 * Sends a batch once. Resolves with the acknowledged partitions, as topic/partition.
 * @throws NotStoredError if no partition is acknowledged.
 */
type SendOnce = (batch: Batch) => Promise<ReadonlySet<string>>

const sendsOnce =
  (producer: Producer, timeout: number): SendOnce =>
  async (batch) => {
    try {
      const acks: readonly (RecordMetadata | null)[] = await producer.sendBatch({
        acks: -1,
        timeout,
        compression: kafkajs.CompressionTypes.None,
        topicMessages: [...batch].map(([topic, messages]) => ({ topic, messages })),
      })
      const stored = acks.filter((ack) => ack?.errorCode === 0)
      return new Set(stored.map((ack) => `${ack?.topicName}/${ack?.partition}`))
    } catch (error) {
      throw new NotStoredError(refusals.has(errorType(error) ?? '') ? 'refused' : 'unavailable', error)
    }
  }

/** Gives each partition's batch its numbers. */
const numbersBatches =
  (numbering: Numbering, sendOnce: SendOnce): SendOnce =>
  async (batch) => {
    const open = new Map<string, () => void>()
    try {
      for (const [topic, messages] of batch)
        for (const [partition, group] of Map.groupBy(messages, (message) => message.partition)) {
          const { numbers, abandon } = await numbering.next(topic, partition, group.length)
          open.set(`${topic}/${partition}`, abandon)
          Object.assign(group[0] as PinnedMessage, { numbers })
        }
      const acknowledged = await sendOnce(batch)
      for (const name of acknowledged) open.delete(name)
      return acknowledged
    } finally {
      for (const abandon of open.values()) abandon()
    }
  }

/** Returns a `sendOnce` with a fence: Kafka refuses requests that come late. */
const fenced = (cluster: Cluster, prefix: string, sendOnce: SendOnce): { sendOnce: SendOnce; fence: Fence } => {
  const ids = createTransactionalIds(cluster)
  const idOf = (topic: string, partition: number) => `${prefix}-${topic}-${partition}`
  const numbering = createNumbering(async (topic, partition) => {
    try {
      return await ids.requestEpoch(idOf(topic, partition))
    } catch (error) {
      throw new NotStoredError('unavailable', error)
    }
  })
  return {
    sendOnce: numbersBatches(numbering, sendOnce),
    fence: { takeOver: numbering.abandonAll, check: (topic) => ids.check(idOf(topic, 0)) },
  }
}

/**
 * Creates a producer whose `send` resolves only if Kafka has acknowledged every partition.
 *
 * kafkajs' own `send()` can resolve although records were never written, in two cases:
 * - kafkajs' retry skips a broker that has answered before, even if that broker is now the leader
 *   of the failed partitions (tulios/kafkajs#1303).
 * - kafkajs does not send the records of a partition that is missing in its metadata.
 *
 * So this producer requires an acknowledgement for each partition: a response that has the
 * partition with error code 0. The producer sends records without an acknowledgement again. A
 * record keeps its partition in each attempt. Otherwise an acknowledgement could be counted for the
 * wrong record.
 *
 * kafkajs' idempotent producer stays off, because after a timeout that producer gives another batch
 * the same sequence number. The broker then acknowledges that batch as a duplicate and does not
 * store it (tulios/kafkajs#598). With a fence, each attempt has numbers of its own: see
 * `batch-numbers.ts`. Kafka may store a record twice, which is harmless, because readers compare
 * versions.
 */
export const createVerifiedProducer = (
  kafka: KafkaClient,
  { metadataMaxAgeMs, produceTimeoutMs, transactionalIdPrefix, onUnacknowledged }: ProducerOptions,
): VerifiedProducer => {
  const { client: producer, cluster } = openProducer(kafka, metadataMaxAgeMs)
  const sendPlain = sendsOnce(producer, produceTimeoutMs)
  const { sendOnce, fence } =
    transactionalIdPrefix === undefined ? { sendOnce: sendPlain } : fenced(cluster, transactionalIdPrefix, sendPlain)
  let partitionCounts: ReadonlyMap<string, number> = new Map()
  let nextPartition = 0
  let refresher: NodeJS.Timeout | undefined

  const isUnbound = ({ key, anyPartition }: OutgoingRecord) => key === null || anyPartition === true
  const pin = (record: OutgoingRecord, unbound: number): PinnedMessage => {
    const { topic, key, value, headers, timestamp } = record
    const count = partitionCounts.get(topic)
    if (count === undefined) throw new NotStoredError('unavailable', `the partitions of ${topic} are not known yet`)
    const partition = key === null || isUnbound(record) ? unbound % count : partitionOfKey(key, count)
    return { key, value, partition, timestamp: String(timestamp), ...(headers && { headers }) }
  }

  /**
   * Sends a batch without messages. kafkajs then refreshes missing or old metadata of the topics.
   */
  const refreshLeaders = () => sendOnce(new Map([...partitionCounts.keys()].map((topic) => [topic, []])))

  return {
    connect: () => producer.connect(),
    setPartitions: async (partitions) => {
      partitionCounts = partitions
      await refreshLeaders()
      clearInterval(refresher)
      refresher = setInterval(() => refreshLeaders().catch(() => undefined), metadataMaxAgeMs).unref()
    },
    partitionOf: ({ topic, key }) => {
      const count = partitionCounts.get(topic)
      return key === null || count === undefined ? undefined : partitionOfKey(key, count)
    },
    send: async (records) => {
      let batch: Batch = new Map()
      // Send all records without a fixed partition to one partition. With several partitions, the
      // send would fail if one partition failed.
      const unbound = records.some(isUnbound) ? nextPartition++ : 0
      for (const record of records) {
        const messages = batch.get(record.topic)
        if (messages) messages.push(pin(record, unbound))
        else batch.set(record.topic, [pin(record, unbound)])
      }
      for (let resends = 0; batch.size > 0; resends++) {
        if (resends > MAX_RESENDS) throw new NotStoredError('unavailable', 'partitions stay without an acknowledgement')
        const acknowledged = await sendOnce(batch)
        const open: Batch = new Map()
        let unacknowledged = 0
        for (const [topic, messages] of batch) {
          const left = messages.filter(({ partition }) => !acknowledged.has(`${topic}/${partition}`))
          if (left.length > 0) open.set(topic, left)
          unacknowledged += left.length
        }
        if (unacknowledged > 0) onUnacknowledged?.(unacknowledged)
        batch = open
      }
    },
    ...(fence && { fence }),
    disconnect: () => {
      clearInterval(refresher)
      return producer.disconnect()
    },
  }
}
