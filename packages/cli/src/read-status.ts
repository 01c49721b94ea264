/**
 * Reads the state of the pipeline from Kafka and Redis, for `customer-stream status`. Each question
 * has its own answer. So if one question fails, the report still has the other answers.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Audit, readQuarantined } from '@customer-stream/quarantine'
import { unlessAborted } from '@customer-stream/runtime'
import {
  attributed,
  createAdmin,
  createPartitionReader,
  errorType,
  type FetchedRecord,
  type KafkaClient,
  readWatermarks,
  type TopicAdmin,
  type Watermarks,
} from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { QUARANTINE_HEADERS } from '@customer-stream/schemas'
import { type ProgressOf, readNewest, readProgress, type StoredProgress } from '@customer-stream/verify'

/** Answer to one question, or a sentence that says why there is no answer. */
export type Answer<T> = { readonly value: T } | { readonly problem: string }

/** Returns the value of an answer. Undefined if the question failed or was not asked. */
export const answered = <T>(answer: Answer<T> | undefined): T | undefined =>
  answer !== undefined && 'value' in answer ? answer.value : undefined

export interface TopicStatus {
  readonly topic: string
  readonly partitions: readonly (Watermarks & { readonly partition: number })[]
  /** Partitions whose leader is missing or does not answer. Their watermarks are unknown. */
  readonly leaderless: readonly number[]
}

/** Time of receipt of the newest record of the raw topic. Undefined if there is no record. */
export interface RawStatus extends TopicStatus {
  readonly lastEventAt: number | undefined
}

export interface QuarantineStatus extends TopicStatus {
  /** Records that were received at `since` or later, by reason. */
  readonly recent: Readonly<Record<string, number>>
  /** All records that were read, by reason. */
  readonly counted: Readonly<Record<string, number>>
  /** Records of `recent` that no operator has redriven or dropped. */
  readonly open: number
  /** Records that were read and that an operator has handled. Undefined if the audit is unknown. */
  readonly handled?: number | undefined
  /** True if older records were not read. */
  readonly isCut: boolean
  readonly since: number
}

/** Watermarks and progress of the raw topic at one time. `at`: performance.now(). */
export interface Sample {
  readonly at: number
  readonly partitions: TopicStatus['partitions']
  /** Undefined if Redis has no positions of the projection. */
  readonly progress: readonly StoredProgress[] | undefined
}

/** The raw topic, observed twice. */
export interface Observation {
  readonly first: Sample
  readonly last: Sample
}

/**
 * Returns the number of offsets in a topic. After compaction or transactions the topic has fewer
 * records.
 */
export const recordsIn = ({ partitions }: Pick<TopicStatus, 'partitions'>): number =>
  partitions.reduce((sum, { low, stable }) => sum + Number(BigInt(stable) - BigInt(low)), 0)

/**
 * Runs `work` with its own client. kafkajs asks for the metadata of all topics that a client has
 * used. If one topic is missing or denied, kafkajs fails for all these topics.
 */
export const withAdmin = async <T>(kafka: KafkaClient, work: (admin: TopicAdmin) => Promise<T>): Promise<T> => {
  const admin = createAdmin(kafka)
  try {
    await admin.connect()
    return await work(admin)
  } finally {
    // Do not wait for the disconnect, because a hanging broker would delay the report.
    admin.disconnect().catch(() => undefined)
  }
}

const missingTopic = (topic: string): Error =>
  new Error(
    `Kafka has no topic ${topic}. If the topic was deleted, run customer-stream topics create. Otherwise check ` +
      'KAFKA_BROKERS and KAFKA_TOPIC_PREFIX.',
  )

const NEW_TOPIC_MS = 1500
const NEW_TOPIC_PAUSE_MS = 200

export const readTopicStatus = async (admin: TopicAdmin, topic: string): Promise<TopicStatus> => {
  const begunAt = performance.now()
  for (;;) {
    try {
      const described = (await admin.describeTopics([topic])).get(topic) ?? []
      const watermarks = await readWatermarks(admin, topic)
      const numbers = described.map(({ partition }) => partition).sort((a, b) => a - b)
      return {
        topic,
        partitions: numbers.flatMap((partition) => {
          const marks = watermarks.get(partition)
          return marks === undefined ? [] : [{ partition, ...marks }]
        }),
        leaderless: numbers.filter((partition) => !watermarks.has(partition)),
      }
    } catch (error) {
      // Retry, because some brokers learn of a new topic later than others.
      const isMissing = errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION'
      if (!isMissing) throw error
      if (performance.now() - begunAt > NEW_TOPIC_MS) throw missingTopic(topic)
      await sleep(NEW_TOPIC_PAUSE_MS)
    }
  }
}

