/** Reads topics without a consumer group. */
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '../process/unless-aborted.ts'
import { waitUntil } from '../process/wait-until.ts'
import type { FetchedRecord } from './batch-handler.ts'
import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'
import { createPartitionReader, type FetchedPart, type PartitionReader } from './partition-reader.ts'
import { readUncommitted } from './patches/isolation.ts'
import type { UnreadableBatch } from './record-batches.ts'
import type { PartitionEnds, TopicAdmin } from './topic-admin.ts'

/** Options for reading one or more partitions. */
interface Reading {
  readonly onRecord: (record: FetchedRecord, partition: number) => void
  /**
   * Called with each batch that cannot be decoded. The reading then skips the batch. If this
   * function is undefined, the reading fails at this batch.
   */
  readonly onUnreadable?: (batch: UnreadableBatch, partition: number) => void
  /** Ends the reading early. */
  readonly signal?: AbortSignal
}

export interface ReadOptions extends Omit<Reading, 'onRecord'> {
  /**
   * Time of receipt at which reading starts, in Unix milliseconds. If undefined, reading starts at
   * the topic's first record.
   */
  readonly sinceMs?: number
  /** Offsets at which reading ends. Default: the ends of the topic at the time of the call. */
  readonly ends?: readonly PartitionEnds[]
  readonly onProgress?: (read: number, total: number) => void
}

/** Number of records that were read, and the offset at which each partition's reading started. */
export interface TopicRead {
  readonly records: number
  readonly starts: ReadonlyMap<number, bigint>
}

const PROGRESS_INTERVAL_MS = 2000
/**
 * The reading of a partition fails if it has no progress for this time: no record, and no later
 * offset.
 */
const PATIENCE_MS = 30_000
const RETRY_PAUSE_MS = 200
const OPEN_TRANSACTION_PAUSE_MS = 200
/** Maximum time until all brokers know a topic that was just created. */
const NEW_TOPIC_MS = 3000

/** Returns true if a right is missing, so that a retry would not help. */
const isDenied = (error: unknown): boolean => errorType(error)?.endsWith('_AUTHORIZATION_FAILED') ?? false

/** Returns the error of a command if a topic does not exist. */
export const missingTopic = (topic: string): Error =>
  new Error(
    `Kafka has no topic ${topic}. Give this command the settings of the services, such as KAFKA_BROKERS and ` +
      'KAFKA_TOPIC_PREFIX. A service with KAFKA_CREATE_TOPICS=true creates its topics at its start.',
  )

/**
 * Fetches the first and the end offset of each partition, for a reader of committed records.
 * Retries, because kafkajs asks only one broker, which may just have lost the leadership.
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
    `Kafka returns the ends of all partitions of ${topic}`,
    () =>
      ask().catch((error: Error) => {
        if (isDenied(error)) throw error
        if (errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION' && performance.now() - begunAt > NEW_TOPIC_MS)
          throw missingTopic(topic)
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

/**
 * Open transaction of a partition. A reader of committed records gets the records from `offset`
 * only after the end of the transaction.
 */
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

/** Records of one partition, from `start` up to `end`, without the record at `end`. */
export interface PartitionRange {
  readonly topic: string
  readonly partition: number
  readonly start: bigint
  readonly end: bigint
}

/**
 * Fetches until the partition answers with records or with a later offset.
 * @throws the last error after 30 s, or immediately if a right is missing. A delay by a quota of
 *   Kafka starts this time again.
 */
const fetchNext = async (
  reader: PartitionReader,
  { topic, partition, start, end }: PartitionRange,
  signal: AbortSignal | undefined,
) => {
  let deadline = performance.now() + PATIENCE_MS
  for (;;) {
    signal?.throwIfAborted()
    const isLast = () => performance.now() > deadline
    const part = await reader.fetch(partition, String(start), String(end)).catch(async (error: Error) => {
      if (isDenied(error) || isLast()) throw error
      await sleep(RETRY_PAUSE_MS)
    })
    if (part && BigInt(part.nextOffset) > start) return part
    if (part?.isDelayed) deadline = performance.now() + PATIENCE_MS
    else if (part && isLast())
      throw new Error(`Kafka returns no record of ${topic}/${partition} at or after offset ${start}`)
  }
}

