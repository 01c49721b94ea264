/** Reads records of a topic from a given place, without a consumer group. */
import {
  createPartitionReader,
  type FetchedPart,
  readWatermarks,
  type Watermarks,
} from '@customer-stream/runtime/kafka'
import type { ReaderKafka } from './kafka.ts'

/** Each method throws KafkaUnavailableError if Kafka does not answer. */
export interface TopicReader {
  readonly topic: string
  countPartitions(): Promise<number>
  /** Returns the watermarks of the partitions whose leader answers. */
  watermarks(): Promise<ReadonlyMap<number, Watermarks>>
  /** Returns the offset of the first record at or after a time, or the end of the partition. */
  offsetAt(partition: number, timestampMs: number): Promise<number | undefined>
  /**
   * Reads records of a partition, from `offset` up to at most `until` - 1. At most {@link
   * MAX_READS} calls read at the same time.
   */
  read(partition: number, offset: number, until: number): Promise<FetchedPart>
}

/** Bounds the memory of the responses: at most 4 × 256 KiB. */
const MAX_READS = 4

export const createTopicReader = (kafka: Pick<ReaderKafka, 'openAdmin' | 'ask'>, topic: string): TopicReader => {
  const admin = kafka.openAdmin()
  const reader = createPartitionReader(admin, topic)
  const waiting: (() => void)[] = []
  let reads = 0
  const ask = <T>(question: () => Promise<T>) =>
    kafka.ask(`read topic ${topic}`, async () => {
      await admin.connect()
      return question()
    })
  return {
    topic,
    countPartitions: () => ask(async () => (await admin.describeTopics([topic])).get(topic)?.length ?? 0),
    watermarks: () => ask(() => readWatermarks(admin, topic)),
    offsetAt: (partition, timestampMs) =>
      ask(async () => {
        const offsets = await admin.fetchTopicOffsetsByTimestamp(topic, timestampMs)
        const found = offsets.find((each) => each.partition === partition)
        return found && Number(found.offset)
      }),
    read: async (partition, offset, until) => {
      if (reads >= MAX_READS) await new Promise<void>((resolve) => void waiting.push(resolve))
      else reads += 1
      try {
        return await ask(() => reader.fetch(partition, String(offset), String(until)))
      } finally {
        const next = waiting.shift()
        if (next) next()
        else reads -= 1
      }
    },
  }
}
