/** Waits until the projector has applied the records that a command has read. */
import { setTimeout as sleep } from 'node:timers/promises'
import { unlessAborted } from '@customer-stream/runtime'
import type { PartitionEnds } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { positionField, type TopicNames } from '@customer-stream/schemas'
import { windowAround } from './positions.ts'
import { positionsKeys } from './preconditions.ts'

export interface ProjectorToWaitFor {
  readonly redis: RedisClient
  readonly topics: TopicNames
  readonly keyPrefix: string
  readonly projection: number
  /** Maximum wait, default 60,000. */
  readonly catchUpMs?: number
  readonly signal?: AbortSignal
}

const PAUSE_MS = 100

const offsetOf = (position: string | null | undefined): bigint =>
  /^\d+$/.test(position ?? '') ? BigInt(position ?? 0) : 0n

/**
 * Returns the number of records before the ends that Redis does not have yet. On Redis Cluster,
 * uses the lowest copy of each position. A position after the end of one partition does not reduce
 * the count of other partitions.
 */
export const recordsBehind = (
  ends: readonly Pick<PartitionEnds, 'high'>[],
  copies: readonly (readonly (string | null | undefined)[])[],
): number =>
  ends.reduce(
    (sum, { high }, i) =>
      sum + Math.max(0, ...copies.map((positions) => Number(BigInt(high) - offsetOf(positions[i])))),
    0,
  )

/**
 * Waits until `left` returns 0.
 * @param left returns the number of records that the projector has not handled yet.
 * @param what names these records in the error message.
 * @throws Error with advice after `catchUpMs`, or the signal's reason if the signal aborts.
 */
const untilNoneLeft = async (
  left: () => Promise<number>,
  what: string,
  { keyPrefix, projection, catchUpMs = 60_000, signal }: ProjectorToWaitFor,
) => {
  const deadline = performance.now() + catchUpMs
  for (;;) {
    const count = await unlessAborted(left(), signal)
    if (count === 0) return
    if (performance.now() > deadline)
      throw new Error(
        `After ${catchUpMs / 1000} s the projector still has to handle ${count} ${what}. Check that a projector ` +
          `with PROJECTION_VERSION=${projection} and REDIS_KEY_PREFIX=${keyPrefix} runs, and read its /readyz. ` +
          'If the projector only needs more time, raise --catch-up-seconds.',
      )
    await unlessAborted(sleep(PAUSE_MS), signal)
  }
}

const hasRecords = ({ low, high }: PartitionEnds) => low !== high

/**
 * Waits until the projector has applied all raw records before `ends`. A running fill of these
 * partitions must also have ended.
 */
export const waitForEvents = async (projector: ProjectorToWaitFor, ends: readonly PartitionEnds[]): Promise<void> => {
  const { redis, topics, keyPrefix, projection } = projector
  const filled = ends.filter(hasRecords)
  if (filled.length === 0) return
  const fields = filled.map(({ partition }) => positionField(topics.customers, partition))
  const names = ['', '#fill', '#window'].flatMap((suffix) => fields.map((field) => `${field}${suffix}`))
  const keys = positionsKeys(redis, projection, keyPrefix)
  const left = async () => {
    const copies = await Promise.all(keys.map((key) => redis.hmget(key, ...names)))
    const of = (values: readonly (string | null)[], part: number) =>
      values.slice(part * fields.length, (part + 1) * fields.length)
    const complete = copies.map((values) => {
      const windows = of(values, 2)
      return of(values, 0).map((position, i) => {
        const window = windowAround(offsetOf(position), windows[i])
        return window ? String(window.start) : position
      })
    })
    // A partition with a field #fill is still being filled from the state topic.
    const fills = copies.flatMap((values) => of(values, 1)).filter((fill) => fill !== null)
    return recordsBehind(filled, complete) + fills.length
  }
  await untilNoneLeft(left, `records or fills of ${topics.customers}`, projector)
}

/** Waits until the projector has executed all erasures before `ends` in the erasures topic. */
export const waitForErasures = async (projector: ProjectorToWaitFor, ends: readonly PartitionEnds[]): Promise<void> => {
  const { redis, topics, keyPrefix, projection } = projector
  const filled = ends.filter(hasRecords)
  if (filled.length === 0) return
  const fields = filled.map(({ partition }) => `${positionField(topics.customers, partition)}#erasures`)
  const keys = positionsKeys(redis, projection, keyPrefix)
  const left = async () => {
    const copies = await Promise.all(keys.map((key) => redis.hmget(key, ...fields)))
    return recordsBehind(
      filled,
      copies.map((values) => values.map((value) => value?.split('/')[1])),
    )
  }
  await untilNoneLeft(left, 'erasures', projector)
}
