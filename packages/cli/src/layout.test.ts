import { expect, it } from 'vitest'
import { barText, clipped, stepText } from './layout.ts'

const state = { label: 'events', done: 8612, total: 20_000, perSecond: 512.4, secondsLeft: 22.2, tail: '12 behind' }

it('a progress bar shows percentage, rate, time left and a last text', () => {
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

it('a step shows its duration at the right, and a long text below', () => {
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
