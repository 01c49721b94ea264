import type { Drift } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { driftLines } from './print-drift.ts'

const found: Drift = {
  kind: 'unknown-field',
  type: 'boolean',
  path: 'customer.vip',
  first: Date.UTC(2026, 10, 27, 8),
  last: Date.UTC(2026, 10, 28, 9),
  events: 1234,
}

it('the drift report names each difference, with its events and times', () => {
  expect(driftLines([found], false)).toEqual([
    '1 difference between the events and the documentation:',
    '  customer.vip: unknown-field, boolean',
    '    in 1,234 compared events, first 2026-11-27 08:00:00 UTC, last 2026-11-28 09:00:00 UTC',
  ])
})

it('the drift report says that the list of differences was deleted', () => {
  expect(driftLines([found], true).at(-1)).toMatch(/^The list was deleted/)
})

it('the drift report says that there is no difference', () => {
  expect(driftLines([], false)).toEqual(['No differences: the compared events agree with the documentation.'])
})
