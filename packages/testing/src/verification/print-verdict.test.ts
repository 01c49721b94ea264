import { expect, it } from 'vitest'
import { isSound, verdictLines } from './print-verdict.ts'
import type { Verdict } from './verify.ts'

const sound: Verdict = {
  hasLedger: true,
  promises: 1,
  promisedEvents: 1,
  missing: [],
  records: { customers: 1, other: 0, unusable: 0 },
  customers: 1,
  newer: 0,
  wrong: [],
}

it.each<[string, Partial<Verdict>]>([
  ['no customer', { customers: 0 }],
  ['a ledger without a promise', { promises: 0 }],
])('calls a verdict on %s unsound, and says why', (_, changed) => {
  expect(isSound(sound)).toBe(true)
  expect(isSound({ ...sound, ...changed })).toBe(false)
  expect(verdictLines({ ...sound, ...changed }).at(-1)).toBe('  nothing was compared')
})

it('needs no promise where no ledger was given', () => {
  expect(isSound({ ...sound, hasLedger: false, promises: 0 })).toBe(true)
})

it('names every id, and lets none reach a terminal as anything but plain text', () => {
  const ids = ['plain id', 'a\u001b[31m', 'b\u009b31m', 'Zoë', 'c\ud800', ...Array.from({ length: 30 }, (_, i) => `c${i}`)]
  const named = verdictLines({ ...sound, wrong: ids.map((customerUuid) => ({ customerUuid, reason: 'r' })) }).slice(-ids.length)
  expect(named.slice(0, 6)).toEqual(
    ['plain id', '"a\\u001b[31m"', '"b\\u009b31m"', '"Zo\\u00eb"', '"c\\ud800"', 'c0'].map((id) => `  wrong: customer ${id} r`),
  )
  expect(named.at(-1)).toBe('  wrong: customer c29 r')
})
