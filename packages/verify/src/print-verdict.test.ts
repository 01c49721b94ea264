import { expect, it } from 'vitest'
import { isSound, verdictLines } from './print-verdict.ts'
import type { Verdict } from './verify.ts'

const sound: Verdict = {
  hasLedger: true,
  promises: 1,
  promisedEvents: 1,
  missing: [],
  missingCount: 0,
  records: { customers: 1, other: 0, unusable: 0, quarantined: 0 },
  unusableByReason: {},
  notQuarantined: { count: 0, places: [] },
  unreadable: { count: 0, places: [] },
  openTransactions: [],
  customers: 1,
  erased: { all: 0, selected: 0, wrong: 0 },
  newer: 0,
  wrong: [],
  wrongCount: 0,
  repairable: [],
  repairableCount: 0,
}

it.each<[string, Partial<Verdict>, string]>([
  ['no customer', { customers: 0 }, '  nothing was compared'],
  ['a ledger without a promise', { promises: 0 }, '  nothing was compared'],
  [
    'an unusable record that is not in quarantine',
    { notQuarantined: { count: 2, places: ['t/0/1'] } },
    '  not in quarantine: record t/0/1\n  and 1 more, not named here',
  ],
  ['more wrong customers than are named', { wrongCount: 3 }, '  and 3 more, not named here'],
  [
    'records behind an open transaction',
    { openTransactions: [{ topic: 't', partition: 2, offset: '5', records: 7 }] },
    '  open transaction: 7 records of t/2 at and after offset 5 were not verified; end the ' +
      'transaction (kafka-transactions.sh find-hanging, abort) and verify again',
  ],
])('a verdict on %s is not sound, and explains the problem', (_, changed, reason) => {
  expect(isSound(sound)).toBe(true)
  expect(isSound({ ...sound, ...changed })).toBe(false)
  expect(verdictLines({ ...sound, ...changed }).join('\n')).toContain(`\n${reason}`)
})

it('a verdict without acknowledged events is sound if no ledger was given', () => {
  expect(isSound({ ...sound, hasLedger: false, promises: 0 })).toBe(true)
})

it('the verdict counts erased customers separately from compared customers', () => {
  const erased = { all: 3, selected: 2, wrong: 1 }
  const records = { ...sound.records, state: 9, erasures: 3 }
  const lines = verdictLines({ ...sound, records, customers: 7, erased, wrongCount: 5 })
  const counts = lines.filter((line) => /customers (compared|erased)|of these (wrong|still)/.test(line))
  expect(counts.map((line) => line.trim().replace(/ {2,}/g, '  '))).toEqual([
    'customers compared, every field  5',
    'of these wrong in Redis or in the state topic  4  ✘',
    'customers erased  3',
    'of these still in Redis or in the state topic  1  ✘',
  ])
  expect(verdictLines(sound).join('\n')).not.toContain('erased')
})

it('the verdict counts unusable records by reason', () => {
  const lines = verdictLines({
    ...sound,
    records: { ...sound.records, unusable: 3 },
    unusableByReason: { 'not-json': 2, 'missing-type': 1 },
  })
  expect(lines.find((line) => line.includes('unusable'))).toMatch(/of these unusable +3 {2}not-json 2, missing-type 1/)
})

it('the verdict prints every id as plain ASCII text', () => {
  const ids = [
    'plain id',
    'a\u001b[31m',
    'b\u009b31m',
    'Zoë',
    'c\ud800',
    ...Array.from({ length: 30 }, (_, i) => `c${i}`),
  ]
  const wrong = ids.map((customerUuid) => ({ customerUuid, reason: 'r' }))
  const named = verdictLines({ ...sound, wrong, wrongCount: wrong.length }).slice(-ids.length)
  expect(named.slice(0, 6)).toEqual(
    ['plain id', '"a\\u001b[31m"', '"b\\u009b31m"', '"Zo\\u00eb"', '"c\\ud800"', 'c0'].map(
      (id) => `  wrong: customer ${id} r`,
    ),
  )
  expect(named.at(-1)).toBe('  wrong: customer c29 r')
})

it('a verdict names batches that cannot be read, and is sound if all customers are right', () => {
  const found = { ...sound, unreadable: { count: 1, places: ['state/5/1767'] } }
  expect(isSound(found)).toBe(true)
  expect(verdictLines(found)).toContain('  cannot be read: the batch of records at state/5/1767')
})

it('the verdict counts the entries of the indexes only if it has compared them', () => {
  const lines = (records: Verdict['records']) => verdictLines({ ...sound, records }).join('\n')
  expect(lines(sound.records)).not.toContain('indexes')
  expect(lines({ ...sound.records, indexEntries: 12 })).toMatch(/\n {2}entries of the indexes compared +12 /)
})
