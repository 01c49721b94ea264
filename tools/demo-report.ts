import type { SimulationProgress } from '@customer-stream/simulator'
import type { Verdict } from '@customer-stream/verify'

export const number = (value: number): string => value.toLocaleString('en-US')

/** Explanation of the words in the progress line. */
export const LEGEND = `  promised   answered with 202: in Kafka on every in-sync replica, so the sender may forget the event
  lag        records in Kafka that are not in Redis yet`

export interface Progress {
  readonly promised: number
  readonly events: number
  readonly perSecond: number
  /** Records in Kafka that are not in Redis yet. Infinity if Kafka or Redis does not answer. */
  readonly lag: number
}

export const progressText = ({ promised, events, perSecond, lag }: Progress): string => {
  const percent = `${Math.floor((promised / events) * 100)} %`
  const rate = `${number(Math.round(perSecond))}/s`
  return (
    `${percent.padStart(5)}   ${number(promised)} of ${number(events)} promised   ${rate.padStart(7)}   lag ` +
    `${Number.isFinite(lag) ? number(lag) : '?'}`
  )
}

export interface Totals {
  readonly sender: Pick<
    SimulationProgress,
    'attempts' | 'promises' | 'dropped' | 'refused' | 'timedOut' | 'failedConnections' | 'cutOff' | 'repeats' | 'lost'
  >
  /** Events that the demo itself posted, each answered with 202. */
  readonly posted: number
  readonly outcomes: Readonly<Record<'applied' | 'stale' | 'duplicate' | 'quarantined', number>>
  readonly customers: number
  readonly verdict: Pick<Verdict, 'records' | 'customers'>
}

/** Returns a table with each total beside its parts, so that no number looks like a loss. */
export const sumLines = ({ sender, posted, outcomes, customers, verdict }: Totals): string[] => {
  const { attempts, promises, dropped, refused, timedOut, failedConnections, cutOff, lost } = sender
  const { records } = verdict
  const stored = records.customers + records.other
  const read = outcomes.applied + outcomes.stale + outcomes.duplicate + outcomes.quarantined
  const unheard = timedOut + failedConnections + cutOff
  const without = customers - verdict.customers
  const row = (count: number, text: string) => `  ${number(count).padStart(8)}   ${text}`
  return [
    row(attempts + posted, 'requests, of which'),
    row(promises + posted, '  were answered with 202'),
    row(dropped, '  had their connection torn on purpose, and were sent again'),
    row(refused + unheard, '  failed while a server was down, and were sent again'),
    ...(lost > 0 ? [row(lost, 'events given up after six attempts')] : []),
    row(stored, 'records in Kafka: each request that arrived, some of them twice after the kill'),
    row(records.other, '  of other types, kept for other subscribers'),
    row(records.customers, '  of customers, read by the projector:'),
    row(outcomes.applied, '    applied: became the state in Redis'),
    row(outcomes.stale, '    stale: a newer event of the customer was there, ignored'),
    row(outcomes.duplicate, '    duplicate: the same event again, ignored'),
    ...(outcomes.quarantined > 0 ? [row(outcomes.quarantined, '    quarantined: not usable')] : []),
    ...(read > records.customers
      ? [row(read - records.customers, '    counted twice: read again after Redis was killed')]
      : []),
    row(
      verdict.customers,
      `customers in Redis${without > 0 ? `; the other ${number(without)} of ${number(customers)} drew no event` : ''}`,
    ),
  ]
}
