/**
 * Searches Redis and every topic for the remaining data of an erased customer. Read-only. Reads
 * whole topics, because added partitions may have moved the customer's key.
 */
import { namesCustomer } from '@customer-stream/quarantine'
import { errorType, type FetchedRecord, readTopic, type TopicAdmin } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  customerFromHash,
  customerKey,
  type Erasure,
  erasedKey,
  filedTerms,
  isErased,
  readErasureRecord,
  readStateRecord,
  type TopicNames,
  type Version,
} from '@customer-stream/schemas'
import { versionOf } from './record-version.ts'

export interface Places {
  readonly topics: TopicNames
  /** If undefined, the state topic is switched off. */
  readonly stateTopic: string | undefined
  readonly erasuresTopic: string
  readonly keyPrefix: string
}

/**
 * How long a topic keeps a record, in milliseconds. `forever`: the topic has unlimited retention.
 * `compaction`: until a compaction, for which the topic has no time limit. `unknown`: this user may
 * not read the settings of the topic.
 */
export type KeepsFor = number | 'forever' | 'compaction' | 'unknown'

/** Records of a topic that have data of the customer. */
export interface TopicRemains {
  readonly topic: string
  readonly records: number
  /** Time of the newest of these records, Unix milliseconds. Undefined if the topic has none. */
  readonly newestAt?: number
  /** Batches that cannot be decoded. They may have data of the customer. */
  readonly unreadable: number
  readonly keepsFor: KeepsFor
}

export interface Remains {
  readonly customerUuid: string
  /** The customer's last erasure. Null if the customer was never erased. */
  readonly erasure: Erasure | null
  readonly redis: {
    /** True if Redis still has a hash whose event the erasure covers. */
    readonly hash: boolean
    /**
     * True if Redis has the customer's erasure mark. The mark prevents a late event from bringing
     * the customer back.
     */
    readonly mark: boolean
    /** Number of entries in indexes that the projector has not removed yet. */
    readonly entries: number
  }
  readonly topics: readonly TopicRemains[]
}

/**
 * A time limit of 1000 years or more counts as "no limit". Kafka's default for "no limit" is 2^63-1
 * ms.
 */
const NO_LIMIT_MS = 1000 * 365 * 86_400_000

/**
 * Reads how long the topic keeps a record. A compacted topic keeps an old record until its
 * compaction.
 */
export const keepsFor = async (admin: TopicAdmin, topic: string): Promise<KeepsFor> => {
  try {
    const names = ['cleanup.policy', 'retention.ms', 'segment.ms', 'max.compaction.lag.ms']
    const settings = await admin.describeTopicConfig(topic, names)
    const number = (name: string) => Number(settings.get(name) ?? Number.POSITIVE_INFINITY)
    if (settings.get('cleanup.policy')?.includes('compact')) {
      const lag = number('max.compaction.lag.ms')
      return lag < NO_LIMIT_MS ? lag : 'compaction'
    }
    // Kafka deletes only whole, closed segments, so a record also stays until its segment is
    // closed.
    const retention = number('retention.ms')
    const most = retention + number('segment.ms')
    return retention < 0 || most >= NO_LIMIT_MS ? 'forever' : most
  } catch (error) {
    if (errorType(error) === 'TOPIC_AUTHORIZATION_FAILED') return 'unknown'
    throw error
  }
}

const stateVersionOf = (record: FetchedRecord): Version | undefined => {
  const read = readStateRecord(record)
  return read.ok ? read.value.state?.version : undefined
}

export const findRemains = async (
  { admin, redis }: { readonly admin: TopicAdmin; readonly redis: RedisClient },
  { topics, stateTopic, erasuresTopic, keyPrefix }: Places,
  customerUuid: string,
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (topic: string) => void } = {},
): Promise<Remains> => {
  /** Returns the number of batches that cannot be decoded. */
  const read = async (topic: string, onRecord: (record: FetchedRecord) => void) => {
    onProgress?.(topic)
    let unreadable = 0
    const onUnreadable = () => {
      unreadable += 1
    }
    await readTopic(admin, topic, onRecord, { onUnreadable, ...(signal && { signal }) })
    return unreadable
  }
  let erasure: Erasure | null = null
  await read(erasuresTopic, (record) => {
    const found = readErasureRecord(record)
    if (found.ok && found.value.customerUuid === customerUuid) erasure = found.value.erasure
  })
  const isLeft = (version: Version | undefined) => erasure === null || !version || isErased(erasure, version)

  const search = async (
    topic: string,
    versionIn: (record: FetchedRecord) => Version | undefined,
  ): Promise<TopicRemains> => {
    let records = 0
    let newestAt = 0
    const unreadable = await read(topic, (record) => {
      const { key, value, timestamp } = record
      const isOfCustomer = key?.toString() === customerUuid || namesCustomer(value, customerUuid)
      if (value === null || !isOfCustomer || !isLeft(versionIn(record))) return
      records += 1
      newestAt = Math.max(newestAt, Number(timestamp))
    })
    return { topic, records, ...(records > 0 && { newestAt }), unreadable, keepsFor: await keepsFor(admin, topic) }
  }
  const found: TopicRemains[] = []
  for (const topic of [topics.customers, topics.other, topics.quarantine]) found.push(await search(topic, versionOf))
  if (stateTopic !== undefined) found.push(await search(stateTopic, stateVersionOf))

  const hash = await redis.hgetall(customerKey(customerUuid, keyPrefix))
  const stored = customerFromHash(hash)
  const hasHash = Object.keys(hash).length > 0 && isLeft(stored.ok ? stored.value.version : undefined)
  const mark = await redis.hgetall(erasedKey(customerUuid, keyPrefix))
  // The mark has the terms of the deleted hash until the projector has removed the index entries.
  const inRedis = { hash: hasHash, mark: mark.erasedAt !== undefined, entries: filedTerms(mark._index).length }
  return { customerUuid, erasure, redis: inRedis, topics: found }
}

/** Returns true if the customer was erased, and only the erasure and the mark remain. */
export const isFullyErased = ({ erasure, redis, topics }: Remains): boolean =>
  erasure !== null &&
  redis.mark &&
  !redis.hash &&
  redis.entries === 0 &&
  topics.every(({ records, unreadable }) => records + unreadable === 0)
