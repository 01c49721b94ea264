import { expect, it } from 'vitest'
import { createRateLimit } from './rate-limit.ts'

it('a key may send the requests of one second at once, and more requests as time passes', () => {
  let now = 0
  const { allows } = createRateLimit(4, () => now)
  const next = (count: number) => Array.from({ length: count }, () => allows('a'))
  expect(next(5)).toEqual([true, true, true, true, false])
  now = 500
  expect(next(3)).toEqual([true, true, false])
  now = 60_000
  expect(next(5)).toEqual([true, true, true, true, false])
  expect(allows('b')).toBe(true)
})
