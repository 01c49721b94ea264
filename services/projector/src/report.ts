/** Stores the report of this projector in Redis. Its readers show rates and the freshness. */
import type { RedisClient } from '@customer-stream/runtime/redis'
import { type FreshnessBucket, type ProjectorReport, readReport, reportsKey } from '@customer-stream/schemas'
import type { ProjectorMetrics } from './metrics.ts'

/** Reports of processes that ended are deleted after this time. */
const KEPT_MS = 3_600_000

/** Converts the buckets of Prometheus, each of which includes the lower buckets. */
const bucketsOf = async (histogram: ProjectorMetrics['freshnessSeconds']): Promise<readonly FreshnessBucket[]> => {
  const { values } = await histogram.get()
  const bounds = values.filter(({ metricName }) => metricName?.endsWith('_bucket'))
  return bounds.map(({ labels, value }, i) => ({
    maxMs: labels.le === '+Inf' ? null : Number(labels.le) * 1000,
    chunks: value - (bounds[i - 1]?.value ?? 0),
  }))
}

export const reportOf = async (
  { events, freshnessSeconds }: Pick<ProjectorMetrics, 'events' | 'freshnessSeconds'>,
  now: number = Date.now(),
): Promise<ProjectorReport> => {
  const { values } = await events.get()
  return {
    at: now,
    outcomes: Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value])),
    freshness: await bucketsOf(freshnessSeconds),
  }
}

/** Stores the report, and deletes old reports of other processes. */
export const saveReport = async (
  redis: RedisClient,
  { keyPrefix, instance }: { readonly keyPrefix: string; readonly instance: string },
  report: ProjectorReport,
): Promise<void> => {
  const key = reportsKey(keyPrefix)
  await redis.hset(key, instance, JSON.stringify(report))
  const others = (await redis.hkeys(key)).filter((each) => each !== instance)
  if (others.length === 0) return
  const texts = await redis.hmget(key, ...others)
  const old = others.filter((_, i) => report.at - (readReport(texts[i] ?? '')?.at ?? 0) > KEPT_MS)
  if (old.length > 0) await redis.hdel(key, ...old)
}
