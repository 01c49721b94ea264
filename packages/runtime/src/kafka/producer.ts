import { partitionOfKey } from '@customer-stream/schemas/partitioner'
import kafkajs, { type Message, type RecordMetadata } from 'kafkajs'
import { errorType } from './error-type.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'

export interface OutgoingRecord {
  readonly topic: string
  /**
   * Null if the producer may choose the partition. All records of a send without a key get the same
   * partition.
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
 * Error of a send: Kafka may not have stored some or all of its records.
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
  disconnect(): Promise<void>
}

export interface ProducerOptions {
  readonly metadataMaxAgeMs: number
  readonly produceTimeoutMs: number
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

type PinnedMessage = Message & { readonly partition: number }
type Batch = Map<string, PinnedMessage[]>

const MAX_RESENDS = 3

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
 * kafkajs' idempotent producer stays off, because after a timeout it gives another batch the same
 * sequence number. The broker then acknowledges that batch as a duplicate and does not store it
 * (tulios/kafkajs#598). Duplicates are harmless here, because readers compare versions.
 */
export const createVerifiedProducer = (
  kafka: KafkaClient,
  { metadataMaxAgeMs, produceTimeoutMs, onUnacknowledged }: ProducerOptions,
): VerifiedProducer => {
  const producer = kafkajsOf(kafka).producer({
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
  })
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

  const sendOnce = async (batch: Batch): Promise<(RecordMetadata | null)[]> => {
    try {
      return await producer.sendBatch({
        acks: -1,
        timeout: produceTimeoutMs,
        compression: kafkajs.CompressionTypes.None,
        topicMessages: [...batch].map(([topic, messages]) => ({ topic, messages })),
      })
    } catch (error) {
      throw new NotStoredError(refusals.has(errorType(error) ?? '') ? 'refused' : 'unavailable', error)
    }
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
        const acknowledged = new Set<string>()
        for (const ack of await sendOnce(batch))
          if (ack?.errorCode === 0) acknowledged.add(`${ack.topicName}/${ack.partition}`)
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
    disconnect: () => {
      clearInterval(refresher)
      return producer.disconnect()
    },
  }
}
