import { expect, it } from 'vitest'
import { readinessOf } from './admin.ts'

it('is ready when it answers', async () => {
  expect(await readinessOf('kafka', async () => 'anything', 1000)).toEqual({ name: 'kafka', ready: true })
})

it('is not ready when it fails, and says why, but not at any length', async () => {
  expect(await readinessOf('kafka', () => Promise.reject(new Error('no broker')), 1000)).toEqual({
    name: 'kafka',
    ready: false,
    detail: 'no broker',
  })
  const { detail } = await readinessOf('kafka', () => Promise.reject(new Error('x'.repeat(10_000))), 1000)
  expect(detail?.length).toBeLessThan(500)
})

it('is not ready when it does not answer in time', async () => {
  expect(await readinessOf('redis', () => new Promise(() => {}), 5)).toEqual({
    name: 'redis',
    ready: false,
    detail: 'no answer within 5 ms',
  })
})
