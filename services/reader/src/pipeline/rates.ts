/** Rates and freshness between two measurements. Pure functions. */
import type { FreshnessBucket, ProjectorReport } from '@customer-stream/schemas'
import type { IngressCounts, Measurement, TopicEnds } from './measurement.ts'

/**
 * Returns three pairs of measurements, from which the rates of the last minute are calculated: one
 * pair for the topic, one for the projectors, one for the ingresses. The pairs may differ, because
 * the first measurements after a start may lack a part.
 * @param measurements of the last minute, the oldest first, at least one.
 */
export const pairsOf = (measurements: readonly Measurement[], last: Measurement) => {
  const first = (isKnown: (measurement: Measurement) => boolean) => measurements.find(isKnown) ?? last
  const reporting = first(({ reports }) => reports !== undefined && reports.size > 0)
  const counting = first(({ ingresses }) => ingresses !== undefined)
  // A process that started later is compared with its own first report.
  const backwards = measurements.toReversed()
  const firstReports = new Map(backwards.flatMap((each) => [...(each.reports ?? [])]))
  const firstCounts = new Map(backwards.flatMap((each) => [...(each.ingresses ?? [])]))
  return {
    ofTopic: [first(({ raw }) => raw !== undefined), last] as const,
    ofReports: [reporting === last ? last : { ...reporting, reports: firstReports }, last] as const,
    ofIngresses: [counting === last ? last : { ...counting, ingresses: firstCounts }, last] as const,
  }
}

type Pair = readonly [before: Measurement, after: Measurement]

const secondsOf = ([before, after]: Pair): number => Math.max(0.001, (after.clock - before.clock) / 1000)

/** Returns undefined if one measurement lacks a partition, or if the topic was created again. */
const addedTo = (before: TopicEnds | undefined, after: TopicEnds | undefined): number | undefined => {
  if (before === undefined || after === undefined || after.watermarks.size < after.partitions) return undefined
  let sum = 0
  for (const [partition, { high }] of after.watermarks) {
    const from = before.watermarks.get(partition)?.high
    // A partition that was added begins at 0.
    const added = Number(BigInt(high) - BigInt(from ?? '0'))
    if (added < 0 || (from === undefined && partition < before.partitions)) return undefined
    sum += added
  }
  return sum
}

const perSecond = (pair: Pair, count: number | undefined) => (count === undefined ? undefined : count / secondsOf(pair))

/** Returns the number of records per second that the raw topic got. */
export const storedPerSecond = (pair: Pair): number | undefined => perSecond(pair, addedTo(pair[0].raw, pair[1].raw))

export const quarantinedPerSecond = (pair: Pair): number | undefined =>
  perSecond(pair, addedTo(pair[0].quarantineEnds, pair[1].quarantineEnds))

/**
 * Returns the increase of a counter. If the counter is lower than before, it has started again at
 * 0.
 */
const increase = (before: number, after: number): number => (after < before ? after : after - before)

/**
 * Returns the number of requests per second from the sender. Undefined if the counts of an ingress
 * are not known.
 */
const requestsPerSecond = (pair: Pair, countsOf: (counts: IngressCounts) => number): number | undefined => {
  const [{ ingresses: before }, { ingresses: after }] = pair
  if (before === undefined || after === undefined) return undefined
  const increases = [...after].map(([url, counts]) => {
    const earlier = before.get(url)
    return earlier === undefined ? 0 : increase(countsOf(earlier), countsOf(counts))
  })
  return perSecond(
    pair,
    increases.reduce((a, b) => a + b, 0),
  )
}

export const receivedPerSecond = (pair: Pair): number | undefined =>
  requestsPerSecond(pair, ({ accepted, refused }) => accepted + refused)

export const refusedPerSecond = (pair: Pair): number | undefined => requestsPerSecond(pair, ({ refused }) => refused)

/** Returns the events of all ingresses that got 503 and were not accepted later. */
export const eventsAtRisk = ({ ingresses }: Measurement): number | undefined =>
  ingresses && [...ingresses.values()].reduce((sum, counts) => sum + counts.eventsAtRisk, 0)

