import type { Verdict } from '@customer-stream/verify'
import { expect, it } from 'vitest'
import { isKept, verdictText } from './verdict.ts'

const verdict: Verdict = {
  hasLedger: true,
  promises: 1050,
  promisedEvents: 1003,
  missing: [],
  missingCount: 0,
  records: { customers: 950, other: 100, unusable: 0, quarantined: 0 },
  unusableByReason: {},
  notQuarantined: { count: 0, places: [] },
  unreadable: { count: 0, places: [] },
  openTransactions: [],
  erased: { all: 0, selected: 0, wrong: 0 },
  customers: 80,
  newer: 0,
  wrong: [],
  wrongCount: 0,
  repairable: [],
  repairableCount: 0,
}
const expected = { promisedEvents: 1003, lost: 0 }

it('a verdict without problems has one short line for Kafka and one for Redis', () => {
  const lines = verdictText(verdict, expected).split('\n')
  expect(lines).toEqual([
    '✔ 1,003 of 1,003 events answered 202 are in Kafka',
    '✔ 80 of 80 customers in Redis have their newest event',
  ])
  expect(isKept(verdict, expected)).toBe(true)
})

it.each([
  ['an event is missing in Kafka', { ...verdict, missingCount: 1 }, expected],
  ['a customer is wrong in Redis', { ...verdict, wrongCount: 1 }, expected],
  [
    'an unusable record is not in quarantine',
    { ...verdict, notQuarantined: { count: 1, places: ['t/0/1'] } },
    expected,
  ],
  ['the ledger lacks an event that was answered with 202', verdict, { promisedEvents: 1004, lost: 0 }],
  ['an event was given up after six attempts', verdict, { promisedEvents: 1003, lost: 1 }],
])('the demo reports that the verdict failed if %s', (_, found, wanted) => {
  expect(isKept(found, wanted)).toBe(false)
  expect(verdictText(found, wanted)).toContain('✘')
})
