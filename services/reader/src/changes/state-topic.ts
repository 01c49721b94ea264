/** Reads older records of the state topic, for streams that catch up. */
import {
  createPartitionReader,
  type FetchedPart,
  readWatermarks,
  type Watermarks,
} from '@customer-stream/runtime/kafka'
import type { ReaderKafka } from '../kafka.ts'

export interface StateTopic {
  watermarks(): Promise<ReadonlyMap<number, Watermarks>>
  /** Reads records of a partition from an offset. At most {@link MAX_READS} calls read at once. */
  readOlder(partition: number, offset: number, until: number): Promise<FetchedPart>
}

/** Bounds the memory of the responses: at most 4 × 256 KiB. */
const MAX_READS = 4

export const createStateTopic = (kafka: Pick<ReaderKafka, 'openAdmin' | 'ask'>, topic: string): StateTopic => {
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
    watermarks: () => ask(() => readWatermarks(admin, topic)),
    readOlder: async (partition, offset, until) => {
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
