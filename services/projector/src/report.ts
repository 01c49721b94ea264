/**
 * Makes the report of this projector. From the reports, the reader computes the rates and the
 * freshness.
 */
import type { FreshnessBucket, ProjectorReport } from '@customer-stream/schemas'
import type { ProjectorMetrics } from './metrics.ts'

/**
 * Returns the number of chunks in each bucket. A bucket of Prometheus also counts the chunks of all
 * lower buckets.
 */
const bucketsOf = async (histogram: ProjectorMetrics['freshnessSeconds']): Promise<readonly FreshnessBucket[]> => {
  const { values } = await histogram.get()
  const bounds = values.filter(({ metricName }) => metricName?.endsWith('_bucket'))
  return bounds.map(({ labels, value }, i) => ({
    maxMs: labels.le === '+Inf' ? null : Number(labels.le) * 1000,
    chunks: value - (bounds[i - 1]?.value ?? 0),
  }))
}

export const reportOf = async (
  { events, freshnessSeconds, lostRecords }: Pick<ProjectorMetrics, 'events' | 'freshnessSeconds' | 'lostRecords'>,
  now: number = Date.now(),
): Promise<ProjectorReport> => {
  const { values } = await events.get()
  return {
    at: now,
    outcomes: Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value])),
    freshness: await bucketsOf(freshnessSeconds),
    lostRecords: (await lostRecords.get()).values[0]?.value ?? 0,
  }
}
