import { randomUUID } from 'node:crypto'
import type { Admin, Kafka, KafkaMessage } from '@customer-stream/runtime/kafka'

export type ReadRecord = (message: KafkaMessage, partition: number) => void

/**
 * Reads a topic from its first record to where it ended when the call began, through a consumer group of its own that leaves nothing behind. Read-only.
 * @returns the end offsets that were read up to, by partition.
 */
export const readTopic = async (kafka: Kafka, admin: Admin, topic: string, onRecord: ReadRecord): Promise<ReadonlyMap<number, bigint>> => {
  const watermarks = await admin.fetchTopicOffsets(topic)
  const ends = new Map(watermarks.map(({ partition, high }) => [partition, BigInt(high)]))
  const open = new Set(watermarks.filter(({ low, high }) => low !== high).map(({ partition }) => partition))
  if (open.size === 0) return ends
  const groupId = `customer-stream-verify-${randomUUID()}`
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100, allowAutoTopicCreation: false })
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await new Promise<void>((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
      consumer
        .run({
          autoCommit: false,
          eachBatch: async ({ batch, heartbeat }) => {
            const end = ends.get(batch.partition) ?? 0n
            for (const message of batch.messages) if (BigInt(message.offset) < end) onRecord(message, batch.partition)
            await heartbeat()
            if (BigInt(batch.lastOffset()) + 1n >= end) open.delete(batch.partition)
            if (open.size === 0) resolve()
          },
        })
        .catch(reject)
    })
  } finally {
    await consumer.disconnect()
    await admin.deleteGroups([groupId]).catch(() => undefined)
  }
  return ends
}
