import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted, waitUntil } from '@customer-stream/runtime'
import {
  attributed,
  createTopicReader,
  errorType,
  type FetchedRecord,
  type KafkaClient,
  type PartitionEnds,
  readUncommitted,
  type TopicAdmin,
  type UnreadableBatch,
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
   * Called with each batch that cannot be decoded. The batch is then skipped. If this function is
   * undefined, the reading fails at such a batch.
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
/** Prefix of the names of all groups of this package, so that one right (ACL) covers all groups. */
const GROUP_PREFIX = 'customer-stream-verify-'
/** Maximum time until all brokers know a topic that was just created. */
const NEW_TOPIC_MS = 3000

/** Returns true if a right is missing, so that a retry would not help. */
const isDenied = (error: unknown): boolean => errorType(error)?.endsWith('_AUTHORIZATION_FAILED') ?? false

/**
 * Deletes a group. Rejects only if the right is missing. Other errors are ignored, because Kafka
 * deletes empty groups after some days.
 */
const deleteGroup = async (admin: TopicAdmin, groupId: string): Promise<void> => {
  try {
    await admin.deleteGroup(groupId)
  } catch (error) {
    if (isDenied(error)) await attributed(`delete a group named ${GROUP_PREFIX}*`, () => Promise.reject(error))
  }
}

/**
 * Fetches the first and the end offset of each partition, for a reader of committed records.
 * Retries, because kafkajs asks only once, and the asked broker may just have lost the leadership.
 * @throws if a right is missing; after 3 s, if the topic is missing; after 30 s, if Kafka does not
 *   answer for every partition.
 */
export const fetchEnds = async (admin: TopicAdmin, topic: string): Promise<PartitionEnds[]> => {
  const begunAt = performance.now()
  const ask = async () => {
    const ends = await admin.fetchTopicOffsets(topic)
    const topics = await admin.describeTopics([topic])
    return ends.length === topics.get(topic)?.length ? ends : 'a partition has no leader'
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
export const fetchUncommittedEnds = (admin: TopicAdmin, topic: string): Promise<PartitionEnds[]> =>
  readUncommitted(() => fetchEnds(admin, topic))

/** Records that a reader of committed records gets only after the transaction has ended. */
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
  admin: TopicAdmin,
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
  kafka: KafkaClient,
  admin: TopicAdmin,
  topic: string,
  onRecord: (record: FetchedRecord, partition: number) => void,
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
  const finished = Promise.withResolvers<void>()
  const passed = (partition: number, offset: bigint) => {
    if (offset >= (ends.get(partition)?.high ?? 0n)) open.delete(partition)
    if (open.size === 0) finished.resolve()
  }
  /** Continues past records that retention has deleted during the reading. */
  const passDeleted = async () => {
    for (const { partition, low } of await admin.fetchTopicOffsets(topic)) passed(partition, BigInt(low))
  }
  const progress = setInterval(() => {
    onProgress?.(read, total)
    passDeleted().catch(() => undefined)
  }, PROGRESS_INTERVAL_MS)
  const attempted = Promise.withResolvers<void>()
  let failures = 0
  const reader = createTopicReader(kafka, {
    topic,
    groupId,
    onFailure: (error, isLast) => {
      attempted.resolve()
      failures += 1
      if (isLast || failures > MAX_FAILURES) finished.reject(error)
    },
    onAssigned: () => {
      attempted.resolve()
      for (const partition of open) reader.seek(partition, String(next.get(partition)))
    },
    onPassed: (partition, nextOffset) => passed(partition, BigInt(nextOffset)),
    onBatch: ({ partition, records, unreadable }) => {
      const end = ends.get(partition)?.high ?? 0n
      if (unreadable) {
        const { offset, nextOffset, error } = unreadable
        if (!onUnreadable)
          throw new Error(`the batch of records at ${topic}/${partition}/${offset} cannot be read: ${error.message}`)
        onUnreadable(unreadable, partition)
        next.set(partition, BigInt(nextOffset))
        reader.seek(partition, nextOffset)
        return passed(partition, BigInt(nextOffset))
      }
      for (const record of records) {
        const offset = BigInt(record.offset)
        if (offset >= end) break
        if (offset < (next.get(partition) ?? 0n)) continue
        next.set(partition, offset + 1n)
        read += 1
        onRecord(record, partition)
      }
    },
  })
  try {
    await reader.start()
    const reading = attributed(`read topic ${topic} in a group named ${GROUP_PREFIX}*`, () => finished.promise)
    // Wait until the consumer has joined its group. A consumer that disconnects during the join
    // does not leave the group, so the group could not be deleted.
    await unlessAborted(reading, signal).finally(() =>
      Promise.race([attempted.promise, reading.catch(() => undefined)]),
    )
  } finally {
    clearInterval(progress)
    await reader.stop()
    await deleteGroup(admin, groupId)
  }
  return { records: read, starts }
}
