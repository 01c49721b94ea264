/**
 * Reads the progress of the projectors from Redis. docs/contracts.md describes the fields. On Redis
 * Cluster each offset has sixteen copies, of which the lowest counts.
 */
import type { RedisClient } from '@customer-stream/runtime/redis'
import { positionField } from '@customer-stream/schemas'
import { positionsKeys } from './preconditions.ts'

/** Progress of a fill from the state topic. Both offsets belong to the state topic. */
export interface StoredFill {
  readonly next: bigint
  readonly end: bigint
}

/** Progress of one partition of the raw topic. */
export interface StoredProgress {
  readonly partition: number
  /** Next offset to apply. Undefined if Redis has no position, or if a copy has none. */
  readonly position: bigint | undefined
  /** Undefined if the partition is not being filled. */
  readonly fill: StoredFill | undefined
  /** Offset of the next erasure to execute, in the erasures topic. */
  readonly erasuresOffset: bigint | undefined
  /**
   * Offset of the raw topic. The state topic has the documents of all events before this offset.
   */
  readonly publishedOffset: bigint | undefined
  /**
   * End of the lookahead window that contains the position. The projector leaves out an event of
   * the window if a newer event of the window supersedes it.
   */
  readonly windowEnd: bigint | undefined
  /**
   * Offset before which Redis has every event. It is the start of the lookahead window that
   * contains the position. If no window contains the position, it is the position.
   */
  readonly completeBefore: bigint | undefined
}

export interface ProgressOf {
  /** The raw topic. */
  readonly topic: string
  readonly projection: number
  readonly keyPrefix: string
}

type Hash = Readonly<Record<string, string>>

const offsetOf = (text: string | undefined): bigint | undefined =>
  /^\d+$/.test(text ?? '') ? BigInt(text!) : undefined

/** Returns the lowest offset. Undefined if an offset is missing. */
const lowest = (offsets: readonly (bigint | undefined)[]): bigint | undefined => {
  const known = offsets.filter((offset) => offset !== undefined)
  return known.length === offsets.length && known.length > 0 ? known.reduce((a, b) => (b < a ? b : a)) : undefined
}

/** Parses the field with the suffix #fill: `id/state topic id/next/end/raw offset/extent`. */
const fillOf = (text: string | undefined): StoredFill | undefined => {
  const [, , next, end] = text?.split('/').map(offsetOf) ?? []
  return next === undefined || end === undefined ? undefined : { next, end }
}

/**
 * Parses the field with the suffix #window: `start/end`. Returns undefined if the position is not
 * within the window. While the position is within the window, Redis has every event before `start`,
 * but not every later event.
 */
export const windowAround = (position: bigint | undefined, text: string | null | undefined) => {
  const [start, end] = text?.split('/').map(offsetOf) ?? []
  if (position === undefined || start === undefined || end === undefined) return undefined
  return position > start && position < end ? { start, end } : undefined
}

/** Reads the progress from the hashes of positions. `copies`: one hash, or sixteen on a cluster. */
export const progressIn = (copies: readonly Hash[], topic: string, partition: number): StoredProgress => {
  const field = positionField(topic, partition)
  const second = (suffix: string) => lowest(copies.map((hash) => offsetOf(hash[`${field}${suffix}`]?.split('/')[1])))
  const position = lowest(copies.map((hash) => offsetOf(hash[field])))
  const completeIn = (hash: Hash) => {
    const ofCopy = offsetOf(hash[field])
    return windowAround(ofCopy, hash[`${field}#window`])?.start ?? ofCopy
  }
  const fills = copies.flatMap((hash) => fillOf(hash[`${field}#fill`]) ?? [])
  const ends = copies.flatMap((hash) => windowAround(position, hash[`${field}#window`])?.end ?? [])
  return {
    partition,
    position,
    fill: fills.reduce<StoredFill | undefined>((low, fill) => (low && low.next <= fill.next ? low : fill), undefined),
    erasuresOffset: second('#erasures'),
    publishedOffset: second('#state'),
    windowEnd: ends[0],
    completeBefore: lowest(copies.map(completeIn)),
  }
}

/** Returns the partitions of the topic that have a position in a copy, in order. */
const partitionsIn = (copies: readonly Hash[], topic: string): number[] => {
  const numbers = copies
    .flatMap(Object.keys)
    .flatMap((field) => (field.startsWith(`${topic}/`) ? [field.slice(topic.length + 1)] : []))
  return [...new Set(numbers.filter((text) => /^\d+$/.test(text)).map(Number))].sort((a, b) => a - b)
}

/**
 * Reads the progress of partitions.
 * @param partitions Default: all partitions that have a position.
 * @returns undefined if Redis has no positions of this projection.
 */
export const readProgress = async (
  redis: RedisClient,
  { topic, projection, keyPrefix }: ProgressOf,
  partitions?: readonly number[],
): Promise<readonly StoredProgress[] | undefined> => {
  const copies = await Promise.all(positionsKeys(redis, projection, keyPrefix).map((key) => redis.hgetall(key)))
  if (copies.every((hash) => Object.keys(hash).length === 0)) return undefined
  return (partitions ?? partitionsIn(copies, topic)).map((partition) => progressIn(copies, topic, partition))
}
