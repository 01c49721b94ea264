import { fetchEnds } from '@customer-stream/runtime/kafka'
import { PROJECTION_VERSION, positionField, positionsKey } from '@customer-stream/schemas'
import type { Pipeline, ServiceProcess } from '@customer-stream/testing'
import { customersInRedis, readLedger, recordsBehind } from '@customer-stream/verify'
import type { Outcomes } from './sums.ts'

/**
 * Returns the number of records in Kafka that are not in Redis yet. Infinity if Kafka or Redis does
 * not answer, or if a partition has no leader.
 */
export const lagOf = async ({ admin, redis, topics, keyPrefix }: Pipeline): Promise<number> => {
  try {
    const ends = await admin.fetchTopicOffsets(topics.customers)
    // Compare the counts, because the offsets of partitions without a leader are missing.
    const partitions = (await admin.describeTopics([topics.customers])).get(topics.customers)
    if (ends.length !== partitions?.length) return Number.POSITIVE_INFINITY
    const fields = ends.map(({ partition }) => positionField(topics.customers, partition))
    return recordsBehind(ends, [await redis.hmget(positionsKey(PROJECTION_VERSION, keyPrefix), ...fields)])
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/**
 * Counts the records of a topic by its first and last offsets. Waits until each partition has a
 * leader.
 */
export const recordsIn = async ({ admin }: Pipeline, topic: string): Promise<number> =>
  (await fetchEnds(admin, topic)).reduce((sum, { low, high }) => sum + Number(BigInt(high) - BigInt(low)), 0)

export const outcomesOf = async (projector: ServiceProcess): Promise<Outcomes> => {
  const count = (outcome: string) => projector.metric('projector_events_total', { outcome })
  return {
    applied: await count('applied'),
    stale: await count('stale'),
    duplicate: await count('duplicate'),
    quarantined: await count('quarantined'),
  }
}

/** Returns the ids of all customers that have a hash. */
export const customersOf = async ({ redis, keyPrefix }: Pipeline): Promise<Set<string>> => {
  const found = new Set<string>()
  for await (const customerUuid of customersInRedis(redis, keyPrefix)) found.add(customerUuid)
  return found
}

/** Counts the 202s in a ledger. */
export const ledgerLines = async (path: string): Promise<number> => {
  let lines = 0
  for await (const _ of readLedger(path)) lines += 1
  return lines
}
