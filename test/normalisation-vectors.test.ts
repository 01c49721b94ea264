import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { normalisationFile, normalisationVectors } from '../tools/generate-normalisation.ts'

const stored = readFileSync(normalisationFile, 'utf8')
const vectors: readonly { kind: string; country?: string; input: string; expect: string | null }[] = JSON.parse(stored)

it('the normalisation vectors agree with their generator (if not: npm run docs)', () => {
  expect(stored).toBe(normalisationVectors())
})

it('different spellings of a phone number have one index term', () => {
  const termsOf = (digits: string) =>
    vectors.filter(({ kind, input }) => kind === 'phone' && input.replace(/\D/g, '').endsWith(digits))
  const terms = termsOf('4152002671').map((vector) => vector.expect)
  expect(terms.length).toBeGreaterThan(5)
  expect(new Set(terms)).toEqual(new Set(['+14152002671']))
})

it('each term for a phone number, e-mail address or VIN has its documented form', () => {
  const forms: Readonly<Record<string, RegExp>> = { phone: /^\+[1-9]\d{6,14}$/, email: /^\S.*\S$/, vin: /^\S+$/ }
  for (const { kind, expect: term } of vectors) if (term !== null) expect(term).toMatch(forms[kind] ?? /$^/)
})
