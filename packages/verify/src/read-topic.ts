import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted, waitUntil } from '@customer-stream/runtime'
import {
  type Admin,
  attributed,
  errorType,
  type Kafka,
  type KafkaMessage,
  readUncommitted,
  type UnreadableBatch,
  unreadableOf,
} from '@customer-stream/runtime/kafka'

export interface ReadOptions {
  /**
   * Time of receipt at which reading starts, in Unix milliseconds. If undefined, reading starts at
   * the topic's first record.
   */
  readonly sinceMs?: number
  /** Offsets at which reading ends. Default: the ends of the topic at the time of the call. */
  readonly ends?: readonly PartitionEnds[]
  readonly onProgress?: (read: number, total: number) => void
  /**
   * Called with each batch that cannot be decoded. The batch is then skipped. If undefined, such a
   * batch makes the reading fail.
   */
  readonly onUnreadable?: (batch: UnreadableBatch, partition: number) => void
  /** Ends the reading early. The consumer still leaves its group. */
  readonly signal?: AbortSignal
}

/** Number of records that were read, and the offset at which each partition's reading started. */
export interface TopicRead {
  readonly records: number
  readonly starts: ReadonlyMap<number, bigint>
}

const PROGRESS_INTERVAL_MS = 2000
const MAX_FAILURES = 5
const OPEN_TRANSACTION_PAUSE_MS = 200
/** Common prefix of the names of all groups used here, so that one right (ACL) covers them. */
const GROUP_PREFIX = 'customer-stream-verify-'
/** Time for which a broker may not know a topic that was just created. */
const NEW_TOPIC_MS = 3000

export interface PartitionEnds {
  readonly partition: number
  readonly low: string
  readonly high: string
}

/** Returns true if a right is missing. A retry does not help then. */
const isDenied = (error: unknown): boolean => errorType(error)?.endsWith('_AUTHORIZATION_FAILED') ?? false

/**
 * Deletes a group. Rejects only if the right is missing. Other errors are ignored, because Kafka
 * deletes empty groups after some days.
 */
const deleteGroup = async (admin: Admin, groupId: string): Promise<void> => {
  try {
    await admin.deleteGroups([groupId])
  } catch (error) {
    const cause = (error as { readonly groups?: readonly { readonly error: Error }[] }).groups?.[0]?.error
    if (isDenied(cause)) await attributed(`delete a group named ${GROUP_PREFIX}*`, () => Promise.reject(cause))
  }
}

/**
 * Fetches the first and the end offset of each partition, as a reader of committed records sees
 * them. Retries, because kafkajs asks only once. While leadership moves, the broker that it asks
 * may not be the leader.
 * @throws if a right is missing; after 3 s, if the topic is missing; after 30 s, if Kafka does not
 *   answer for every partition.
 */
export const fetchEnds = async (admin: Admin, topic: string): Promise<PartitionEnds[]> => {
  const begunAt = performance.now()
  const ask = async () => {
    const ends = await admin.fetchTopicOffsets(topic)
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return ends.length === topics[0]?.partitions.length ? ends : 'a partition has no leader'
  }
  const ends = await waitUntil(
    `Kafka says where ${topic} ends`,
    () =>
      ask().catch((error: Error) => {
        if (isDenied(error)) throw error
        if (errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION' && performance.now() - begunAt > NEW_TOPIC_MS)
          throw new Error(
            `Kafka has no topic ${topic}. Check KAFKA_TOPIC_PREFIX and KAFKA_BROKERS; an ingress with ` +
              'KAFKA_CREATE_TOPICS=true creates it.',
          )
        return error.message
      }),
    (answer) => typeof answer !== 'string',
  )
  return ends as Exclude<typeof ends, string>
}

/**
 * Fetches the first and the end offset of each partition, including records of open transactions.
 */
export const fetchUncommittedEnds = (admin: Admin, topic: string): Promise<PartitionEnds[]> =>
  readUncommitted(() => fetchEnds(admin, topic))

/** Records that no reader of committed records gets before a transaction ends. */
export interface OpenTransaction {
  readonly topic: string
  readonly partition: number
  readonly offset: string
  readonly records: number
}

/**
 * Waits until all open transactions of the topic have ended, but at most `timeoutMs`.
 * @returns the ends of the readable records, and the transactions that are still open.
 */
export const fetchSettledEnds = async (
  admin: Admin,
  topic: string,
  timeoutMs: number,
): Promise<{ ends: PartitionEnds[]; open: OpenTransaction[] }> => {
  const all = await fetchUncommittedEnds(admin, topic)
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const committed = new Map((await fetchEnds(admin, topic)).map(({ partition, high }) => [partition, BigInt(high)]))
    const reached = (partition: number, high: string) => (committed.get(partition) ?? 0n) >= BigInt(high)
    const isLate = performance.now() > deadline
    if (all.every(({ partition, high }) => reached(partition, high)) || isLate) {
      const ends = all.map((end) =>
        reached(end.partition, end.high) ? end : { ...end, high: String(committed.get(end.partition) ?? 0n) },
      )
      const open = all.flatMap(({ partition, high }, i) => {
        const offset = ends[i]?.high ?? high
        return offset === high ? [] : [{ topic, partition, offset, records: Number(BigInt(high) - BigInt(offset)) }]
      })
      return { ends, open }
    }
    await sleep(OPEN_TRANSACTION_PAUSE_MS)
  }
}

