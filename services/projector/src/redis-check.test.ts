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

it('the Redis check reports no problem if Redis answers', async () => {
  expect(await setUp(async () => undefined).outage()).toBeUndefined()
})

it('the Redis check passes a Redis error to the diagnosis', async () => {
  const check = setUp(async () => {
    throw new Error('NOAUTH Authentication required.')
  })
  expect(await check.outage()).toMatchObject({ blocked: true, reason: 'authentication' })
})

it('the Redis check reports an outage if Redis does not answer in time', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const asked = setUp(() => new Promise<never>(() => {})).outage()
  await vi.advanceTimersByTimeAsync(2000)
  expect(await asked).toMatchObject({ blocked: false, reason: 'outage' })
})
