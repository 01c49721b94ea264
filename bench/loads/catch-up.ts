import { waitUntil } from '@customer-stream/runtime'
import { PROJECTION_VERSION, positionField, positionsKey } from '@customer-stream/schemas'
import type { Pipeline } from '@customer-stream/testing'
import { cpuSeconds, residentBytes } from '../report/measure.ts'

export type CatchUpReading = 'events per second' | 'CPU µs per event' | 'resident MB'

let runs = 0

/**
 * Starts a new projector with its own keys and measures it from its first applied event to the end
 * of the topic.
 */
export const catchUp = async (
  pipeline: Pipeline,
  env: Readonly<Record<string, string>> = {},
): Promise<Record<CatchUpReading, number>> => {
  runs += 1
  const keyPrefix = `${pipeline.keyPrefix}catch-up-${runs}:`
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  const total = ends.reduce((sum, { high }) => sum + Number(high), 0)
  const fields = ends.map(({ partition }) => positionField(pipeline.topics.customers, partition))
  const applied = async () => {
    const positions = await pipeline.redis.hmget(positionsKey(PROJECTION_VERSION, keyPrefix), ...fields)
    return positions.reduce((sum, position) => sum + Number(position ?? 0), 0)
  }
  const projector = await pipeline.start('projector', {
    REDIS_KEY_PREFIX: keyPrefix,
    CONSUMER_GROUP_ID: `${keyPrefix}group`,
    KAFKA_PARTITIONS: String(ends.length),
    ...env,
  })
  await projector.untilReady()
  const first = await waitUntil('the projector has begun', applied, (count) => count > 0, {
    timeoutMs: 60_000,
    pauseMs: 2,
  })
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
