import type { MetricsSample } from '@customer-stream/runtime'
import type { ServiceKind } from './service-probe.ts'

/** Rates of all services together, in requests or records per second. */
export interface Rates {
  /** Requests answered with 202. Null if no ingress gave its metrics. */
  readonly accepted: number | null
  /** Requests with an answer other than 202 and 503. Null if no ingress gave its metrics. */
  readonly refused: number | null
  /** Requests answered with 503. */
  readonly unavailable: number
  /** Records by outcome. Empty if no projector gave its metrics. */
  readonly outcomes: Readonly<Record<string, number>>
}

/** The metrics of one service, read twice. */
export interface TwoSamples {
  readonly kind: ServiceKind
  readonly before: MetricsSample
  readonly after: MetricsSample
}

const OUTCOMES = ['applied', 'duplicate', 'stale', 'erased', 'quarantined']

/**
 * Returns the increase of a counter per second. If the counter is lower than before, the process is
 * new and began at 0.
 */
const rateOf = ({ before, after }: TwoSamples, name: string, labels: Readonly<Record<string, string>> = {}): number => {
  const increase = after.sum(name, labels) - before.sum(name, labels)
  return Math.max(0, increase) / Math.max(0.001, (after.at - before.at) / 1000)
}

/** Returns the rates between the samples. Undefined if there are no samples. */
export const ratesOf = (samples: readonly TwoSamples[]): Rates | undefined => {
  if (samples.length === 0) return undefined
  const of = (kind: ServiceKind) => samples.filter((each) => each.kind === kind)
  const total = (kind: ServiceKind, name: string, labels?: Readonly<Record<string, string>>) =>
    of(kind).reduce((sum, each) => sum + rateOf(each, name, labels), 0)
  const answers = (labels?: Readonly<Record<string, string>>) => total('ingress', 'ingress_answers_total', labels)
  const [accepted, unavailable] = [answers({ answer: 'accepted' }), answers({ answer: 'unavailable' })]
  const hasIngress = of('ingress').length > 0
  const outcomes = OUTCOMES.map(
    (outcome) => [outcome, total('projector', 'projector_events_total', { outcome })] as const,
  )
  return {
    accepted: hasIngress ? accepted : null,
    refused: hasIngress ? Math.max(0, answers() - accepted - unavailable) : null,
    unavailable,
    outcomes: of('projector').length > 0 ? Object.fromEntries(outcomes) : {},
  }
}
