/** Says in sentences whether all is well. Pure functions. */
import { lagOf, standingStill } from './lag.ts'
import type { Measurement } from './measurement.ts'
import { eventsAtRisk, freshnessMs, lostRecords, projectorsOf } from './rates.ts'

export interface Health {
  readonly isWell: boolean
  readonly summary: string
  readonly reasons: readonly string[]
  readonly notices: readonly string[]
}

/** A partition stands still if its position has not moved for this time. */
const STANDSTILL_MS = 30_000
/** A projector reports every 5 s. */
const SILENT_PROJECTOR_MS = 30_000
const LATE_MS = 30_000
/** The reader measures every 10 s, and each question ends after a few seconds. */
const OLD_MS = 60_000

const partitionsText = (partitions: readonly number[]): string =>
  `partition${partitions.length === 1 ? '' : 's'} ${partitions.join(', ')}`

const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`

/** Returns the measurements of the last `ms`, if they cover that time. */
const lastOf = (measurements: readonly Measurement[], ms: number): readonly Measurement[] => {
  const last = measurements.at(-1)
  const from = measurements.findLastIndex(({ clock }) => (last?.clock ?? 0) - clock >= ms)
  return from === -1 ? [] : measurements.slice(from)
}

const reasonsOf = (measurements: readonly Measurement[], last: Measurement): string[] => {
  const { raw, progress, problems } = last
  const reasons = [...problems]
  const leaderless = lagOf(last).flatMap(({ partition, end }) => (end === undefined ? [partition] : []))
  if (leaderless.length > 0)
    reasons.push(`${partitionsText(leaderless)} of the raw topic: no leader answers. Bring the broker back.`)
  if (progress === 'none')
    reasons.push(
      'Redis has no positions, so no projector has filled this Redis. Check the projectors and REDIS_KEY_PREFIX.',
    )
  if (typeof progress === 'object' && progress.fill)
    reasons.push(
      `Redis is being filled from the state topic, so customers may be missing. ` +
        `${counted(progress.fill.records, 'record')} left.`,
    )
  if (typeof progress === 'object' && !progress.fill && !progress.isFilled)
    reasons.push('Redis lacks the positions of some partitions, so customers may be missing. Check the projectors.')
  const still = raw ? standingStill(lastOf(measurements, STANDSTILL_MS)) : []
  if (still.length > 0)
    reasons.push(
      `${partitionsText(still)} of the raw topic: records wait, and no position has moved for 30 s. Read /readyz and ` +
        'the log of the projectors.',
    )
  const [earlier] = lastOf(measurements, SILENT_PROJECTOR_MS)
  if (earlier && projectorsOf([earlier, last]) === 0)
    reasons.push('no projector has reported for 30 s. Check that a projector runs and reaches Redis.')
  const [minuteAgo] = measurements
  const late = minuteAgo && freshnessMs([minuteAgo, last], 0.99)
  if (late !== undefined && late > LATE_MS)
    reasons.push(`1 % of the events reach Redis later than ${Math.round(late / 1000)} s after their receipt.`)
  return reasons
}

const noticesOf = (last: Measurement): string[] => {
  const { quarantine, dealers, drift } = last
  const atRisk = eventsAtRisk(last) ?? 0
  const lost = lostRecords(last)
  const open = Object.values(quarantine?.openByReason ?? {}).reduce((a, b) => a + b, 0)
  const atLeast = quarantine?.isCut ? 'at least ' : ''
  return [
    ...(lost > 0
      ? [
          `Kafka deleted ${counted(lost, 'record')} before a projector applied ${lost === 1 ? 'it' : 'them'}. See ` +
            'the alert RecordsLost in docs/runbook.md.',
        ]
      : []),
    ...(atRisk > 0
      ? [
          `at most ${counted(atRisk, 'event')} got 503 and ${atRisk === 1 ? 'was' : 'were'} not accepted later. ` +
            'See the alert EventsUnavailable in docs/runbook.md.',
        ]
      : []),
    ...(open > 0 ? [`${atLeast}${counted(open, 'open record')} in quarantine. Look at their reasons.`] : []),
    ...(dealers && dealers.silent > 0
      ? [
          dealers.silent === 1
            ? '1 dealer is silent at an hour at which it usually sends events.'
            : `${counted(dealers.silent, 'dealer')} are silent at an hour at which they usually send events.`,
        ]
      : []),
    ...(drift && drift.length > 0
      ? [`${counted(drift.length, 'difference')} between the events and the documentation of the sender.`]
      : []),
  ]
}

const withCapital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** Reports an old measurement. Otherwise a measurement that never ends would hide new problems. */
const ageReason = (last: Measurement | undefined, clock: number): readonly string[] =>
  last && clock - last.clock >= OLD_MS
    ? [
        `the last measurement is ${Math.round((clock - last.clock) / 1000)} s old, so the pipeline may have changed. ` +
          'Check that Redis, Kafka and the addresses of INGRESS_ADMIN_URLS answer the reader quickly.',
      ]
    : []

/**
 * @param measurements of the last minute, the oldest first, at least one.
 * @param clock the current time on the clock of the measurements.
 */
export const healthOf = (measurements: readonly Measurement[], clock: number): Health => {
  const last = measurements.at(-1)
  const found = last ? reasonsOf(measurements, last) : ['the pipeline has not been measured yet.']
  const reasons = [...ageReason(last, clock), ...found].map(withCapital)
  const notices = (last ? noticesOf(last) : []).map(withCapital)
  const isWell = reasons.length === 0
  const problem = reasons.length === 1 ? 'There is a problem.' : `There are ${reasons.length} problems.`
  const well = notices.length === 0 ? 'All is well.' : `All is well, with ${counted(notices.length, 'notice')}.`
  return { isWell, summary: isWell ? well : problem, reasons, notices }
}
