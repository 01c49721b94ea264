import { number } from '@customer-stream/cli/layout'
import { isSound, VERDICT_LEGEND, type Verdict, verdictLines } from '@customer-stream/verify'

/** Counts of the senders, to compare with the verdict. */
export interface Expected {
  readonly promisedEvents: number
  readonly lost: number
}

/**
 * Returns true if nothing is missing or wrong, and if the verdict includes all events that were
 * sent.
 */
export const isKept = (verdict: Verdict, { promisedEvents, lost }: Expected): boolean =>
  isSound(verdict) && verdict.promisedEvents === promisedEvents && lost === 0

const mark = (isGood: boolean): string => (isGood ? '✔' : '✘')

/**
 * Returns the verdict in short lines. If something is missing or wrong, the whole verdict follows.
 */
export const verdictText = (verdict: Verdict, expected: Expected): string => {
  const { promisedEvents, missingCount, customers, wrongCount } = verdict
  const isComplete = missingCount === 0 && promisedEvents === expected.promisedEvents
  return [
    `${mark(isComplete)} ${number(promisedEvents - missingCount)} of ${number(expected.promisedEvents)} ` +
      'events answered 202 are in Kafka',
    `${mark(wrongCount === 0)} ${number(customers - wrongCount)} of ${number(customers)} ` +
      'customers in Redis have their newest event',
    ...(expected.lost > 0 ? [`✘ ${number(expected.lost)} events got no 202 in six attempts`] : []),
    ...(isSound(verdict) ? [] : ['', ...VERDICT_LEGEND, ...verdictLines(verdict)]),
  ].join('\n')
}
