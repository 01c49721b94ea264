import { makeCustomersEvent } from '@customer-stream/simulator'
import { expect, it } from 'vitest'
import { eventRows, outcomeBetween } from './one-customer.ts'

const none = { applied: 1, stale: 2, duplicate: 3, quarantined: 4 }

it('the demo finds the outcome of an event: the only outcome whose count has grown', () => {
  expect(outcomeBetween(none, none)).toBeUndefined()
  expect(outcomeBetween(none, { ...none, applied: 2 })).toBe('applied')
  expect(outcomeBetween(none, { ...none, stale: 3 })).toBe('stale')
})

it('the demo shows each event with version and outcome in 60 columns', () => {
  const made = makeCustomersEvent({ timestamp: Date.UTC(2026, 10, 26, 9, 5, 7, 8), id: '0b2d06f1-a456-4002' })
  const rows = eventRows([
    { made, lastName: 'Byron', outcome: 'newest: in Redis' },
    { made, lastName: 'Lovelace', outcome: 'late: ignored' },
  ])
  expect(rows[2]).toBe('  2.    09:05:07.008  0b2d06f1  Lovelace  late: ignored')
  for (const row of rows) expect(row.length).toBeLessThan(60)
})