const reportUnreadable = (
  { unreadable }: FetchedPart,
  { topic, partition }: PartitionRange,
  report: Omit<Reading, 'onRecord'>,
) => {
  // Ignore records that retention has deleted during the reading.
  if (!unreadable || errorType(unreadable.error) === 'OFFSET_OUT_OF_RANGE') return
  const { offset, error } = unreadable
  if (!report.onUnreadable)
    throw new Error(`the batch of records at ${topic}/${partition}/${offset} cannot be read: ${error.message}`)
  report.onUnreadable(unreadable, partition)
}

/** Reads the committed records of a range, in order. Each part has the records of one fetch. */
export async function* partsOf(
  reader: PartitionReader,
  range: PartitionRange,
  reading: Omit<Reading, 'onRecord'>,
): AsyncGenerator<readonly FetchedRecord[]> {
  let { start } = range
  while (start < range.end) {
    const part = await fetchNext(reader, { ...range, start }, reading.signal)
    reportUnreadable(part, range, reading)
    yield part.records.filter(({ offset }) => BigInt(offset) < range.end)
    start = BigInt(part.nextOffset)
  }
}

/** Reads the committed records of a range, in order. */
export const readPartition = async (reader: PartitionReader, range: PartitionRange, reading: Reading) => {
  for await (const records of partsOf(reader, range, reading))
    for (const record of records) reading.onRecord(record, range.partition)
}

/**
 * Reads the committed records of a topic up to the given ends. Reads the partitions in parallel,
 * without a consumer group, so that the reading leaves nothing in Kafka.
 * @param admin a connected client of createAdmin.
 */
export const readTopic = async (
  admin: TopicAdmin,
  topic: string,
  onRecord: Reading['onRecord'],
  { sinceMs, onProgress, onUnreadable, ends: given, signal }: ReadOptions = {},
): Promise<TopicRead> => {
  const ends = given ?? (await fetchEnds(admin, topic))
  const starts = new Map(ends.map(({ partition, low }) => [partition, BigInt(low)]))
  if (sinceMs !== undefined) {
    for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs))
      starts.set(partition, BigInt(offset))
  }
  const ranges = ends.map(({ partition, high }) => ({
    topic,
    partition,
    start: starts.get(partition) ?? 0n,
    end: BigInt(high),
  }))
  const total = ranges.reduce((sum, { start, end }) => sum + (end > start ? Number(end - start) : 0), 0)
  let records = 0
  const progress = setInterval(() => onProgress?.(records, total), PROGRESS_INTERVAL_MS)
  const reader = createPartitionReader(admin, topic)
  // After a failure or an abort, the reading of all partitions must end.
  const stop = new AbortController()
  const reading: Reading = {
    onRecord: (record, partition) => {
      records += 1
      onRecord(record, partition)
    },
    ...(onUnreadable && { onUnreadable }),
    signal: stop.signal,
  }
  try {
    await attributed(`read topic ${topic}`, () =>
      unlessAborted(Promise.all(ranges.map((range) => readPartition(reader, range, reading))), signal),
    )
  } finally {
    stop.abort()
    clearInterval(progress)
  }
  return { records, starts }
}

/**
 * Checks that the user may read the topic, by a fetch from one partition. Rejects if the topic or
 * the right is missing. Check one topic after another: if one topic is missing, kafkajs fails for
 * all topics of the client.
 * @returns the first and the end offset of each partition.
 */
export const requireReadable = (
  admin: TopicAdmin,
  topic: string,
  signal: AbortSignal,
): Promise<readonly PartitionEnds[]> => {
  const check = async () => {
    const ends = await fetchEnds(admin, topic)
    const [first] = ends
    if (first) await createPartitionReader(admin, topic).fetch(first.partition, first.low, first.low)
    return ends
  }
  return attributed(`read topic ${topic}`, () => unlessAborted(check(), signal))
}
