/** Makes the report of `customer-stream status` from its findings. Pure functions. */
import {
  type Answer,
  answered,
  behindOf,
  type Observation,
  type QuarantineStatus,
  type RawStatus,
  recordsIn,
  type TopicStatus,
} from './read-status.ts'
import type { ServiceStatus } from './service-probe.ts'
import type { Rates } from './service-rates.ts'
import { progressReasons, serviceReasons, topicReasons } from './status-reasons.ts'
import { counted, duration } from './terminal-text.ts'

/** Erasures that no projector has executed yet. `oldestAt`: time of the oldest such erasure. */
export interface ErasuresStatus extends TopicStatus {
  /** Null if their positions are not known. */
  readonly waiting: number | null
  readonly oldestAt: number | undefined
}

/**
 * Answers of Kafka, Redis and the services. An answer is undefined if the question was not asked.
 */
export interface Findings {
  readonly now: number
  /** The sentence about a Redis without positions. */
  readonly noPositions: string
  readonly services: readonly ServiceStatus[]
  /** Undefined if no service gave metrics twice. */
  readonly rates: Rates | undefined
  /** Sentences about the counters that fire an alert, and about wrong files of secrets. */
  readonly counters?: readonly string[]
  /** Sentence about a sender whose events are all refused. */
  readonly refusedSender?: readonly string[]
  /** Sentences about addresses that belong to another service. */
  readonly wrongServices?: readonly string[]
  /** Reasons of `customer_stream_blocked`, with the address of the service. */
  readonly blocked?: readonly { readonly url: string; readonly reason: string }[]
  readonly kafka: Answer<true>
  readonly redis: Answer<true>
  readonly raw?: Answer<RawStatus> | undefined
  readonly otherProjections?: { readonly examined: number; readonly higher: readonly number[] }
  readonly observation?: Answer<Observation> | undefined
  /** Time of receipt of the oldest event that is not applied. */
  readonly oldestWaiting?: Answer<number | undefined> | undefined
  readonly state?: Answer<TopicStatus> | undefined
  readonly erasures?: Answer<ErasuresStatus> | undefined
  readonly quarantine?: Answer<QuarantineStatus> | undefined
}

export interface PartitionLag {
  readonly partition: number
  /** Next offset to apply. Null if Redis has no position. */
  readonly position: string | null
  readonly end: string
  readonly behind: number
  readonly moved: boolean
}

export interface StatusReport {
  readonly healthy: boolean
  /** Problems, most important first. */
  readonly reasons: readonly string[]
  /** Facts that an operator should know, although they are not problems. */
  readonly notices: readonly string[]
  readonly checkedAt: number
  readonly services: readonly ServiceStatus[]
  readonly lastEventAt: number | null
  /** Null if Kafka or Redis did not answer. */
  readonly lag: {
    readonly records: number
    /** Null if the two samples are less than 200 ms apart. */
    readonly recordsPerSecond: number | null
    /** Null if the rate is unknown or 0. */
    readonly secondsLeft: number | null
    /** Time of receipt. Null if no record waits, or the record could not be read. */
    readonly oldestWaitingAt: number | null
    readonly partitions: readonly PartitionLag[]
  } | null
  /** Null if no partition is being filled. */
  readonly fill: {
    readonly partitions: number
    readonly documents: number
    readonly left: number
    /** Null if the rate is unknown or 0. */
    readonly secondsLeft: number | null
  } | null
  readonly stateTopic: { readonly topic: string; readonly records: number; readonly lacking: number | null } | null
  readonly erasures: { readonly topic: string; readonly records: number; readonly waiting: number | null } | null
  readonly quarantine: {
    readonly records: number
    readonly lastDay: Readonly<Record<string, number>>
    readonly counted: Readonly<Record<string, number>>
    /** Records of the last day that no operator has redriven or dropped. */
    readonly open: number
    /** Number of handled records among the counted records. Null if the audit is unknown. */
    readonly handled: number | null
    readonly isCut: boolean
  } | null
  readonly rates: Rates | null
}

/** Age of a waiting event or erasure at which the pipeline is no longer healthy. */
const TOO_OLD_MS = 60_000
const SILENCE_MS = 24 * 3_600_000

