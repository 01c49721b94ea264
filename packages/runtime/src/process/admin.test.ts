import { expect, it } from 'vitest'
import { answerOf, readinessCheck } from './admin.ts'

it('a check without a problem is ready', () => {
  expect(readinessCheck('kafka', undefined)).toEqual({ name: 'kafka', ready: true })
})

it('a check with a problem is not ready, and its text is limited', () => {
  expect(readinessCheck('kafka', 'no broker')).toEqual({ name: 'kafka', ready: false, detail: 'no broker' })
  expect(readinessCheck('kafka', 'x'.repeat(10_000)).detail?.length).toBeLessThan(1000)
})

it('answerOf rejects with the server’s error, or with ETIMEDOUT without an answer', async () => {
  await answerOf(async () => 'anything', 1000)
  await expect(answerOf(() => Promise.reject(new Error('no broker')), 1000)).rejects.toThrow('no broker')
  await expect(answerOf(() => new Promise(() => {}), 5)).rejects.toMatchObject({
    code: 'ETIMEDOUT',
    message: 'no answer within 5 ms',
  })
})
