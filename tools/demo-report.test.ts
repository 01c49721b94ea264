import { expect, it } from 'vitest'
import { progressText, sumLines, type Totals } from './demo-report.ts'

const totals: Totals = {
  sender: {
    attempts: 21_500,
    promises: 20_980,
    dropped: 420,
    refused: 60,
    timedOut: 10,
    failedConnections: 20,
    cutOff: 10,
    repeats: 1000,
    lost: 0,
  },
  posted: 2,
  outcomes: { applied: 16_000, stale: 3000, duplicate: 1450, quarantined: 0 },
  customers: 2000,
  verdict: { records: { customers: 20_400, other: 1000, unusable: 0, quarantined: 0 }, customers: 1999 },
}
const numbers = (lines: readonly string[]) =>
  lines.map((line) => Number(/^\s*([\d,]+)/.exec(line)?.[1]?.replace(',', '')))

it('shows each total beside its parts', () => {
  const [requests = 0, answered = 0, torn = 0, failed = 0, stored = 0, other = 0, ofCustomers = 0, ...outcomes] =
    numbers(sumLines(totals))
  expect(answered + torn + failed).toBe(requests)
  expect(other + ofCustomers).toBe(stored)
  const [applied = 0, stale = 0, duplicate = 0, twice = 0] = outcomes
  expect(applied + stale + duplicate - twice).toBe(ofCustomers)
})

it('explains a missing customer, and shows events that were given up', () => {
  const text = sumLines({ ...totals, sender: { ...totals.sender, lost: 3 } }).join('\n')
  expect(text).toContain('1,999   customers in Redis; the other 1 of 2,000 drew no event')
  expect(text).toContain('3   events given up after six attempts')
  expect(sumLines(totals).join('\n')).not.toContain('given up')
})

it('shows percentage, rate and lag, also an unknown lag', () => {
  const progress = { promised: 8612, events: 20_000, perSecond: 512.4, lag: 12 }
  expect(progressText(progress)).toBe(' 43 %   8,612 of 20,000 promised     512/s   lag 12')
  expect(progressText({ ...progress, lag: Number.POSITIVE_INFINITY })).toMatch(/lag \?$/)
})
