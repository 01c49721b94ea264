import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
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
import { unlessAborted } from '../brokers/unless-aborted.ts'
import { waitUntil } from '../wait-until.ts'

export interface ReadOptions {
  /** Time of receipt at which to start, Unix milliseconds. Without it the first record of the topic starts. */
  readonly sinceMs?: number
  /** Offsets at which to end. Without them the topic's ends at the time of the call. */
  readonly ends?: readonly PartitionEnds[]
  readonly onProgress?: (read: number, total: number) => void
  /** Called with a batch that cannot be decoded, which is then passed over. Without it the reading fails. */
  readonly onUnreadable?: (batch: UnreadableBatch, partition: number) => void
  /** Ends the reading early. The group is still left. */
  readonly signal?: AbortSignal
}

/** Number of records that were read, and the first offset of each partition. */
export interface TopicRead {
  readonly records: number
  readonly starts: ReadonlyMap<number, bigint>
}

const PROGRESS_INTERVAL_MS = 2000
const MAX_FAILURES = 5
const OPEN_TRANSACTION_PAUSE_MS = 200
/** Begins the names of all groups that read here, so that one right covers them. */
const GROUP_PREFIX = 'customer-stream-verify-'
/** A topic that was just created may be unknown to a broker for so long. */
const NEW_TOPIC_MS = 3000

export interface PartitionEnds {
  readonly partition: number
  readonly low: string
  readonly high: string
}

/** Whether a right is missing: no further attempt will help. */
const isDenied = (error: unknown): boolean => errorType(error)?.endsWith('_AUTHORIZATION_FAILED') ?? false

/** Rejects only if the right is missing. Kafka deletes an empty group by itself, after days. */
const deleteGroup = async (admin: Admin, groupId: string): Promise<void> => {
  try {
    await admin.deleteGroups([groupId])
  } catch (error) {
    const cause = (error as { readonly groups?: readonly { readonly error: Error }[] }).groups?.[0]?.error
    if (isDenied(cause)) await attributed(`delete a group named ${GROUP_PREFIX}*`, () => Promise.reject(cause))
  }
}

/**
 * Fetches the first and the end offset of each partition that a reader of committed records can reach. kafkajs asks once,
 * and while leadership moves the broker that it asks may not be the leader.
 * @throws if a right is missing, after some seconds if the topic is missing, and if Kafka does not
 * answer for every partition within 30 s.
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
            `Kafka has no topic ${topic}. Check KAFKA_TOPIC_PREFIX and KAFKA_BROKERS; an ingress with KAFKA_CREATE_TOPICS=true creates it.`,
          )
        return error.message
      }),
    (answer) => typeof answer !== 'string',
  )
  return ends as Exclude<typeof ends, string>
}

/** Fetches the same with the records of open transactions. */
export const fetchUncommittedEnds = (admin: Admin, topic: string): Promise<PartitionEnds[]> =>
  readUncommitted(() => fetchEnds(admin, topic))

/** Records that nobody can read before a transaction ends. */
export interface OpenTransaction {
  readonly topic: string
  readonly partition: number
  readonly offset: string
  readonly records: number
}

/**
 * Waits until all transactions that are open in the topic have ended, at most for the given time.
 * @returns the ends of what can be read then, and the transactions that are still open.
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
      const ends = all.map((end) => (reached(end.partition, end.high) ? end : { ...end, high: String(committed.get(end.partition) ?? 0n) }))
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
 * Reads a topic up to the given ends, through a consumer group of its own that is deleted afterwards. Read-only. Records of
 * aborted transactions are not handed over.
 */
export const readTopic = async (
  kafka: Kafka,
  admin: Admin,
  topic: string,
  onRecord: (message: KafkaMessage, partition: number) => void,
  { sinceMs, onProgress, onUnreadable, ends: given, signal }: ReadOptions = {},
): Promise<TopicRead> => {
  const ends = new Map(
    (given ?? (await fetchEnds(admin, topic))).map(({ partition, high, low }) => [partition, { low: BigInt(low), high: BigInt(high) }]),
  )
  /** The next offset to read of each partition. */
  const next = new Map([...ends].map(([partition, { low }]) => [partition, low]))
  if (sinceMs !== undefined) {
    for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs)) next.set(partition, BigInt(offset))
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
  /** Retention may delete, while this reads, all that is left of a partition. */
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
    // It starts again by itself, e.g. while a coordinator that has just moved is loading, which may last longer than its retries.
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      attempted.resolve()
      failures += 1
      if (!payload.restart || failures > MAX_FAILURES) finished.reject(payload.error)
    })
    // Emitted before the first fetch of an assignment, of which a failure or a new leader may bring several.
    consumer.on(consumer.events.GROUP_JOIN, () => {
      attempted.resolve()
      for (const partition of open) consumer.seek({ topic, partition, offset: String(next.get(partition)) })
    })
    // kafkajs hands over no batch if none of its records is left: control records, or an aborted transaction.
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => passed(payload.partition, BigInt(payload.lastOffset) + 1n))
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
              if (!onUnreadable) throw new Error(`the batch of records at ${topic}/${partition}/${offset} cannot be read: ${error.message}`)
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
            // kafkajs would repeat the batch for minutes.
            return finished.reject(error)
          }
          await heartbeat()
        },
      })
      .catch(finished.reject)
    const reading = attributed(`read topic ${topic} in a group named ${GROUP_PREFIX}*`, () => finished.promise)
    // One that disconnects while it is joining would not leave, and the group would stay.
    await unlessAborted(reading, signal).finally(() => Promise.race([attempted.promise, reading.catch(() => undefined)]))
  } finally {
    clearInterval(progress)
    await consumer.disconnect()
    await deleteGroup(admin, groupId)
  }
  return { records: read, starts }
}