/**
 * Returns the records that Kafka deleted before they were applied, since the start of each
 * projector.
 */
export const lostRecords = ({ reports }: Measurement): number =>
  [...(reports?.values() ?? [])].reduce((sum, report) => sum + (report.lostRecords ?? 0), 0)

/**
 * Returns the two reports of each projector that is in both measurements. Undefined if no projector
 * has stored a report, for example because it is an older version.
 */
const reportPairs = ([before, after]: Pair): (readonly [ProjectorReport, ProjectorReport])[] | undefined => {
  if (before.reports === undefined || after.reports === undefined || after.reports.size === 0) return undefined
  return [...after.reports].flatMap(([instance, report]) => {
    const earlier = before.reports?.get(instance)
    return earlier === undefined ? [] : [[earlier, report] as const]
  })
}

/** A projector reports every 5 s, so two measurements 10 s apart may have reports 5 s apart. */
const REPORT_SECONDS = 5

/** Returns the time between two reports, or between the measurements if the last report is old. */
const secondsBetween = (pair: Pair, before: ProjectorReport, after: ProjectorReport): number => {
  const seconds = (after.at - before.at) / 1000
  return seconds > 0 && Math.abs(seconds - secondsOf(pair)) < 1.5 * REPORT_SECONDS ? seconds : secondsOf(pair)
}

/** Returns the handled records a second, by outcome. */
export const outcomesPerSecond = (pair: Pair): Readonly<Record<string, number>> | undefined => {
  const pairs = reportPairs(pair)
  if (pairs === undefined) return undefined
  const sums = new Map<string, number>()
  for (const [before, after] of pairs) {
    const seconds = secondsBetween(pair, before, after)
    for (const [outcome, count] of Object.entries(after.outcomes))
      sums.set(outcome, (sums.get(outcome) ?? 0) + Math.max(0, count - (before.outcomes[outcome] ?? 0)) / seconds)
  }
  return Object.fromEntries(sums)
}

export const handledPerSecond = (pair: Pair): number | undefined => {
  const outcomes = outcomesPerSecond(pair)
  return outcomes && Object.values(outcomes).reduce((a, b) => a + b, 0)
}

/** Returns the number of projectors that have reported between the measurements. */
export const projectorsOf = ([before, after]: Pair): number | undefined => {
  if (before.reports === undefined || after.reports === undefined || after.reports.size === 0) return undefined
  return [...after.reports].filter(([instance, { at }]) => before.reports?.get(instance)?.at !== at).length
}

/** Returns the chunks of each bucket that were applied between the measurements. */
const freshnessBetween = (pair: Pair): readonly FreshnessBucket[] => {
  const chunks = new Map<number | null, number>()
  for (const [before, after] of reportPairs(pair) ?? [])
    for (const [i, bucket] of after.freshness.entries()) {
      const added = Math.max(0, bucket.chunks - (before.freshness[i]?.chunks ?? 0))
      chunks.set(bucket.maxMs, (chunks.get(bucket.maxMs) ?? 0) + added)
    }
  return [...chunks]
    .map(([maxMs, count]) => ({ maxMs, chunks: count }))
    .sort((a, b) => (a.maxMs ?? Number.POSITIVE_INFINITY) - (b.maxMs ?? Number.POSITIVE_INFINITY))
}

/**
 * Returns a quantile of the freshness in milliseconds, interpolated inside its bucket. Undefined if
 * nothing was applied. In the last bucket, returns the bound of the previous bucket.
 */
export const freshnessMs = (pair: Pair, quantile: number): number | undefined => {
  const buckets = freshnessBetween(pair)
  const total = buckets.reduce((sum, { chunks }) => sum + chunks, 0)
  if (total === 0) return undefined
  let [below, minMs] = [0, 0]
  for (const { maxMs, chunks } of buckets) {
    if (chunks > 0 && below + chunks >= quantile * total)
      return maxMs === null ? minMs : minMs + (maxMs - minMs) * ((quantile * total - below) / chunks)
    below += chunks
    minMs = maxMs ?? minMs
  }
  return minMs
}