export const readRawStatus = async (admin: TopicAdmin, topic: string, signal: AbortSignal): Promise<RawStatus> => {
  const status = await readTopicStatus(admin, topic)
  const reader = createPartitionReader(admin, topic)
  const times: number[] = []
  const ends = status.partitions.map(({ partition, low, stable }) => ({ topic, partition, low, high: stable }))
  await attributed(`read topic ${topic}`, () =>
    Promise.all(
      ends.map((each) =>
        // Read several offsets, because the last offsets may belong to control records of a
        // transaction.
        readNewest(reader, each, ({ timestamp }) => times.push(Number(timestamp)), { limit: 4, signal }),
      ),
    ),
  )
  return { ...status, lastEventAt: times.length > 0 ? Math.max(...times) : undefined }
}

/** Returns the time of the first record at or after an offset. Undefined if there is none. */
export const timeOf = async (
  admin: TopicAdmin,
  topic: string,
  partition: number,
  offset: bigint,
): Promise<number | undefined> => {
  const reader = createPartitionReader(admin, topic)
  const fetchRecord = () => reader.fetch(partition, String(offset), String(offset + 1n))
  const { records } = await attributed(`read topic ${topic}`, fetchRecord)
  return records[0] && Number(records[0].timestamp)
}

const reasonOf = ({ headers }: FetchedRecord): string => headers?.[QUARANTINE_HEADERS.reason]?.toString() ?? 'no reason'

/** Maximum number of reasons that are counted separately. Other programs may write any reason. */
const MAX_REASONS = 100
const OTHER_REASONS = 'other reasons'

export interface CountOptions {
  readonly since: number
  /** Maximum number of records to read. */
  readonly limit: number
  /** Ends the reading. The counts then cover only the records that were read before the abort. */
  readonly signal: AbortSignal
  /** Undefined if the audit cannot be read. All records then count as open. */
  readonly audit: Pick<Audit, 'actionFor'> | undefined
}

/**
 * Counts the newest records of quarantine by reason, and the records that an operator has handled.
 */
export const countQuarantine = async (
  admin: TopicAdmin,
  topic: string,
  { since, limit, signal, audit }: CountOptions,
): Promise<QuarantineStatus> => {
  const status = await readTopicStatus(admin, topic)
  const reader = createPartitionReader(admin, topic)
  const recent = new Map<string, number>()
  const counted = new Map<string, number>()
  const add = (counts: Map<string, number>, given: string) => {
    const reason = counts.has(given) || counts.size < MAX_REASONS ? given : OTHER_REASONS
    counts.set(reason, (counts.get(reason) ?? 0) + 1)
  }
  let [open, handled] = [0, 0]
  const onRecord = (record: FetchedRecord, partition: number) => {
    add(counted, reasonOf(record))
    const isHandled = audit?.actionFor(readQuarantined(record, partition)) !== undefined
    if (isHandled) handled += 1
    if (Number(record.timestamp) < since) return
    add(recent, reasonOf(record))
    if (!isHandled) open += 1
  }
  const filled = status.partitions.filter(({ low, stable }) => low !== stable)
  const each = Math.ceil(limit / Math.max(1, filled.length))
  const reads = await attributed(`read topic ${topic}`, () =>
    Promise.all(
      filled.map(({ partition, low, stable }) =>
        readNewest(reader, { topic, partition, low, high: stable }, (record) => onRecord(record, partition), {
          limit: each,
          signal,
        }),
      ),
    ),
  )
  return {
    ...status,
    recent: Object.fromEntries(recent),
    counted: Object.fromEntries(counted),
    open,
    handled: audit && handled,
    isCut: reads.some(({ isCut }) => isCut),
    since,
  }
}