/** Returns a notice if no ingress or no projector was asked. The reader is optional. */
const unasked = (services: readonly ServiceStatus[]): string[] => {
  const missing = (['ingress', 'projector'] as const).filter((kind) => !services.some((each) => each.kind === kind))
  if (missing.length === 0) return []
  const [who, may] = missing.length === 2 ? ['service', 'a service'] : [missing.join(), 'it']
  const options = missing.map((kind) => `--${kind}`).join(' and ')
  return [`no ${who} was asked, so ${may} may hang unnoticed. Give ${options}.`]
}

/** Returns the facts that a ready service adds, such as a warning about its topics. */
const readyDetails = (services: readonly ServiceStatus[], blocked: Findings['blocked'] = []): string[] =>
  services
    .filter(({ state, url }) => state === 'ready' && !blocked.some((each) => each.url === url))
    .flatMap(({ kind, url, details }) => details.map((detail) => `${kind} ${url}: ${detail}`))

const otherProjections = (found: Findings['otherProjections']): string[] =>
  found === undefined || found.higher.length === 0
    ? []
    : [
        `this report is about projection ${found.examined} (PROJECTION_VERSION), and Redis also has projection ` +
          `${found.higher.join(', ')}. Give the command the same PROJECTION_VERSION as the projectors.`,
      ]

/** Returns the services that are ready although a person must act, e.g. an ingress with a spool. */
const blockedReasons = (services: readonly ServiceStatus[], blocked: Findings['blocked'] = []): string[] =>
  services
    .filter(({ state }) => state === 'ready')
    .flatMap(({ kind, url, details }) => {
      const reasons = blocked.filter((each) => each.url === url).map(({ reason }) => reason)
      return reasons.length > 0 ? [`${kind} ${url} is blocked (${reasons.join(', ')}): ${details.join('; ')}`] : []
    })

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)

/**
 * Returns the rate in records per second, and the seconds that `left` records need. Null if
 * unknown.
 */
const paceOf = (done: number, left: number, ms: number) => {
  const perSecond = ms >= 200 ? Math.max(0, done) / (ms / 1000) : null
  return { perSecond, secondsLeft: perSecond === null || perSecond === 0 ? null : Math.ceil(left / perSecond) }
}

const lagOf = ({ first, last }: Observation, oldestWaitingAt: number | null): NonNullable<StatusReport['lag']> => {
  const partitions = last.partitions.map((marks, i): PartitionLag => {
    const [before, now] = [first.progress?.[i]?.position, last.progress?.[i]?.position]
    return {
      partition: marks.partition,
      position: now === undefined ? null : String(now),
      end: marks.stable,
      behind: behindOf(marks, now),
      moved: now !== before,
    }
  })
  const records = sum(partitions.map(({ behind }) => behind))
  // At the end of a fill a position moves back. This move must not hide the progress of other
  // partitions.
  const moves = last.progress?.map(({ position }, i) =>
    Number((position ?? 0n) - (first.progress?.[i]?.position ?? 0n)),
  )
  const { perSecond, secondsLeft } = paceOf(sum(moves ?? []), records, last.at - first.at)
  return { records, recordsPerSecond: perSecond, secondsLeft, oldestWaitingAt, partitions }
}

const fillOf = ({ first, last }: Observation): StatusReport['fill'] => {
  const fills = (last.progress ?? []).flatMap(({ fill, partition }) => (fill ? [{ ...fill, partition }] : []))
  if (fills.length === 0) return null
  const left = sum(fills.map(({ next, end }) => Number(end - next)))
  const done = fills.map(({ next, partition }) => {
    const before = first.progress?.find((each) => each.partition === partition)?.fill
    return before ? Number(next - before.next) : 0
  })
  const { secondsLeft } = paceOf(sum(done), left, last.at - first.at)
  return { partitions: fills.length, documents: sum(fills.map(({ end }) => Number(end))), left, secondsLeft }
}

/** Returns the number of applied events whose documents are missing in the state topic. */
const lackingOf = ({ last }: Observation): number =>
  sum(
    (last.progress ?? []).map(({ position, publishedOffset, fill }, i) => {
      const low = BigInt(last.partitions[i]?.low ?? '0')
      const published = publishedOffset === undefined || publishedOffset < low ? low : publishedOffset
      return position === undefined || fill ? 0 : Math.max(0, Number(position - published))
    }),
  )

