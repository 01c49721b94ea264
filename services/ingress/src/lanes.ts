import type { OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { createPublisher, type Outcome, type Publisher, type PublisherOptions } from './publisher.ts'

/** The ways of records to Kafka, one for each topic. */
export interface Lanes {
  publish(record: OutgoingRecord, deadlineAt: number): Promise<Outcome>
  /** Without batching or deadline, for records that are kept elsewhere until this has resolved. */
  send(records: readonly OutgoingRecord[]): Promise<void>
  readonly held: { readonly records: number; readonly bytes: number }
  /** The lane whose flush has not ended for too long, in words. */
  stuck(): string | undefined
  connect(): Promise<void>
  setPartitions(partitions: ReadonlyMap<string, number>): void
  /** Takes nothing more and resolves when everything taken has met its outcome. */
  drain(): Promise<void>
  disconnect(): Promise<void>
}

/** kafkajs bounds no send; one this long is a fault that an answer to the admin client would hide. */
const STUCK_FLUSH_MS = 30_000

interface Lane {
  readonly producer: VerifiedProducer
  readonly publisher: Publisher<OutgoingRecord>
}

/**
 * A client, a producer and a publisher for each topic: kafkajs gives up on all topics of a client when the metadata of one is bad, so that with one for all a broken
 * quarantine topic would stop the customers.
 */
export const createLanes = (topics: readonly string[], openProducer: () => VerifiedProducer, options: PublisherOptions): Lanes => {
  const lanes = new Map<string, Lane>()
  for (const topic of topics) {
    const producer = openProducer()
    lanes.set(topic, { producer, publisher: createPublisher(producer.send, options) })
  }
  const laneOf = (topic: string): Lane => {
    const lane = lanes.get(topic)
    if (!lane) throw new Error(`no way to ${topic}`)
    return lane
  }
  const all = <T>(of: (lane: Lane) => Promise<T>) => Promise.all([...lanes.values()].map(of))
  const sum = (of: (lane: Lane) => number) => lanes.values().reduce((total, lane) => total + of(lane), 0)

  return {
    publish: (record, deadlineAt) => laneOf(record.topic).publisher.publish(record, deadlineAt),
    send: async (records) => {
      const byTopic = Map.groupBy(records, ({ topic }) => topic)
      await Promise.all([...byTopic].map(([topic, batch]) => laneOf(topic).producer.send(batch)))
    },
    get held() {
      return { records: sum(({ publisher }) => publisher.size.records), bytes: sum(({ publisher }) => publisher.size.bytes) }
    },
    stuck: () => {
      const found = [...lanes].find(([, { publisher }]) => publisher.flushMs > STUCK_FLUSH_MS)
      return found && `a flush to ${found[0]} has not ended for ${Math.round(found[1].publisher.flushMs / 1000)} s`
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
