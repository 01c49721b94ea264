/**
 * Repairs customers whose hash or state document is wrong. The projector does the work by its own
 * rules: it applies the newest event of each customer again, and publishes its document. A repair
 * only marks the hashes and moves positions back, so that the projector does this work. During a
 * repair no customer disappears from Redis.
 */
import { readFileSync } from 'node:fs'
import { lowerPosition, type RedisClient } from '@customer-stream/runtime/redis'
import { customerKey, positionField } from '@customer-stream/schemas'
import { type ProgressOf, readProgress } from './positions.ts'
import { positionsKeys } from './preconditions.ts'

const lua = readFileSync(new URL('./outdate-hash.lua', import.meta.url), 'utf8')

/** A wrong customer, and the last record of the raw topic that has its newest event. */
export interface Repairable {
  readonly customerUuid: string
  readonly partition: number
  readonly offset: bigint
}

/** A partition whose position the repair moves back. */
export interface RepairedPartition {
  readonly partition: number
  /** Offset from which the records are applied again. */
  readonly from: bigint
  /** Number of offsets from `from` to the current position. */
  readonly records: number
}

type Scripts = RedisClient & { outdateHash(key: string): Promise<number> }

/** Returns the partitions that a repair of these customers moves back, in order. */
export const planRepair = async (
  redis: RedisClient,
  of: ProgressOf,
  customers: readonly Repairable[],
): Promise<readonly RepairedPartition[]> => {
  const from = new Map<number, bigint>()
  for (const { partition, offset } of customers) {
    const known = from.get(partition)
    if (known === undefined || offset < known) from.set(partition, offset)
  }
  const partitions = [...from.keys()].sort((a, b) => a - b)
  const progress = (await readProgress(redis, of, partitions)) ?? []
  return progress.map(({ partition, position = 0n }) => {
    const start = from.get(partition) ?? position
    return { partition, from: start, records: Math.max(0, Number(position - start)) }
  })
}

/**
 * Marks the hashes of these customers, then moves the positions back. May be repeated after an
 * interruption. The order matters. If a position went back first, the projector could pass the
 * customer's event before the hash has its mark.
 */
export const repair = async (
  redis: RedisClient,
  of: ProgressOf,
  customers: readonly Repairable[],
  plan: readonly RepairedPartition[],
  signal: AbortSignal,
): Promise<void> => {
  redis.defineCommand('outdateHash', { lua, numberOfKeys: 1 })
  for (const { customerUuid } of customers) {
    signal.throwIfAborted()
    await (redis as Scripts).outdateHash(customerKey(customerUuid, of.keyPrefix))
  }
  const keys = positionsKeys(redis, of.projection, of.keyPrefix)
  for (const { partition, from } of plan)
    await lowerPosition(redis, keys, positionField(of.topic, partition), String(from))
}
