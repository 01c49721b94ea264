import { type Logger, loadSettings } from '@customer-stream/runtime'
import { type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createRedisCheck } from './redis-check.ts'

const setUp = (ping: () => Promise<void>) =>
  createRedisCheck({
    redis: {} as RedisClient,
    store: { ping, deniedCommands: async () => [] },
    settings: { ...loadSettings(redisSettings, { REDIS_URL: 'redis://a:1' }), READINESS_TIMEOUT_MS: 2000 },
    obstacles: { report: () => undefined },
    logger: {} as Logger,
  })

it('a Redis that answers has no problem', async () => {
  expect(await setUp(async () => undefined).outage()).toBeUndefined()
})

it('a Redis error is diagnosed', async () => {
  const check = setUp(async () => {
    throw new Error('NOAUTH Authentication required.')
  })
  expect(await check.outage()).toMatchObject({ blocked: true, reason: 'authentication' })
})

it('a Redis that does not answer in time is an outage', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const asked = setUp(() => new Promise<never>(() => {})).outage()
  await vi.advanceTimersByTimeAsync(2000)
  expect(await asked).toMatchObject({ blocked: false, reason: 'outage' })
})
