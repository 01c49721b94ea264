import kafkajs, { type Kafka, type Message, type RecordMetadata } from 'kafkajs'
import { errorType } from './error-type.ts'
import { partitionOf } from './partitioner.ts'

export interface OutgoingRecord {
  readonly topic: string
  /** Null leaves the partition open: each send takes the next one for all such records. */
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** Leaves the partition open although there is a key. */
  readonly anyPartition?: boolean
  readonly headers?: Readonly<Record<string, string>>
  /** Unix milliseconds. */
  readonly timestamp: number
}

/** The records, or some of them, may not be stored. `refused`: Kafka will never take one of them. `unavailable`: it may later; the outcome is unknown. */
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
   * Partition counts by topic, from the check at start. Without a topic's count every send to it is `unavailable`.
   * Resolves when the leaders of these topics are known; from then on they are kept fresh. Otherwise the first send, perhaps days later, would need
   * an answer of the first of KAFKA_BROKERS.
   */
  setPartitions(partitions: ReadonlyMap<string, number>): Promise<void>
  /** The partition that a record is bound to by its key, with which it fails and recovers. Undefined without a key, or as long as the topic's partitions are not known. */
  partitionOf(record: OutgoingRecord): number | undefined
  /**
   * Resolves once every record is stored by every in-sync replica.
   * @throws NotStoredError otherwise.
   */
  send(records: readonly OutgoingRecord[]): Promise<void>
  disconnect(): Promise<void>
}

export interface ProducerOptions {
  readonly metadataMaxAgeMs: number
  readonly produceTimeoutMs: number
  /** Told how many records had to be sent again because no acknowledgement named their partition. */
  readonly onUnacknowledged?: (records: number) => void
}

/** Errors by which a broker says that it will never take a record; any other is an outage. */
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
 * A producer whose `send` resolves only on proof.
 *
 * kafkajs' own `send()` may resolve although records were never written: its retry skips a broker that has answered before, also when that broker has
 * become the leader of the partitions that failed (tulios/kafkajs#1303; reproduced in producer.test.ts), and a partition that its metadata lacks is just left
 * out. So every addressed partition must be acknowledged by name with error code 0, and what is not is sent again. The partition is pinned on the record:
 * chosen anew on a retry, an acknowledgement could be taken for the wrong record.
 *
 * The idempotent producer stays off: after a time-out kafkajs reuses a sequence number, and the broker takes another batch for a duplicate and
 * drops it, acknowledged (tulios/kafkajs#598). Duplicates are harmless here: readers go by version.
 */
export const createVerifiedProducer = (
  kafka: Kafka,
  { metadataMaxAgeMs, produceTimeoutMs, onUnacknowledged }: ProducerOptions,
): VerifiedProducer => {
  const producer = kafka.producer({
    idempotent: false,
    allowAutoTopicCreation: false,
    metadataMaxAge: metadataMaxAgeMs,
    // kafkajs' retries are off: the publisher retries failed records per partition. kafkajs would retry the whole request and delay healthy partitions.
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
    const partition = key === null || isUnbound(record) ? unbound % count : partitionOf(key, count)
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

  /** A batch without messages makes kafkajs ask who leads its topics, if that is not known or old. */
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
      return key === null || count === undefined ? undefined : partitionOf(key, count)
    },
    send: async (records) => {
      let batch: Batch = new Map()
      // One partition for all records that may go anywhere: spread, they would fail as long as any partition does.
      const unbound = records.some(isUnbound) ? nextPartition++ : 0
      for (const record of records) {
        const messages = batch.get(record.topic)
        if (messages) messages.push(pin(record, unbound))
        else batch.set(record.topic, [pin(record, unbound)])
      }
      for (let resends = 0; batch.size > 0; resends++) {
        if (resends > MAX_RESENDS) throw new NotStoredError('unavailable', 'partitions stay without an acknowledgement')
        const acknowledged = new Set<string>()
        for (const ack of await sendOnce(batch)) if (ack?.errorCode === 0) acknowledged.add(`${ack.topicName}/${ack.partition}`)
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
