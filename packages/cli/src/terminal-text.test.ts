import { expect, it } from 'vitest'
import { counted, duration, grouped, jsonLine, printable, shortened, utc } from './terminal-text.ts'

const ESCAPE = '\u001b[2J'
const CONTROLS = `${ESCAPE}\u009b2J\r\n\b\u007f\u202e\u2028\ufeff`

it('characters that could control the terminal are replaced by their codes', () => {
  expect(printable(`José 李${CONTROLS}`)).toBe(
    'José 李\\u{1b}[2J\\u{9b}2J\\u{d}\\u{a}\\u{8}\\u{7f}\\u{202e}\\u{2028}\\u{feff}',
  )
})

it('JSON output has no control character, and parses to the same value', () => {
  const value = { [`a${CONTROLS}`]: `José\u{e0001}${CONTROLS}` }
  const line = jsonLine(value)
  expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u)
  expect(JSON.parse(line)).toEqual(value)
})

it('a shortened text is followed by its full length', () => {
  expect(shortened('abc', 3)).toBe('abc')
  expect(shortened('a'.repeat(2000), 3)).toBe('aaa… (2,000 characters)')
})

it('a count is followed by its noun in singular or plural', () => {
  expect([counted(1, 'record'), counted(1234n, 'record'), counted(0, 'query', 'queries')]).toEqual([
    '1 record',
    '1,234 records',
    '0 queries',
  ])
})

it('a time span has at most two units', () => {
  const spans = [0, 59_400, 90_000, 3_600_000, 26 * 3_600_000, 40 * 86_400_000].map(duration)
  expect(spans).toEqual(['0 s', '59 s', '1 min 30 s', '1 h', '1 d 2 h', '40 d'])
})

it('a time outside the calendar is printed as a number', () => {
  expect(utc(0)).toBe('1970-01-01 00:00:00 UTC')
  expect(utc(Number.MAX_SAFE_INTEGER)).toBe('9007199254740991 ms')
})

it('a whole number has a comma before each three digits', () => {
  for (const count of [0, 123, 1234, 123_456, 1_234_567, Number.MAX_SAFE_INTEGER, -123, -1234, 10n ** 18n])
    expect(grouped(count)).toBe(count.toLocaleString('en'))
})