const quarantineOf = (quarantine: QuarantineStatus): NonNullable<StatusReport['quarantine']> => ({
  records: recordsIn(quarantine),
  lastDay: quarantine.recent,
  counted: quarantine.counted,
  open: quarantine.open,
  handled: quarantine.handled ?? null,
  isCut: quarantine.isCut,
})

const noticesOf = (found: Findings): string[] => {
  const [raw, quarantine] = [answered(found.raw), answered(found.quarantine)]
  const open = quarantine?.open ?? 0
  // The command counts only the newest records of a large quarantine.
  const openRecords = `${quarantine?.isCut ? 'at least ' : ''}${counted(open, 'open record')}`
  const silence = raw && (raw.lastEventAt === undefined ? Number.POSITIVE_INFINITY : found.now - raw.lastEventAt)
  return [
    ...unasked(found.services),
    ...otherProjections(found.otherProjections),
    ...readyDetails(found.services, found.blocked),
    ...(found.counters ?? []),
    ...(open > 0 ? [`${openRecords} went to quarantine in the last 24 h. See customer-stream quarantine list.`] : []),
    ...(silence === undefined || silence < SILENCE_MS
      ? []
      : [
          silence === Number.POSITIVE_INFINITY
            ? 'the raw topic has no event.'
            : `no event was received for ${duration(silence)}. Check the sender.`,
        ]),
  ]
}

/** Makes the report from the findings. */
export const reportOf = (found: Findings): StatusReport => {
  const { now, services, noPositions } = found
  const [raw, observation] = [answered(found.raw), answered(found.observation)]
  const [state, erasures, quarantine] = [answered(found.state), answered(found.erasures), answered(found.quarantine)]
  const oldest = answered(found.oldestWaiting) ?? null
  const lag = raw && observation?.last.progress ? lagOf(observation, oldest) : null
  const fill = observation ? fillOf(observation) : null
  const lacking = raw && state && observation?.last.progress ? lackingOf(observation) : null
  const partitionCount = raw && raw.partitions.length + raw.leaderless.length
  const isLate = oldest !== null && now - oldest > TOO_OLD_MS
  const erasuresAge = erasures?.oldestAt === undefined ? 0 : now - erasures.oldestAt
  const failed = [found.kafka, found.redis, found.raw, found.observation, found.state, found.erasures, found.quarantine]
  const left = fill?.secondsLeft == null ? '' : `, about ${duration(fill.secondsLeft * 1000)} left`
  const reasons = [
    ...failed.flatMap((answer) => (answer && 'problem' in answer ? [answer.problem] : [])),
    ...services.flatMap(serviceReasons),
    ...(found.wrongServices ?? []),
    ...blockedReasons(services, found.blocked),
    ...(observation && raw ? progressReasons(observation, noPositions) : []),
    ...topicReasons(raw, undefined),
    ...topicReasons(state, partitionCount),
    ...topicReasons(erasures, partitionCount),
    ...topicReasons(quarantine, undefined),
    ...(fill ? [`Redis is being filled from the state topic, so customers may be missing${left}.`] : []),
    ...(isLate ? [`the oldest event that is not in Redis was received ${duration(now - oldest)} ago.`] : []),
    ...(lacking
      ? [`the state topic lacks documents of ${counted(lacking, 'applied event')}. Read the log of the projectors.`]
      : []),
    ...(erasures && erasuresAge > TOO_OLD_MS
      ? [
          `${counted(erasures.waiting ?? 0, 'erasure')} still not executed after ${duration(erasuresAge)}. ` +
            'Read the log of the projectors.',
        ]
      : []),
    ...(found.rates && found.rates.unavailable > 0
      ? ['the ingress answers 503: Kafka does not store events in time.']
      : []),
    ...(found.refusedSender ?? []),
  ]
  // Several questions may fail for the same reason, so remove repeated sentences.
  const distinct = [...new Set(reasons)]
  return {
    healthy: distinct.length === 0,
    reasons: distinct,
    notices: noticesOf(found),
    checkedAt: now,
    services,
    lastEventAt: raw?.lastEventAt ?? null,
    lag,
    fill,
    stateTopic: state ? { topic: state.topic, records: recordsIn(state), lacking } : null,
    erasures: erasures ? { topic: erasures.topic, records: recordsIn(erasures), waiting: erasures.waiting } : null,
    quarantine: quarantine ? quarantineOf(quarantine) : null,
    rates: found.rates ?? null,
  }
}