/**
 * Reads a topic up to the given ends. Uses a new consumer group and deletes the group afterwards.
 * Read-only. Skips records of aborted transactions.
 */
export const readTopic = async (
  kafka: Kafka,
  admin: Admin,
  topic: string,
  onRecord: (message: KafkaMessage, partition: number) => void,
  { sinceMs, onProgress, onUnreadable, ends: given, signal }: ReadOptions = {},
): Promise<TopicRead> => {
  const ends = new Map(
    (given ?? (await fetchEnds(admin, topic))).map(({ partition, high, low }) => [
      partition,
      { low: BigInt(low), high: BigInt(high) },
    ]),
  )
  /** Next offset to read, for each partition. */
  const next = new Map([...ends].map(([partition, { low }]) => [partition, low]))
  if (sinceMs !== undefined) {
    for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs))
      next.set(partition, BigInt(offset))
  }
  const starts = new Map(next)
  const left = (partition: number) => (ends.get(partition)?.high ?? 0n) - (next.get(partition) ?? 0n)
  const open = new Set([...ends.keys()].filter((partition) => left(partition) > 0n))
  if (open.size === 0) return { records: 0, starts }
  const total = Number([...open].reduce((sum, partition) => sum + left(partition), 0n))
  let read = 0
  const groupId = `${GROUP_PREFIX}${topic}-${randomUUID()}`
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100, allowAutoTopicCreation: false })
  const finished = Promise.withResolvers<void>()
  const passed = (partition: number, offset: bigint) => {
    if (offset >= (ends.get(partition)?.high ?? 0n)) open.delete(partition)
    if (open.size === 0) finished.resolve()
  }
  /** Passes partitions whose remaining records were deleted by retention during the reading. */
  const passDeleted = async () => {
    for (const { partition, low } of await admin.fetchTopicOffsets(topic)) passed(partition, BigInt(low))
  }
  const progress = setInterval(() => {
    onProgress?.(read, total)
    passDeleted().catch(() => undefined)
  }, PROGRESS_INTERVAL_MS)
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    const attempted = Promise.withResolvers<void>()
    let failures = 0
    // kafkajs restarts the consumer after most crashes. Example: a coordinator that has just moved
    // loads its data for longer than kafkajs retries.
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      attempted.resolve()
      failures += 1
      if (!payload.restart || failures > MAX_FAILURES) finished.reject(payload.error)
    })
    // Emitted before the first fetch of each assignment. A failure or a new leader may cause
    // several assignments.
    consumer.on(consumer.events.GROUP_JOIN, () => {
      attempted.resolve()
      for (const partition of open) consumer.seek({ topic, partition, offset: String(next.get(partition)) })
    })
    // kafkajs does not call `eachBatch` if a batch has only control records or records of an
    // aborted transaction.
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) =>
      passed(payload.partition, BigInt(payload.lastOffset) + 1n),
    )
    consumer
      .run({
        autoCommit: false,
        eachBatch: async ({ batch, heartbeat }) => {
          const { partition } = batch
          const end = ends.get(partition)?.high ?? 0n
          try {
            const unreadable = unreadableOf(batch)
            if (unreadable) {
              const { offset, nextOffset, error } = unreadable
              if (!onUnreadable)
                throw new Error(
                  `the batch of records at ${topic}/${partition}/${offset} cannot be read: ${error.message}`,
                )
              onUnreadable(unreadable, partition)
              next.set(partition, BigInt(nextOffset))
              consumer.seek({ topic, partition, offset: nextOffset })
              return passed(partition, BigInt(nextOffset))
            }
            for (const message of batch.messages) {
              const offset = BigInt(message.offset)
              if (offset >= end) break
              if (offset < (next.get(partition) ?? 0n)) continue
              next.set(partition, offset + 1n)
              read += 1
              onRecord(message, partition)
            }
          } catch (error) {
            // If this error were thrown, kafkajs would retry the batch for minutes.
            return finished.reject(error)
          }
          await heartbeat()
        },
      })
      .catch(finished.reject)
    const reading = attributed(`read topic ${topic} in a group named ${GROUP_PREFIX}*`, () => finished.promise)
    // Wait for the end of the join. A consumer that disconnects during the join does not leave its
    // group, and the group would remain.
    await unlessAborted(reading, signal).finally(() =>
      Promise.race([attempted.promise, reading.catch(() => undefined)]),
    )
  } finally {
    clearInterval(progress)
    await consumer.disconnect()
    await deleteGroup(admin, groupId)
  }
  return { records: read, starts }
}
