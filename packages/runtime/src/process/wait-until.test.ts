import { expect, it } from 'vitest'
import { waitUntil } from './wait-until.ts'

it('a wait of one second asks fewer than 40 times', async () => {
  let asked = 0
  const startedAt = performance.now()
  await waitUntil(
    'a second is over',
    () => {
      asked += 1
      return performance.now() - startedAt
    },
    (waitedMs) => waitedMs > 1000,
  )
  expect(asked).toBeLessThan(40)
})

it('a wait with a given pause asks again after this pause', async () => {
  const times: number[] = []
  await waitUntil(
    'it was asked 20 times',
    () => times.push(performance.now()),
    (asked) => asked === 20,
    { pauseMs: 1 },
  )
  expect(times.at(-1)! - times[0]!).toBeGreaterThan(15)
})

it('a wait fails at its deadline, and the error has the last answer', async () => {
  const late = waitUntil(
    'it is 2',
    () => 1,
    (answer) => answer > 1,
    { timeoutMs: 50 },
  )
  await expect(late).rejects.toThrow('not true after 50 ms: it is 2; last seen: 1')
})
