/** Writes sentences about facts that only the metrics of a service show. */
import type { MetricsSample } from '@customer-stream/runtime'
import type { ServiceAddress, ServiceKind } from './service-probe.ts'
import { counted, duration } from './terminal-text.ts'

interface AlertCounter {
  readonly kind: ServiceKind
  readonly metric: string
  readonly labels?: Readonly<Record<string, string>>
  /** The counted thing, in singular and plural. */
  readonly what: readonly [one: string, many: string]
}

/**
 * Counters that status reports: the counters of the critical alerts, and of refused requests. Each
 * key is the name of an alert.
 */
export const ALERT_COUNTERS: Readonly<Record<string, AlertCounter>> = {
  SenderRefused: {
    kind: 'ingress',
    metric: 'ingress_sender_refusals_total',
    what: ['refused request of the sender', 'refused requests of the sender'],
  },
  TooManyBodies: {
    kind: 'ingress',
    metric: 'ingress_answers_total',
    labels: { answer: 'too-many-bodies' },
    what: ['request refused because of RECEIVE_MAX_BYTES', 'requests refused because of RECEIVE_MAX_BYTES'],
  },
  InternalErrors: {
    kind: 'ingress',
    metric: 'ingress_answers_total',
    labels: { answer: 'internal-error' },
    what: ['request that failed because of a bug', 'requests that failed because of a bug'],
  },
  ConnectionsDropped: {
    kind: 'ingress',
    metric: 'ingress_connections_dropped_total',
    what: ['connection closed without an answer', 'connections closed without an answer'],
  },
  RecordsRefusedByKafka: {
    kind: 'ingress',
    metric: 'ingress_refused_records_total',
    what: ['record that Kafka refused', 'records that Kafka refused'],
  },
  SpoolRecordsLost: {
    kind: 'ingress',
    metric: 'ingress_spool_lost_records_total',
    what: ['record that the spool lost', 'records that the spool lost'],
  },
  SpoolDiskFailing: {
    kind: 'ingress',
    metric: 'ingress_spool_errors_total',
    what: ["error of the spool's disk", "errors of the spool's disk"],
  },
  RecordsLost: {
    kind: 'projector',
    metric: 'projector_lost_records_total',
    what: ['record that Kafka deleted before it was applied', 'records that Kafka deleted before they were applied'],
  },
  StatesUnreadable: {
    kind: 'projector',
    metric: 'projector_unreadable_states_total',
    what: ['batch of the state topic that cannot be read', 'batches of the state topic that cannot be read'],
  },
  ErasuresUnusable: {
    kind: 'projector',
    metric: 'projector_unusable_erasures_total',
    what: ['unusable record of the erasures topic', 'unusable records of the erasures topic'],
  },
  ReaderErrors: {
    kind: 'reader',
    metric: 'reader_answers_total',
    labels: { answer: 'internal-error' },
    what: ['request that failed because of a bug', 'requests that failed because of a bug'],
  },
}

/** Returns a sentence if the address belongs to another service than the command line says. */
export const wrongService = ({ kind, url }: ServiceAddress, { labelsAbove0 }: MetricsSample): string[] => {
  const [actual] = labelsAbove0('process_start_time_seconds', 'service')
  return actual === undefined || actual === kind
    ? []
    : [`--${kind} ${url} is the admin port of the ${actual}. Give the address of the ${kind}.`]
}

/**
 * A refusal that is older than this time is not reported. The alert SenderRefused has the same
 * limit.
 */
const REFUSED_WITHIN_MS = 600_000
/**
 * A refusal is not reported within this time after a 202, because the sender's events are accepted.
 */
const ACCEPTED_WITHIN_MS = 60_000

/** Returns a sentence if the ingresses refuse requests of the sender, and accept no event. */
export const refusedSender = (ingresses: readonly MetricsSample[], now: number): string[] => {
  const latestMs = (metric: string) => Math.max(0, ...ingresses.map(({ sum }) => sum(metric) * 1000))
  const refusedAt = latestMs('ingress_last_refusal_timestamp_seconds')
  const acceptedAt = latestMs('ingress_last_event_timestamp_seconds')
  if (now - refusedAt > REFUSED_WITHIN_MS || refusedAt - acceptedAt < ACCEPTED_WITHIN_MS) return []
  const accepted = acceptedAt === 0 ? 'since its start' : `for ${duration(now - acceptedAt)}`
  return [
    `the ingress has accepted no event ${accepted}, and has refused a request with a signature or a token ` +
      `${duration(Math.max(0, now - refusedAt))} ago. See the alert SenderRefused in docs/runbook.md.`,
  ]
}

/** Returns a sentence if changed files of secrets are wrong. */
export const secretNotices = ({ kind, url }: ServiceAddress, { sum }: MetricsSample): string[] =>
  sum('customer_stream_secret_files_unusable') === 0
    ? []
    : [
        `${kind} ${url}: changed files of secrets are wrong, so the service uses the old values, and a restart would ` +
          'fail. See the alert SecretFilesUnusable in docs/runbook.md.',
      ]

/** Returns a sentence for each of the service's counters that is above 0. */
export const counterNotices = ({ kind, url }: ServiceAddress, { sum }: MetricsSample): string[] =>
  Object.entries(ALERT_COUNTERS).flatMap(([alert, { metric, labels, what, ...counter }]) => {
    const count = counter.kind === kind ? sum(metric, labels) : 0
    return count === 0
      ? []
      : [`${kind} ${url}: ${counted(count, ...what)} since its start. See the alert ${alert} in docs/runbook.md.`]
  })
