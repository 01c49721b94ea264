import { NotStoredError, type OutgoingRecord, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { type TopicNames, topicNames } from '@customer-stream/schemas'
import { createPublisher, type Outcome, type Publisher, type PublisherOptions } from './publisher.ts'
import { refusedRecord } from './quarantine.ts'
import type { Send } from './send-in-parts.ts'

/** The ways of records to Kafka, one for each topic. */
export interface Lanes {
  /** If Kafka refuses the record, a copy goes to quarantine. The copy acknowledges nothing, and the outcome does not wait for it. */
  publish(record: OutgoingRecord, deadlineAt: number): Promise<Outcome>
  /** True if the last flush of this record's partition failed. */
  fails(record: OutgoingRecord): boolean
  /** Names the partition that a spooled record goes to. */
  partitionOf(record: OutgoingRecord): string
  /**
   * Sends records that are kept elsewhere until this resolves, within a few seconds. A record that Kafka refuses goes to quarantine.
   * @param keep called with each record that quarantine refuses as well: its bytes are nowhere else.
   * @returns the records that must be kept and sent again later, and the last error of Kafka for one of them.
   */
  deliver(records: readonly OutgoingRecord[], keep: (record: OutgoingRecord) => void): Promise<Undelivered>
  readonly held: { readonly records: number; readonly bytes: number }
  /** Partitions, over all topics, whose last flush failed. */
  readonly failing: number
  /** Partitions, over all topics, whose last flush was stored but slow, within a minute. */
  readonly slow: number
  /** The topic with a send that has not ended for too long, in words. */
  stuck(): string | undefined
  /** A topic that stores nothing because its partitions fail, and the last error. */
  outage(): { readonly topic: string; readonly error: Error } | undefined
  connect(): Promise<void>
  /** Resolves when the leaders of each topic's partitions are known. */
  setPartitions(partitions: ReadonlyMap<string, number>): Promise<void>
  /** Takes nothing more. Resolves when everything taken has its outcome, copies in quarantine included, within a quarter of a second. */
  drain(): Promise<void>
  disconnect(): Promise<void>
}

/** A copy of a refused record need not be stored by then: the sender repeats the record. */
const QUARANTINE_DEADLINE_MS = 30_000
/** Records that wait when a stop begins are the spool's, or copies: all requests have their answers. */
const DRAIN_MS = 250
/** One failing partition says nothing about its topic. So many (or all others) that begin to fail, while none stores anything, do. */
const OUTAGE_PARTITIONS = 3

export interface LanesOptions extends Omit<PublisherOptions<OutgoingRecord>, 'partitionOf'> {
  /** How long a delivery waits for Kafka: longer than a flush in flight and the next one take. Otherwise records stored late are sent again and again. */
  readonly deliveryDeadlineMs: number
  /** Time after which a send counts as stuck. kafkajs bounds no send. */
  readonly stuckSendMs: number
  /** Called for each record that Kafka refuses by itself. `quarantined`: quarantine has its bytes. */
  readonly onRefused: (topic: string, error: Error, quarantined: boolean) => void
}

export interface Undelivered {
  readonly records: readonly OutgoingRecord[]
  /** Undefined if Kafka only gave no answer in time. */
  readonly error: Error | undefined
}

interface Lane {
  readonly producer: VerifiedProducer
  readonly publisher: Publisher<OutgoingRecord>
  /** When the sends in flight began, the oldest first. */
  readonly sends: Set<{ readonly startedAt: number }>
}

const suffixes = Object.entries(topicNames('')) as [keyof TopicNames, string][]

/**
 * A client, a producer and a publisher for each topic: kafkajs gives up on all topics of a client when the metadata of one is bad, so that with one for all a broken
 * quarantine topic would stop the customers.
 */
export const createLanes = (topics: TopicNames, openProducer: () => VerifiedProducer, options: LanesOptions): Lanes => {
  const lanes = new Map<string, Lane>()
  let partitionCounts: ReadonlyMap<string, number> = new Map()
  const laneOf = (topic: string): Lane => {
    const lane = lanes.get(topic)
    // Unlike an outage, this does not end by itself.
    if (!lane) throw new NotStoredError('refused', `no way to ${topic}`)
    return lane
  }

  const publishCopy = (record: OutgoingRecord, error: Error, deadlineMs: number): Promise<Outcome> =>
    laneOf(topics.quarantine).publisher.publish(refusedRecord(record, error, topics.quarantine), performance.now() + deadlineMs)
  const copyToQuarantine = async (record: OutgoingRecord, error: Error) => {
    const { end } = await publishCopy(record, error, QUARANTINE_DEADLINE_MS)
    options.onRefused(record.topic, error, end === 'stored')
  }

  for (const topic of Object.values(topics)) {
    const producer = openProducer()
    const sends: Lane['sends'] = new Set()
    const send: Send<OutgoingRecord> = async (records) => {
      const begun = { startedAt: performance.now() }
      sends.add(begun)
      try {
        await producer.send(records)
      } finally {
        sends.delete(begun)
      }
    }
    lanes.set(topic, {
      producer,
      publisher: createPublisher(send, { ...options, partitionOf: producer.partitionOf }),
      sends,
    })
  }
  /** A record spooled under another KAFKA_TOPIC_PREFIX goes to the topic of the same kind under the present one. */
  const underOurPrefix = (record: OutgoingRecord): OutgoingRecord => {
    if (lanes.has(record.topic)) return record
    const [kind] = suffixes.find(([, suffix]) => record.topic.endsWith(suffix)) ?? []
    return kind ? { ...record, topic: topics[kind] } : record
  }
  /** @returns the outcome of a record that must be kept. */
  const deliver = async (record: OutgoingRecord, keep: () => void): Promise<Outcome | undefined> => {
    const quarantine = async (error: Error) => {
      const outcome = await publishCopy(record, error, options.deliveryDeadlineMs)
      const { end } = outcome
      // An outage says nothing about the record.
      if (end !== 'stored' && end !== 'refused') return outcome
      if (end === 'refused') keep()
      options.onRefused(record.topic, error, end === 'stored')
      return undefined
    }
    const lane = lanes.get(record.topic)
    if (!lane) return quarantine(new Error(`no way to ${record.topic}`))
    const outcome = await lane.publisher.publish(record, performance.now() + options.deliveryDeadlineMs)
    if (outcome.end === 'refused' && outcome.error) return quarantine(outcome.error)
    return outcome.end === 'stored' ? undefined : outcome
  }
  const all = <T>(of: (lane: Lane) => Promise<T>) => Promise.all([...lanes.values()].map(of))
  const sum = (of: (lane: Lane) => number) => lanes.values().reduce((total, lane) => total + of(lane), 0)

  return {
    publish: (record, deadlineAt) => laneOf(record.topic).publisher.publish(record, deadlineAt, (error) => copyToQuarantine(record, error)),
    fails: (record) => laneOf(record.topic).publisher.fails(record),
    partitionOf: (record) => {
      const ours = underOurPrefix(record)
      return `${ours.topic}/${lanes.get(ours.topic)?.producer.partitionOf(ours)}`
    },
    deliver: async (records, keep) => {
      const outcomes = await Promise.all(records.map((record) => deliver(underOurPrefix(record), () => keep(record))))
      return {
        records: records.filter((_, i) => outcomes[i] !== undefined),
        error: outcomes.findLast((outcome) => outcome?.error)?.error,
      }
    },
    get held() {
      return { records: sum(({ publisher }) => publisher.size.records), bytes: sum(({ publisher }) => publisher.size.bytes) }
    },
    get failing() {
      return sum(({ publisher }) => publisher.failing)
    },
    get slow() {
      return sum(({ publisher }) => publisher.slow)
    },
    stuck: () => {
      for (const [topic, { sends }] of lanes) {
        const [oldest] = sends
        const lastsMs = oldest ? performance.now() - oldest.startedAt : 0
        if (lastsMs > options.stuckSendMs) return `a send to ${topic} has not ended for ${Math.round(lastsMs / 1000)} s`
      }
      return undefined
    },
    outage: () => {
      for (const [topic, { publisher }] of lanes) {
        const { outage, failing } = publisher
        if (!outage) continue
        // Partitions that failed already while others stored.
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
        [...lanes].map(([topic, { producer }]) => {
          const count = partitions.get(topic)
          return count !== undefined && producer.setPartitions(new Map([[topic, count]]))
        }),
      )
    },
    drain: async () => {
      const deadlineAt = performance.now() + DRAIN_MS
      const { [topics.quarantine]: quarantine, ...others } = Object.fromEntries(lanes)
      // Until the last, since a record of another topic may still be refused.
      await Promise.all(Object.values(others).map(({ publisher }) => publisher.close(deadlineAt)))
      await quarantine?.publisher.close(deadlineAt)
    },
    disconnect: async () => {
      await Promise.allSettled([...lanes.values()].map(({ producer }) => producer.disconnect()))
    },
  }
}
