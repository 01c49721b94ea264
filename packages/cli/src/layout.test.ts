import { expect, it } from 'vitest'
import { barText, clipped, columnsOf, fitted, folded, stepText } from './layout.ts'

const state = { label: 'events', done: 8612, total: 20_000, perSecond: 512.4, secondsLeft: 22.2, tail: '12 behind' }

it('a progress bar shows percentage, rate, time left, and a text at the end', () => {
  expect(barText(state, 80)).toBe('  events    ████████████░░░░░░░░░░░░░░░░░  43 %    512/s   23 s left  12 behind')
})

it.each([2, 10, 20, 30, 40, 50, 60, 61, 80, 200])('a progress bar never wraps in %i columns', (columns) => {
  for (const done of [0, 1, 8612, 19_999, 20_000, 20_001])
    for (const secondsLeft of [undefined, 0, 12_345])
      expect(barText({ ...state, done, secondsLeft, perSecond: 123_456 }, columns).length, `done ${done}`).toBeLessThan(
        columns,
      )
})

it('a progress bar in 60 columns keeps percentage, rate and time left', () => {
  const text = barText({ ...state, tail: '1,234 of 1,251 customers' }, 60)
  expect(text).toMatch(/█+░+ +43 % +512\/s +23 s left$/)
  expect(barText(state, 200)).toMatch(/12 behind$/)
})

it('a progress bar is full only at the end', () => {
  expect(barText({ ...state, done: 19_999 }, 200)).toContain('░  99 %')
  expect(barText({ ...state, done: 20_000 }, 200)).toContain('█ 100 %')
})

it('a full progress bar shows no time left, even if the rate is not known', () => {
  const full = { ...state, done: 20_000, perSecond: 0, secondsLeft: undefined }
  expect(barText(full, 200)).toMatch(/█ 100 % +0\/s +0 s left {2}12 behind$/)
  expect(barText({ ...full, done: 19_999 }, 200)).toContain('? s left')
})

it('a step shows its duration at the right, and continues a long text on the next line', () => {
  const text = 'each partition has another leader, and the sender gets 202 again'
  expect(stepText({ mark: '✔', label: 'leader', text, ms: 2949 }, 60).split('\n')).toEqual([
    '✔ leader    each partition has another leader, and    2.9 s',
    '            the sender gets 202 again',
  ])
  expect(stepText({ mark: '✔', label: 'leader', text, ms: 2949 }, 200)).toBe(`✔ leader    ${text.padEnd(68)}   2.9 s`)
})

it('a text that is too long for the line ends with an ellipsis', () => {
  expect(clipped('abcdef', 7)).toBe('abcdef')
  expect(clipped('abcdef', 6)).toBe('abcd…')
})

const WIDTHS = [40, 80, 200]
const withoutSpaces = (text: string) => text.replaceAll(/\s/g, '')
const ROWS = [
  '2026-11-28 00:00:00.000 2026-11-28 00:00:01.000 11/12345678   older, ignored  ◀ in Redis  a7b9c1d3-e5f7',
  'lag          3 records in 2 of 12 partitions, the oldest for 5 min 3 s, 120 applied/s, about 3 s left',
  `  Redis      mykaarma:customer:{${'Wq7nJhXtGpBmNd3K'.repeat(6)}}, projection 1`,
  `  firstName                ${'山田'.repeat(60)} \u{1f600}`,
  `${' '.repeat(70)}far to the right`,
  '',
]

it.each(WIDTHS)('a text folded for %i columns has no wider line, and no character is missing', (columns) => {
  for (const row of ROWS) {
    const lines = folded(row, columns).split('\n')
    for (const line of lines) expect(columnsOf(line), line).toBeLessThanOrEqual(columns)
    expect(withoutSpaces(lines.join(''))).toBe(withoutSpaces(row))
  }
})

it('the rest of a folded line starts at the second column of a table, or two spaces further right', () => {
  expect(folded('lag          3 records in 2 of 12 partitions', 40)).toBe(
    'lag          3 records in 2 of 12\n             partitions',
  )
  expect(folded('  the records of this partition are not applied', 40)).toBe(
    '  the records of this partition are not\n    applied',
  )
})

it('a text for a pipe is not folded', () => {
  const wide = 'x '.repeat(500)
  expect(fitted(wide, { columns: 40 })).toBe(wide)
  expect(fitted(wide, { isTTY: true, columns: 0 })).toBe(wide)
  expect(fitted(wide, { isTTY: true, columns: 40 }).split('\n').length).toBeGreaterThan(20)
})
