/** Prints the report of `customer-stream status` for people. */
import type { Rates } from './service-rates.ts'
import type { StatusReport } from './status-report.ts'
import { counted, duration, grouped, printable, utc } from './terminal-text.ts'

const byReason = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, records]) => `${reason} ${grouped(records)}`)
    .join(', ')

const lagLines = (
  { records, recordsPerSecond, secondsLeft, oldestWaitingAt, partitions }: NonNullable<StatusReport['lag']>,
  now: number,
) => {
  const waiting = partitions.filter(({ behind }) => behind > 0).sort((a, b) => b.behind - a.behind)
  if (records === 0) {
    const [all, unknown] = [partitions.length, partitions.filter(({ position }) => position === null).length]
    return unknown === 0
      ? [`0 records: all ${all} partitions are applied`]
      : [`0 records: ${all - unknown} of ${all} partitions applied, ${unknown} without a position`]
  }
  const age = oldestWaitingAt === null ? '' : `, the oldest for ${duration(now - oldestWaitingAt)}`
  const pace =
    recordsPerSecond === null
      ? ''
      : `, ${grouped(Math.round(recordsPerSecond))} applied/s` +
        (secondsLeft === null ? '' : `, about ${duration(secondsLeft * 1000)} left`)
  const shown = 8
  return [
    `${counted(records, 'record')} in ${waiting.length} of ${partitions.length} partitions${age}${pace}`,
    ...waiting
      .slice(0, shown)
      .map(
        ({ partition, position, end, behind, moved }) =>
          `partition ${partition}: ${grouped(behind)} (${position ?? 'no position'} of ${end})` +
          (moved ? '' : ', not moving'),
      ),
    ...(waiting.length > shown ? [`and ${waiting.length - shown} more partitions (--json has all)`] : []),
  ]
}

const executionOf = (waiting: number | null): string => {
  if (waiting === null) return 'unknown whether executed'
  return waiting === 0 ? 'all executed' : `${waiting} not executed`
}

/**
 * Returns the lines for each part of the report. A part whose question has no answer is `unknown`.
 */
const details = (report: StatusReport, isOff: (part: string) => boolean): (readonly [string, readonly string[]])[] => {
  const { checkedAt, lastEventAt, lag, fill, stateTopic, erasures, quarantine, rates } = report
  const unknown = ['unknown']
  const orUnknown = (part: string, lines: readonly string[] | null) =>
    isOff(part) ? ['switched off'] : (lines ?? unknown)
  const state = stateTopic && [
    `${counted(stateTopic.records, 'record')} in ${stateTopic.topic}${stateTopic.lacking === 0 ? ', complete' : ''}`,
  ]
  const erased = erasures && [
    `${counted(erasures.records, 'record')} in ${erasures.topic}, ${executionOf(erasures.waiting)}`,
  ]
  const kept = quarantine && [
    `24 h: ${byReason(quarantine.lastDay) || 'none'}`,
    ...(quarantine.handled ? [`redriven or dropped: ${grouped(quarantine.handled)}`] : []),
    quarantine.isCut
      ? `total: ${grouped(quarantine.records)}; of the newest: ${byReason(quarantine.counted)}`
      : `total: ${grouped(quarantine.records)}${quarantine.records > 0 ? ` (${byReason(quarantine.counted)})` : ''}`,
  ]
  const filling = fill && [
    `${grouped(fill.documents - fill.left)} of ${grouped(fill.documents)} documents ` +
      `(${Math.floor((100 * (fill.documents - fill.left)) / Math.max(1, fill.documents))} %), ` +
      `${fill.partitions} partitions` +
      (fill.secondsLeft === null ? '' : `, about ${duration(fill.secondsLeft * 1000)} left`),
  ]
  return [
    ['last event', lastEventAt === null ? unknown : [`${duration(checkedAt - lastEventAt)} ago, ${utc(lastEventAt)}`]],
    ['lag', lag ? lagLines(lag, checkedAt) : unknown],
    ...(filling ? [['fill', filling] as const] : []),
    ['state topic', orUnknown('state', state)],
    ['erasures', orUnknown('erasures', erased)],
    ['quarantine', kept ?? unknown],
    ...(rates ? [['rates', ratesLines(rates)] as const] : []),
  ]
}

const ratesLines = ({ accepted, refused, unavailable, outcomes }: Rates): string[] => {
  const perSecond = (rate: number) => `${rate < 10 ? rate.toFixed(1) : grouped(Math.round(rate))}/s`
  const applied = Object.entries(outcomes).map(([outcome, rate]) => `${outcome} ${perSecond(rate)}`)
  return [
    ...(accepted === null
      ? []
      : [`ingress: 202 ${perSecond(accepted)}, 503 ${perSecond(unavailable)}, refused ${perSecond(refused ?? 0)}`]),
    ...(applied.length > 0 ? [`projector: ${applied.join(', ')}`] : []),
  ]
}

const WIDTH = 13

/** Returns the report for people, most important first. */
export const statusLines = (report: StatusReport, isOff: (part: string) => boolean): string[] => {
  const { healthy, reasons, notices, services } = report
  const well = services.length > 0 ? 'All is well' : 'Kafka and Redis are well'
  const withNotices = notices.length > 0 ? `, with ${counted(notices.length, 'notice')}` : ''
  const headline = healthy ? `${well}${withNotices}.` : `Not well: ${counted(reasons.length, 'reason')}.`
  const parts = [
    ...services.map(({ kind, url, state }, i) => [i === 0 ? 'services' : '', [`${kind} ${url}: ${state}`]] as const),
    ...details(report, isOff),
  ]
  const lines = [
    headline,
    ...reasons.flatMap((reason) => reason.split('\n').map((line, i) => `  ${i === 0 ? '✘' : ' '} ${line}`)),
    ...notices.map((notice) => `  ! ${notice}`),
    '',
    ...parts.flatMap(([name, texts]) => texts.map((text, i) => `${(i === 0 ? name : '').padEnd(WIDTH)}${text}`)),
  ]
  return lines.map(printable)
}
