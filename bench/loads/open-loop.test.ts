import { expect, it } from 'vitest'
import { openLoop } from './open-loop.ts'

it('an open loop does not wait for answers before it starts the next request', async () => {
  const dueAt: number[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const loop = openLoop({ perSecond: 1000, seconds: 0.05 }, (i, at) => {
    dueAt[i] = at
    if (i === 49) resolve()
    return promise
  })
  expect(await loop).toBeGreaterThanOrEqual(0)
  expect(dueAt).toHaveLength(50)
  const gaps = dueAt.slice(1).map((at, i) => at - dueAt[i]!)
  for (const gap of gaps) expect(gap).toBeCloseTo(1, 3)
})

it('an open loop fails as soon as a request fails', async () => {
  const failing = openLoop({ perSecond: 1000, seconds: 3600 }, async (i) => {
    if (i === 3) throw new Error('refused')
  })
  await expect(failing).rejects.toThrow('refused')
})
