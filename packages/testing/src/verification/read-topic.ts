import { randomUUID } from 'node:crypto'
import type { Admin, Kafka, KafkaMessage } from '@customer-stream/runtime/kafka'
import { unlessAborted } from '../brokers/unless-aborted.ts'
import { waitUntil } from '../wait-until.ts'

export interface ReadOptions {
  /** Begin at the first record of this time of receipt, Unix milliseconds, instead of the first of all. */
  readonly sinceMs?: number
  /** Where to end, instead of where the topic ends when the call begins. */
  readonly ends?: readonly PartitionEnds[]
  readonly onProgress?: (read: number, total: number) => void
  /** Ends the reading early; the group is left even so. */
  readonly signal?: AbortSignal
}

const PROGRESS_INTERVAL_MS = 2000
const MAX_FAILURES = 5

export interface PartitionEnds {
  readonly partition: number
  readonly low: string
  readonly high: string
}

/**
 * Where each partition begins and ends. kafkajs asks once, and while leadership moves the broker that it asks may not be the leader.
 * @throws when Kafka does not say so of every partition for half a minute.
 */
export const fetchEnds = async (admin: Admin, topic: string): Promise<PartitionEnds[]> => {
  const ask = async () => {
    const ends = await admin.fetchTopicOffsets(topic)
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return ends.length === topics[0]?.partitions.length ? ends : 'a partition has no leader'
  }
  const ends = await waitUntil(
    `Kafka says where ${topic} ends`,
    () => ask().catch((error: Error) => error.message),
    (answer) => typeof answer !== 'string',
  )
  return ends as Exclude<typeof ends, string>
}

/**
 * Reads a topic to its end, through a consumer group of its own that leaves nothing behind. Read-only.
 * @returns the number of records read.
 */
export const readTopic = async (
  kafka: Kafka,
  admin: Admin,
  topic: string,
  onRecord: (message: KafkaMessage, partition: number) => void,
  { sinceMs, onProgress, ends: given, signal }: ReadOptions = {},
): Promise<number> => {
  const ends = new Map(
    (given ?? (await fetchEnds(admin, topic))).map(({ partition, high, low }) => [partition, { low: BigInt(low), high: BigInt(high) }]),
  )
  /** The next offset to read of each partition. */
  const next = new Map([...ends].map(([partition, { low }]) => [partition, low]))
  if (sinceMs !== undefined) {
    for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs)) next.set(partition, BigInt(offset))
  }
  const left = (partition: number) => (ends.get(partition)?.high ?? 0n) - (next.get(partition) ?? 0n)
  const open = new Set([...ends.keys()].filter((partition) => left(partition) > 0n))
  if (open.size === 0) return 0
  const total = Number([...open].reduce((sum, partition) => sum + left(partition), 0n))
  let read = 0
  const progress = setInterval(() => onProgress?.(read, total), PROGRESS_INTERVAL_MS)
  const groupId = `customer-stream-verify-${topic}-${randomUUID()}`
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100, allowAutoTopicCreation: false })
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    const attempted = Promise.withResolvers<void>()
    const reading = new Promise<void>((resolve, reject) => {
      let failures = 0
      // It starts again by itself, e.g. while a coordinator that has just moved is loading, which may last longer than its retries.
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        attempted.resolve()
        failures += 1
        if (!payload.restart || failures > MAX_FAILURES) reject(payload.error)
      })
      // Emitted before the first fetch of an assignment, of which a failure or a new leader may bring several.
      consumer.on(consumer.events.GROUP_JOIN, () => {
        attempted.resolve()
        for (const partition of open) consumer.seek({ topic, partition, offset: String(next.get(partition)) })
      })
      consumer
        .run({
          autoCommit: false,
          eachBatch: async ({ batch, heartbeat }) => {
            const { partition } = batch
            const end = ends.get(partition)?.high ?? 0n
            for (const message of batch.messages) {
              const offset = BigInt(message.offset)
              if (offset >= end) break
              if (offset < (next.get(partition) ?? 0n)) continue
              next.set(partition, offset + 1n)
              read += 1
              onRecord(message, partition)
            }
            await heartbeat()
            if (BigInt(batch.lastOffset()) + 1n >= end) open.delete(partition)
            if (open.size === 0) resolve()
          },
        })
        .catch(reject)
    })
    // One that disconnects while it is joining would not leave, and the group would stay.
    await unlessAborted(reading, signal).finally(() => Promise.race([attempted.promise, reading.catch(() => undefined)]))
  } finally {
    clearInterval(progress)
    await consumer.disconnect()
    await admin.deleteGroups([groupId]).catch(() => undefined)
  }
  return read
}
