import { NotStoredError, type OutgoingRecord, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { type TopicNames, topicNames } from '@customer-stream/schemas'
import { createPublisher, type Outcome, type Publisher, type PublisherOptions } from './publisher.ts'
import { isRefusedRecord, refusedRecord } from './quarantine.ts'
import { type Send, sendInParts } from './send-in-parts.ts'

/** The ways of records to Kafka, one for each topic. */
export interface Lanes {
  /** Of a record that Kafka refuses a copy goes to quarantine; it is no promise, and the outcome does not wait for it. */
  publish(record: OutgoingRecord, deadlineAt: number): Promise<Outcome>
  /**
   * Without batching or deadline, for records that are kept elsewhere until this has resolved. What Kafka refuses goes to quarantine.
   * @param keep called when quarantine refuses a record as well: its bytes are nowhere else.
   * @returns those whose partition, or quarantine, does not take them.
   * @throws when none was taken.
   */
  send(records: readonly OutgoingRecord[], keep: () => void): Promise<readonly OutgoingRecord[]>
  readonly held: { readonly records: number; readonly bytes: number }
  /** Partitions that Kafka did not take the last records of. */
  readonly setAside: number
  /** The lane with a send, of a flush or a drain, that has not ended for too long, in words. */
  stuck(): string | undefined
  connect(): Promise<void>
  setPartitions(partitions: ReadonlyMap<string, number>): void
  /** Takes nothing more and resolves when everything taken has met its outcome. */
  drain(): Promise<void>
  disconnect(): Promise<void>
}

/** kafkajs bounds no send; one this long is a fault that an answer to the admin client would hide. */
const STUCK_SEND_MS = 30_000

/** The sender has long gone by then, and repeats: what is not in quarantine comes again. */
const QUARANTINE_DEADLINE_MS = 30_000

export interface LanesOptions extends Omit<PublisherOptions<OutgoingRecord>, 'onRefused' | 'partitionOf'> {
  /** Told of each record that Kafka refuses by itself, and whether quarantine has its bytes. */
  readonly onRefused: (topic: string, error: Error, quarantined: boolean) => void
}

interface Lane {
  readonly producer: VerifiedProducer
  readonly publisher: Publisher<OutgoingRecord>
  readonly send: Send<OutgoingRecord>
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
  const laneOf = (topic: string): Lane => {
    const lane = lanes.get(topic)
    // For ever so, unlike an outage.
    if (!lane) throw new NotStoredError('refused', `no way to ${topic}`)
    return lane
  }

  const publishCopy = async (record: OutgoingRecord, error: Error) => {
    if (isRefusedRecord(record)) return
    const copy = refusedRecord(record, error, topics.quarantine)
    const outcome = await laneOf(topics.quarantine).publisher.publish(copy, performance.now() + QUARANTINE_DEADLINE_MS)
    options.onRefused(record.topic, error, outcome === 'stored')
  }
  type Left = { readonly record: OutgoingRecord; readonly error: Error }
  const quarantine = async (record: OutgoingRecord, error: Error, keep: () => void): Promise<Left[]> => {
    for await (const copy of sendInParts(laneOf(topics.quarantine).send, [refusedRecord(record, error, topics.quarantine)])) {
      if (copy.end === 'unavailable') return [{ record, error: copy.error }]
      if (copy.end === 'refused') keep()
      options.onRefused(record.topic, error, copy.end === 'stored')
    }
    return []
  }
  /** Together, and where that fails partition by partition. */
  const sendTo = async (topic: string, batch: readonly OutgoingRecord[], keep: () => void): Promise<Left[]> => {
    const left: Left[] = []
    for await (const part of sendInParts(async (some) => laneOf(topic).send(some), batch)) {
      if (part.end === 'refused') left.push(...(await quarantine(part.record, part.error, keep)))
      if (part.end !== 'unavailable') continue
      const partitions = Map.groupBy(part.records, (record) => lanes.get(topic)?.producer.partitionOf(record))
      if (partitions.size === 1) left.push(...part.records.map((record) => ({ record, error: part.error })))
      else left.push(...(await Promise.all([...partitions.values()].map((some) => sendTo(topic, some, keep)))).flat())
    }
    return left
  }

  for (const topic of Object.values(topics)) {
    const producer = openProducer()
    const sends: Lane['sends'] = new Set()
    const send: Lane['send'] = async (records) => {
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
      publisher: createPublisher(send, { ...options, onRefused: publishCopy, partitionOf: producer.partitionOf }),
      send,
      sends,
    })
  }
  /** What was spooled under another KAFKA_TOPIC_PREFIX goes to the topic that has taken the place of its own. */
  const underOurPrefix = (record: OutgoingRecord): OutgoingRecord => {
    if (lanes.has(record.topic)) return record
    const [kind] = suffixes.find(([, suffix]) => record.topic.endsWith(suffix)) ?? []
    return kind ? { ...record, topic: topics[kind] } : record
  }
  const all = <T>(of: (lane: Lane) => Promise<T>) => Promise.all([...lanes.values()].map(of))
  const sum = (of: (lane: Lane) => number) => lanes.values().reduce((total, lane) => total + of(lane), 0)

  return {
    publish: (record, deadlineAt) => laneOf(record.topic).publisher.publish(record, deadlineAt),
    send: async (records, keep) => {
      const byTopic = Map.groupBy(records.map(underOurPrefix), ({ topic }) => topic)
      const left = (await Promise.all([...byTopic].map(([topic, batch]) => sendTo(topic, batch, keep)))).flat()
      if (left[0] && left.length === records.length) throw left[0].error
      return left.map(({ record }) => record)
    },
    get held() {
      return { records: sum(({ publisher }) => publisher.size.records), bytes: sum(({ publisher }) => publisher.size.bytes) }
    },
    get setAside() {
      return sum(({ publisher }) => publisher.setAside)
    },
    stuck: () => {
      for (const [topic, { sends }] of lanes) {
        const [oldest] = sends
        const lastsMs = oldest ? performance.now() - oldest.startedAt : 0
        if (lastsMs > STUCK_SEND_MS) return `a send to ${topic} has not ended for ${Math.round(lastsMs / 1000)} s`
      }
      return undefined
    },
    connect: async () => {
      await all(({ producer }) => producer.connect())
    },
    setPartitions: (partitions) => {
      for (const { producer } of lanes.values()) producer.setPartitions(partitions)
    },
    drain: async () => {
      await all(({ publisher }) => publisher.close())
    },
    disconnect: async () => {
      await Promise.allSettled([...lanes.values()].map(({ producer }) => producer.disconnect()))
    },
  }
}
