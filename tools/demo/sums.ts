import { number, wrapped } from '@customer-stream/cli/layout'
import type { SimulationProgress } from '@customer-stream/simulator'

/**
 * A total and its parts. The total and the parts come from different sources, so that an equal sum
 * is evidence.
 */
export interface Sum {
  readonly label: string
  readonly total: number
  readonly parts: readonly { readonly count: number; readonly text: string }[]
}

const sumOf = ({ parts }: Sum): number => parts.reduce((sum, { count }) => sum + count, 0)

export const addsUp = (sum: Sum): boolean => sumOf(sum) === sum.total

/** Returns `label total = part + part`, on several lines if the terminal is narrow. */
export const sumText = (sum: Sum, columns: number): string => {
  const start = `${addsUp(sum) ? '✔' : '✘'} ${sum.label} `
  const total = number(sum.total)
  const indent = start.length + total.length + 1
  // Use non-breaking spaces inside a part, so that a line breaks only before a plus sign.
  const parts = sum.parts.map(({ count, text }) => `${number(count)} ${text}`.replaceAll(' ', '\u00a0'))
  const lines = wrapped(`=\u00a0${parts.join(' +\u00a0')}`, columns - 1 - indent)
  const wrong = addsUp(sum) ? [] : [`but the parts are ${number(sumOf(sum))}`]
  return [`${start}${total} ${lines[0]}`, ...[...lines.slice(1), ...wrong].map((line) => ' '.repeat(indent) + line)]
    .join('\n')
    .replaceAll('\u00a0', ' ')
}

/** All counts of a sender that the sums need. */
export type SenderCounts = Pick<
  SimulationProgress,
  'attempts' | 'promised' | 'dropped' | 'refused' | 'timedOut' | 'failedConnections' | 'cutOff' | 'lost'
>

export const NOTHING_SENT: SenderCounts = {
  attempts: 0,
  promised: 0,
  dropped: 0,
  refused: 0,
  timedOut: 0,
  failedConnections: 0,
  cutOff: 0,
  lost: 0,
}

/** Adds the counts of two senders. */
export const together = (a: SenderCounts, b: SenderCounts): SenderCounts => ({
  attempts: a.attempts + b.attempts,
  promised: a.promised + b.promised,
  dropped: a.dropped + b.dropped,
  refused: a.refused + b.refused,
  timedOut: a.timedOut + b.timedOut,
  failedConnections: a.failedConnections + b.failedConnections,
  cutOff: a.cutOff + b.cutOff,
  lost: a.lost + b.lost,
})

/** Returns the number of requests without a 202, except those that the sender cut off itself. */
export const failedRequests = (counts: SenderCounts): number =>
  counts.refused + counts.timedOut + counts.failedConnections + counts.cutOff

/**
 * Returns the number of all requests, as a sum of the numbers for each result.
 * @param ledgerLines number of 202s in the ledger.
 */
export const sentSum = (counts: SenderCounts, ledgerLines: number): Sum => ({
  label: 'sent',
  total: counts.attempts,
  parts: [
    { count: ledgerLines, text: 'answered 202' },
    { count: counts.dropped, text: 'answers torn off, sent again' },
    ...(failedRequests(counts) > 0 ? [{ count: failedRequests(counts), text: 'failed, sent again' }] : []),
  ],
})

export type Outcomes = Readonly<Record<'applied' | 'stale' | 'duplicate' | 'quarantined', number>>

/**
 * Returns the number of records in the customers topic, as a sum of the numbers for each outcome.
 * @param records number of records in Kafka.
 */
export const readSum = (records: number, { applied, stale, duplicate, quarantined }: Outcomes): Sum => ({
  label: 'read',
  total: records,
  parts: [
    { count: applied, text: 'newest' },
    { count: stale, text: 'older, ignored' },
    { count: duplicate, text: 'repeats, ignored' },
    ...(quarantined > 0 ? [{ count: quarantined, text: 'unusable, in quarantine' }] : []),
  ],
})

/**
 * Returns the number of records in Kafka, as a sum of the numbers for each topic.
 * @param stored number of records between the first and the last offsets.
 */
export const storedSum = (stored: number, read: { readonly customers: number; readonly other: number }): Sum => ({
  label: 'in Kafka',
  total: stored,
  parts: [
    { count: read.customers, text: 'of customers' },
    { count: read.other, text: 'of other types' },
  ],
})
