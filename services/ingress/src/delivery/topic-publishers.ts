import { NotStoredError, type OutgoingRecord, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { type TopicNames, topicNames } from '@customer-stream/schemas'
import { type Linked, LinkedSet } from '../linked-set.ts'
import { createPublisher, type Outcome, type Publisher, type PublisherOptions } from './publisher.ts'
import { refusedRecord } from './quarantine.ts'
import type { Send } from './send-in-parts.ts'

/** Publishers of all topics. Each topic has its own Kafka client, producer and publisher. */
export interface TopicPublishers {
  /**
   * Publishes a record. If Kafka refuses the record, a copy goes to quarantine (dead-letter topic).
   * The outcome is then `refused`. The promise does not wait for the copy.
   */
  publish(record: OutgoingRecord, deadlineAt: number): Promise<Outcome>
  /** Returns true if the last flush of this record's partition failed. */
  fails(record: OutgoingRecord): boolean
  /**
   * Returns a name for the partition of a spooled record. The name contains the partition count,
   * because a record may get another partition when the count changes.
   */
  partitionOf(record: OutgoingRecord): string
  /**
   * Sends spooled records and resolves within a few seconds. The caller must keep the records until
   * this promise resolves. A record that Kafka refuses goes to quarantine.
   * @param keep called with each record that both its topic and quarantine refuse. The caller must
   *   keep the record's bytes.
   * @returns the records that the caller must keep and send again, and Kafka's last error.
   */
  deliver(records: readonly OutgoingRecord[], keep: (record: OutgoingRecord) => void): Promise<Undelivered>
  readonly held: { readonly records: number; readonly bytes: number }
  /** Number of partitions, over all topics, whose last flush failed. */
  readonly failing: number
  /**
   * Number of partitions, over all topics, whose last flush was slow and ended within the last
   * minute.
   */
  readonly slow: number
  /**
   * Returns a sentence about a send that has lasted longer than `stuckSendMs`. Undefined if no send
   * has lasted so long.
   */
  stuck(): string | undefined
  /**
   * Returns a topic in which Kafka stores no records, because its partitions fail. `error` is the
   * last error of the first failing partition.
   */
  outage(): { readonly topic: string; readonly error: Error } | undefined
  connect(): Promise<void>
  /** Resolves when the leaders of each topic's partitions are known. */
  setPartitions(partitions: ReadonlyMap<string, number>): Promise<void>
  /** Refuses new records. Resolves within 250 ms, when all accepted records have their outcome. */
  drain(): Promise<void>
  disconnect(): Promise<void>
}

/**
 * Deadline for the quarantine copy of a refused record. If the deadline is missed, no event is
 * lost, because the sender repeats the event.
 */
const QUARANTINE_DEADLINE_MS = 30_000
/**
 * Time limit for the last flushes at shutdown. The limit may be short, because all requests already
 * have answers. Only spooled records and quarantine copies still wait for Kafka.
 */
const DRAIN_MS = 250
/**
 * A topic has an outage if this many partitions began to fail after the last stored record. If the
 * topic had fewer healthy partitions, all of them must have begun to fail. One failing partition
 * among healthy partitions is not an outage of the topic.
 */
const OUTAGE_PARTITIONS = 3

export interface TopicPublishersOptions extends Omit<PublisherOptions<OutgoingRecord>, 'partitionOf'> {
  /**
   * Time that a delivery of spooled records waits for Kafka. Must be longer than two flushes: the
   * flush in flight and the next flush. Otherwise the drain would send the records of slow flushes
   * again and again.
   */
  readonly deliveryDeadlineMs: number
  /** A send that lasts longer than this is stuck. kafkajs has no timeout for a send. */
  readonly stuckSendMs: number
  /**
   * Called for each record that Kafka refuses even if the record is sent alone. `quarantined` is
   * true if the quarantine topic has the record's bytes.
   */
  readonly onRefused: (topic: string, error: Error, quarantined: boolean) => void
}

export interface Undelivered {
  readonly records: readonly OutgoingRecord[]
  /** Kafka's last error. Undefined if Kafka did not answer in time. */
  readonly error: Error | undefined
}

interface Sending extends Linked<Sending> {
  readonly startedAt: number
}

interface TopicPublisher {
  readonly producer: VerifiedProducer
  readonly publisher: Publisher<OutgoingRecord>
  /** Sends in flight, oldest first. */
  readonly sends: LinkedSet<Sending>
}

const suffixes = Object.entries(topicNames('')) as [keyof TopicNames, string][]

/**
 * Creates a client, a producer and a publisher for each topic. If one topic has bad metadata, a
 * kafkajs client fails for all its topics. So if all topics shared one client, a broken quarantine
 * topic would also stop the customers topic.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share all publishers
export const createTopicPublishers = (
  topics: TopicNames,
  openProducer: () => VerifiedProducer,
  options: TopicPublishersOptions,
): TopicPublishers => {
  const publishers = new Map<string, TopicPublisher>()
  let partitionCounts: ReadonlyMap<string, number> = new Map()
  const ofTopic = (topic: string): TopicPublisher => {
    const found = publishers.get(topic)
    // The error is `refused`, because no retry can help.
    if (!found) throw new NotStoredError('refused', `the ingress does not write to topic ${topic}`)
    return found
  }

  const publishCopy = (record: OutgoingRecord, error: Error, deadlineMs: number): Promise<Outcome> =>
    ofTopic(topics.quarantine).publisher.publish(
      refusedRecord(record, error, topics.quarantine),
      performance.now() + deadlineMs,
    )
  const copyToQuarantine = async (record: OutgoingRecord, error: Error) => {
    const { end } = await publishCopy(record, error, QUARANTINE_DEADLINE_MS)
    options.onRefused(record.topic, error, end === 'stored')
  }

  for (const topic of Object.values(topics)) {
    const producer = openProducer()
    const sends: TopicPublisher['sends'] = new LinkedSet()
    const send: Send<OutgoingRecord> = async (records) => {
      const begun: Sending = { startedAt: performance.now() }
      sends.add(begun)
      try {
        await producer.send(records)
      } finally {
        sends.delete(begun)
      }
    }
    publishers.set(topic, {
      producer,
      publisher: createPublisher(send, { ...options, partitionOf: producer.partitionOf }),
      sends,
    })
  }
  /**
   * Maps a record that was spooled under another KAFKA_TOPIC_PREFIX to the same topic under the
   * current prefix.
   */
  const underOurPrefix = (record: OutgoingRecord): OutgoingRecord => {
    if (publishers.has(record.topic)) return record
    const [kind] = suffixes.find(([, suffix]) => record.topic.endsWith(suffix)) ?? []
    return kind ? { ...record, topic: topics[kind] } : record
  }
  /**
   * Sends one spooled record.
   * @returns the record's outcome if the caller must keep the record, otherwise undefined.
   */
  const deliver = async (record: OutgoingRecord, keep: () => void): Promise<Outcome | undefined> => {
    const quarantine = async (error: Error) => {
      const outcome = await publishCopy(record, error, options.deliveryDeadlineMs)
      const { end } = outcome
      // The caller must keep the record, because a later attempt may succeed.
      if (end !== 'stored' && end !== 'refused') return outcome
      if (end === 'refused') keep()
      options.onRefused(record.topic, error, end === 'stored')
      return undefined
    }
    const found = publishers.get(record.topic)
    if (!found) return quarantine(new Error(`the ingress does not write to topic ${record.topic}`))
    const outcome = await found.publisher.publish(record, performance.now() + options.deliveryDeadlineMs)
    if (outcome.end === 'refused' && outcome.error) return quarantine(outcome.error)
    return outcome.end === 'stored' ? undefined : outcome
  }
  const all = <T>(of: (one: TopicPublisher) => Promise<T>) => Promise.all([...publishers.values()].map(of))
  const sum = (of: (one: TopicPublisher) => number) => publishers.values().reduce((total, one) => total + of(one), 0)

  return {
    publish: (record, deadlineAt) =>
      ofTopic(record.topic).publisher.publish(record, deadlineAt, (error) => copyToQuarantine(record, error)),
    fails: (record) => ofTopic(record.topic).publisher.fails(record),
    partitionOf: (record) => {
      const ours = underOurPrefix(record)
      const partition = publishers.get(ours.topic)?.producer.partitionOf(ours)
      return `${ours.topic}/${partition} of ${partitionCounts.get(ours.topic)}`
    },
    deliver: async (records, keep) => {
      const outcomes = await Promise.all(records.map((record) => deliver(underOurPrefix(record), () => keep(record))))
      return {
        records: records.filter((_, i) => outcomes[i] !== undefined),
        error: outcomes.findLast((outcome) => outcome?.error)?.error,
      }
    },
    get held() {
      return {
        records: sum(({ publisher }) => publisher.size.records),
        bytes: sum(({ publisher }) => publisher.size.bytes),
      }
    },
    get failing() {
      return sum(({ publisher }) => publisher.failing)
    },
    get slow() {
      return sum(({ publisher }) => publisher.slow)
    },
    stuck: () => {
      for (const [topic, { sends }] of publishers) {
        const lastsMs = sends.first ? performance.now() - sends.first.startedAt : 0
        if (lastsMs > options.stuckSendMs) return `a send to ${topic} has not ended for ${Math.round(lastsMs / 1000)} s`
      }
      return undefined
    },
    outage: () => {
      for (const [topic, { publisher }] of publishers) {
        const { outage, failing } = publisher
        if (!outage) continue
        // Partitions that were already failing when another partition last stored a record.
        const before = Math.max(0, failing - outage.partitions)
        const others = (partitionCounts.get(topic) ?? 1) - before
        if (outage.partitions >= Math.min(OUTAGE_PARTITIONS, others)) return { topic, error: outage.error }
      }
      return undefined
    },
    connect: async () => {
      await all(({ producer }) => producer.connect())
    },
    setPartitions: async (partitions) => {
      partitionCounts = partitions
      await Promise.all(
        [...publishers].map(([topic, { producer }]) => {
          const count = partitions.get(topic)
          return count !== undefined && producer.setPartitions(new Map([[topic, count]]))
        }),
      )
    },
    drain: async () => {
      const deadlineAt = performance.now() + DRAIN_MS
      const { [topics.quarantine]: quarantine, ...others } = Object.fromEntries(publishers)
      // Close quarantine last, because Kafka may still refuse a record of another topic.
      await Promise.all(Object.values(others).map(({ publisher }) => publisher.close(deadlineAt)))
      await quarantine?.publisher.close(deadlineAt)
    },
    disconnect: async () => {
      await Promise.allSettled([...publishers.values()].map(({ producer }) => producer.disconnect()))
    },
  }
}
