import { createObstacles, createRegistry } from '@customer-stream/runtime/service'
import { silentLogger } from '@customer-stream/testing/vitest'
import { expect, it } from 'vitest'
import { createReadiness, type ReadinessDependencies } from './readiness.ts'

const setUp = (changed: Partial<ReadinessDependencies> = {}) => {
  const obstacles = createObstacles(createRegistry('reader'), silentLogger)
  const stopping = new AbortController()
  const readiness = createReadiness({
    customers: { check: async () => undefined },
    kafka: { problem: undefined },
    quotaDelay: () => undefined,
    diagnose: ({ message }) => ({ blocked: false, reason: 'outage', message: `diagnosed: ${message}` }),
    obstacles,
    timeoutMs: 50,
    stopping: stopping.signal,
    ...changed,
  })
  return { ...readiness, obstacles, stopping }
}
const failing = { check: () => Promise.reject(new Error('no Redis')) }
const ready = { name: 'redis', ready: true }

it('the reader is ready if Redis answers', async () => {
  expect(await setUp().checks()).toMatchObject([ready, { name: 'kafka', ready: true }])
})

it('the reader is not ready if Redis fails, and shows the diagnosis', async () => {
  expect(await setUp({ customers: failing }).checks()).toMatchObject([
    { name: 'redis', ready: false, detail: 'diagnosed: no Redis' },
    { name: 'kafka', ready: true },
  ])
})

it('the reader is not ready if Redis does not answer in time', async () => {
  const silent = { check: () => new Promise<void>(() => {}) }
  const [redis] = await setUp({ customers: silent }).checks()
  expect(redis).toMatchObject({ name: 'redis', ready: false, detail: expect.stringMatching(/^diagnosed: /) })
})

it('the reader stays ready in an outage of Kafka, and shows the outage', async () => {
  const kafka = { problem: 'no broker answers' }
  expect(await setUp({ kafka }).checks()).toMatchObject([
    ready,
    { name: 'kafka', ready: true, detail: 'no broker answers' },
  ])
})

it('the reader is ready while a quota of Kafka delays it, and shows the quota', async () => {
  const checks = await setUp({ quotaDelay: () => 'delayed by 5 s' }).checks()
  expect(checks).toContainEqual({ name: 'kafka', ready: true, detail: 'delayed by 5 s' })
})

it('the reader is not ready during a shutdown, even if Redis answers', async () => {
  const { checks, stopping } = setUp()
  stopping.abort()
  expect(await checks()).toMatchObject([{ name: 'redis', ready: false, detail: 'stopping' }, { name: 'kafka' }])
})

it('the reader reports an outage of Redis and its end without a request to /readyz', async () => {
  let isAway = true
  const customers = { check: () => (isAway ? failing.check() : Promise.resolve()) }
  const { watch, obstacles } = setUp({ customers })
  await watch()
  expect(obstacles.worst?.message).toBe('diagnosed: no Redis')
  isAway = false
  await watch()
  expect(obstacles.worst).toBeUndefined()
})
