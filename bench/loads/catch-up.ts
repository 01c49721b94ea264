import { waitUntil } from '@customer-stream/runtime'
import { PROJECTION_VERSION, positionField, positionsKey } from '@customer-stream/schemas'
import type { Pipeline } from '@customer-stream/testing'
import { cpuSeconds, residentBytes } from '../report/measure.ts'

export type CatchUpReading = 'events per second' | 'CPU µs per event' | 'resident MB'

let runs = 0

export interface CatchUpOptions {
  /**
   * Prefix of the keys in Redis. Default: a new prefix, so that Redis is empty for the projector.
   */
  readonly keyPrefix?: string
  /**
   * Value of PROJECTION_VERSION. The projector rebuilds the hashes if the value is higher than in
   * the last run with this prefix.
   */
  readonly projection?: number
  readonly env?: Readonly<Record<string, string>>
}

/**
 * Starts a projector in a new group, and measures the time from its readiness until it has applied
 * the whole topic. The measurement does not begin at the first move of a position, because the
 * projector has already read ahead at that time.
 */
export const catchUp = async (
  pipeline: Pipeline,
  { keyPrefix, projection = PROJECTION_VERSION, env = {} }: CatchUpOptions = {},
): Promise<Record<CatchUpReading, number>> => {
  runs += 1
  const prefix = keyPrefix ?? `${pipeline.keyPrefix}catch-up-${runs}:`
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  const total = ends.reduce((sum, { high }) => sum + Number(high), 0)
  const fields = ends.map(({ partition }) => positionField(pipeline.topics.customers, partition))
  const applied = async () => {
    const positions = await pipeline.redis.hmget(positionsKey(projection, prefix), ...fields)
    return positions.reduce((sum, position) => sum + Number(position ?? 0), 0)
  }
  const projector = await pipeline.start('projector', {
    REDIS_KEY_PREFIX: prefix,
    CONSUMER_GROUP_ID: `${prefix}group-${runs}`,
    PROJECTION_VERSION: String(projection),
    KAFKA_PARTITIONS: String(ends.length),
    ...env,
  })
  await projector.untilReady()
  const first = await applied()
  const startedAt = performance.now()
  const cpuBefore = cpuSeconds(projector.pid)
  await waitUntil('the projector has caught up', applied, (count) => count === total, {
    timeoutMs: 600_000,
    pauseMs: 10,
  })
  const seconds = (performance.now() - startedAt) / 1000
  const cpu = cpuSeconds(projector.pid) - cpuBefore
  const resident = residentBytes(projector.pid)
  await projector.end()
  const events = total - first
  return {
    'events per second': events / seconds,
    'CPU µs per event': (cpu / events) * 1e6,
    'resident MB': resident / 1e6,
  }
}