const PAUSE_MS = 250
/** Time without progress after which a partition with records counts as still. */
const PATIENCE_MS = 4000
/** If this number of records wait, the projector may read ahead before it applies records. */
const FAR_BEHIND = 5000
/** Replaces PATIENCE_MS if FAR_BEHIND or more records wait, because a lookahead may take 8 s. */
const FAR_BEHIND_PATIENCE_MS = 8700
/** An open transaction is reported if it has hidden records from consumers for this time. */
export const HELD_MS = 2000

/** Returns the number of records from the position to the end of the readable records. */
export const behindOf = ({ low, stable }: Watermarks, position: bigint = BigInt(low)): number =>
  Math.max(0, Number(BigInt(stable) - position))

/**
 * Compares the first and the last sample of a partition. `moving`: the partition has no records to
 * apply, or its position or its fill has moved. `open`: the position has not moved yet, but the
 * time limit has not passed. `still`: the position has not moved within the time limit.
 */
export const motionOf = ({ first, last }: Observation, i: number): 'moving' | 'open' | 'still' => {
  const [before, now, marks] = [first.progress?.[i], last.progress?.[i], first.partitions[i]]
  if (before?.position === undefined || now === undefined || marks === undefined) return 'moving'
  const behind = behindOf(marks, before.position)
  const isFilling = before.fill !== undefined && now.fill !== undefined
  const hasMoved = isFilling ? before.fill.next !== now.fill.next : behind === 0 || now.position !== before.position
  if (hasMoved) return 'moving'
  return last.at - first.at < (behind < FAR_BEHIND ? PATIENCE_MS : FAR_BEHIND_PATIENCE_MS) ? 'open' : 'still'
}

/**
 * Observes the positions until, for each partition with records, the position has moved or the
 * partition stands still.
 * @param deadline time of performance.now() at which the observation ends in any case.
 */
export const observe = async (
  { redis, admin }: { readonly redis: RedisClient; readonly admin: TopicAdmin },
  { partitions }: TopicStatus,
  of: ProgressOf,
  { deadline, signal }: { readonly deadline: number; readonly signal: AbortSignal },
): Promise<Observation> => {
  const numbers = partitions.map(({ partition }) => partition)
  const progress = () => unlessAborted(readProgress(redis, of, numbers), signal)
  const first: Sample = { at: performance.now(), partitions, progress: await progress() }
  let last = first
  const isAnyOpen = () => numbers.some((_, i) => motionOf({ first, last }, i) === 'open')
  // An open transaction hides records if the end of the readable records does not move. One sample
  // cannot show this.
  const isHeld = partitions.some(({ stable, high }) => stable !== high)
  const isOpen = () => isAnyOpen() || (isHeld && last.at - first.at < HELD_MS)
  while (isOpen() && performance.now() + PAUSE_MS < deadline) {
    await unlessAborted(sleep(PAUSE_MS), signal)
    last = { ...first, at: performance.now(), progress: await progress() }
  }
  // Read the positions before the ends. Otherwise a position could be after an end that was read
  // earlier.
  const reached = await progress()
  const marks = await unlessAborted(readWatermarks(admin, of.topic), signal)
  const now = partitions.map((each) => ({ ...each, ...marks.get(each.partition) }))
  return { first, last: { at: performance.now(), partitions: now, progress: reached } }
}

/** Number of higher projections that are searched for positions. */
const HIGHER = 20

/** Returns the projections above the examined projection that have positions in Redis. */
export const readHigherProjections = async (redis: RedisClient, of: ProgressOf): Promise<number[]> => {
  const numbers = Array.from({ length: HIGHER }, (_, i) => of.projection + 1 + i)
  const read = await Promise.all(
    numbers.map(async (projection) => ((await readProgress(redis, { ...of, projection })) ? [projection] : [])),
  )
  return read.flat()
}

/**
 * Reads the progress of fills twice. Used if Kafka does not answer, because the partitions are then
 * unknown.
 */
export const readFills = async (redis: RedisClient, of: ProgressOf): Promise<Observation> => {
  const sample = async (): Promise<Sample> => ({
    at: performance.now(),
    partitions: [],
    progress: await readProgress(redis, of),
  })
  const first = await sample()
  if (first.progress?.some(({ fill }) => fill)) await sleep(PATIENCE_MS / 2)
  return { first, last: await sample() }
}
