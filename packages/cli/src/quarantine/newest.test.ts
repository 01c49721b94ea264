import { expect, it } from 'vitest'
import { createNewest } from './newest.ts'

/**
 * Adds a value for each of these times, and returns the kept values. A value is the index of its
 * time.
 */
const kept = (limit: number, times: readonly number[]) => {
  const newest = createNewest<number>(limit)
  for (const [i, time] of times.entries()) newest.add(time, i)
  return newest.inOrder()
}

it.each([
  [Number.POSITIVE_INFINITY, [2, 4, 3, 0, 1]],
  [2, [0, 1]],
  [0, []],
])('with the limit %d, the newest values are kept, from the oldest to the newest', (limit, expected) => {
  expect(kept(limit, [50, 60, 10, 40, 20])).toEqual(expected)
})

it('values with the same time keep their order', () => {
  expect(kept(3, [7, 7, 7, 7])).toEqual([1, 2, 3])
})

it('only the newest of very many values are kept', () => {
  const times = Array.from({ length: 10_000 }, (_, i) => (i * 7919) % 10_000)
  expect(kept(3, times).map((i) => times[i])).toEqual([9997, 9998, 9999])
})
