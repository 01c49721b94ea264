/** Makes the answer of `GET /v1/pipeline`. Pure functions. */
import type { PipelineDocument, PipelinePoint } from '../http/pipeline-document.ts'
import { healthOf } from './health.ts'
import { lagOf, totalLag } from './lag.ts'
import type { Measurement } from './measurement.ts'
import {
  eventsAtRisk,
  freshnessMs,
  handledPerSecond,
  outcomesPerSecond,
  pairsOf,
  projectorsOf,
  quarantinedPerSecond,
  receivedPerSecond,
  refusedPerSecond,
  storedPerSecond,
} from './rates.ts'

/** Returns the point of the history at the time of the measurement `after`. */
export const pointOf = (before: Measurement, after: Measurement): PipelinePoint => {
  const pair = [before, after] as const
  return {
    at: after.at,
    receivedPerSecond: receivedPerSecond(pair) ?? null,
    refusedPerSecond: refusedPerSecond(pair) ?? null,
    storedPerSecond: storedPerSecond(pair) ?? null,
    handledPerSecond: handledPerSecond(pair) ?? null,
    quarantinedPerSecond: quarantinedPerSecond(pair) ?? null,
    lag: totalLag(after) ?? null,
    freshnessP50Ms: freshnessMs(pair, 0.5) ?? null,
    freshnessP99Ms: freshnessMs(pair, 0.99) ?? null,
  }
}

const quarantineOf = ({ quarantine }: Measurement): PipelineDocument['quarantine'] => {
  if (quarantine === undefined) return null
  const { records, openByReason, isCut } = quarantine
  return { records, open: Object.values(openByReason).reduce((a, b) => a + b, 0), openByReason, isCut }
}

const driftOf = ({ drift }: Measurement): PipelineDocument['drift'] =>
  drift
    ?.toSorted((a, b) => b.first - a.first)
    .map(({ kind, path, type, first, last, events }) => ({ kind, path, type, firstAt: first, lastAt: last, events })) ??
  null

const projectionOf = (
  { progress }: Measurement,
  version: number,
  projectors: number | null,
): PipelineDocument['projection'] => {
  const known = typeof progress === 'object' ? progress : undefined
  return {
    version,
    isFilled: progress === undefined ? null : (known?.isFilled ?? false),
    fill: known?.fill ?? null,
    indexes: known?.indexes ? [...known.indexes.indexes] : null,
    projectors,
  }
}

/**
 * @param measurements of the last minute, the oldest first, at least one.
 * @param history points of the last hour, the oldest first.
 * @param clock the current time on the clock of the measurements. Default: the last measurement.
 */
export const documentOf = (
  measurements: readonly Measurement[],
  history: readonly PipelinePoint[],
  projection: number,
  clock: number = measurements.at(-1)?.clock ?? 0,
): PipelineDocument => {
  const last = measurements.at(-1)
  if (last === undefined) throw new Error('nothing was measured')
  const { isWell, summary, reasons, notices } = healthOf(measurements, clock)
  const { ofTopic, ofReports, ofIngresses } = pairsOf(measurements, last)
  // A single measurement has no rates.
  const unlessSingle = <T>([first]: readonly [Measurement, Measurement], value: T | undefined) =>
    first === last ? null : (value ?? null)
  return {
    checkedAt: last.at,
    isWell,
    summary,
    reasons: [...reasons],
    notices: [...notices],
    rates: {
      receivedPerSecond: unlessSingle(ofIngresses, receivedPerSecond(ofIngresses)),
      storedPerSecond: unlessSingle(ofTopic, storedPerSecond(ofTopic)),
      handledPerSecond: unlessSingle(ofReports, handledPerSecond(ofReports)),
    },
    completeAsOf: last.completeAsOf?.at ?? null,
    lastEventAt: last.dealers?.lastEventAt ?? null,
    lag: {
      records: totalLag(last) ?? null,
      partitions: lagOf(last).map(({ partition, position, end, records }) => ({
        partition,
        position: position === undefined ? null : String(position),
        end: end === undefined ? null : String(end),
        records: records ?? null,
      })),
    },
    outcomes: unlessSingle(ofReports, outcomesPerSecond(ofReports)),
    quarantine: quarantineOf(last),
    freshness: { p50Ms: freshnessMs(ofReports, 0.5) ?? null, p99Ms: freshnessMs(ofReports, 0.99) ?? null },
    projection: projectionOf(last, projection, unlessSingle(ofReports, projectorsOf(ofReports))),
    dealers: last.dealers ? { silent: last.dealers.silent, known: last.dealers.known } : null,
    drift: driftOf(last),
    sender: {
      eventsAtRisk: eventsAtRisk(last) ?? null,
      refusedPerSecond: unlessSingle(ofIngresses, refusedPerSecond(ofIngresses)),
    },
    history: [...history],
  }
}
