import { freePorts, freshNames, type RedisWithSentinels, startRedisWithSentinels } from '@customer-stream/testing'
import { silentLogger } from '@customer-stream/testing/vitest'
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished, vi } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { waitUntil } from '../process/wait-until.ts'
import {
  connectRedis,
  createRedis,
  createRedisDiagnose,
  type Redis,
  type RedisClient,
  redisRules,
  redisSettings,
} from './index.ts'

let site: RedisWithSentinels
const clients: RedisClient[] = []
beforeAll(async () => {
  site = await startRedisWithSentinels({ password: 'sentinel-password' })
  await site.untilWatched()
}, 60_000)
afterEach(() => {
  for (const each of clients.splice(0)) each.disconnect()
})
afterAll(() => site?.stop())

const open = (env: Readonly<Record<string, string>>) => {
  const settings = loadSettings(redisSettings, { ...env, REDIS_COMMAND_TIMEOUT_MS: '1000' }, redisRules)
  const redis = createRedis(settings, silentLogger)
  clients.push(redis)
  return { redis, diagnose: createRedisDiagnose(settings, redis) }
}
const diagnosisWith = async (env: Readonly<Record<string, string>>) => {
  const { redis, diagnose } = open(env)
  return connectRedis(redis).then(
    () => 'connected',
    (error: Error) => diagnose(error),
  )
}

it('if no Sentinel answers, the error names each Sentinel with its reason', async () => {
  const [port] = await freePorts(1)
  expect(await diagnosisWith({ ...site.env, REDIS_SENTINELS: `127.0.0.1:${port},127.0.0.1:1` })).toMatchObject({
    blocked: false,
    message: expect.stringMatching(
      new RegExp(
        `mymaster has Sentinels that do not answer.*127\\.0\\.0\\.1:${port} \\(no connection\\).*REDIS_SENTINELS`,
      ),
    ),
  })
})

it('the error names a primary that the Sentinels do not know', async () => {
  expect(await diagnosisWith({ ...site.env, REDIS_URL: 'redis://other' })).toMatchObject({
    blocked: true,
    reason: 'address',
    message: expect.stringContaining('knows no primary "other"'),
  })
})

it('the error names the Sentinel password if Sentinel refuses the login', async () => {
  expect(await diagnosisWith({ ...site.env, REDIS_SENTINEL_PASSWORD: 'wrong' })).toMatchObject({
    blocked: true,
    reason: 'authentication',
    message: expect.stringContaining('REDIS_SENTINEL_PASSWORD'),
  })
})

it('the client finds the new primary after the old primary was killed', async () => {
  const { redis } = open(site.env)
  const key = `${freshNames().keyPrefix}n`
  await connectRedis(redis)
  await redis.set(key, '1')
  const killed = await site.primary()
  await killed.kill()
  await waitUntil(
    'the client writes to another server',
    () => redis.incr(key).catch(String),
    (n) => typeof n === 'number',
  )
  expect(await site.primary()).not.toBe(killed)
  await killed.restart()
  const role = () => redis.info('replication').catch(String)
  await waitUntil('the old primary is a replica in sync', role, (info) =>
    /connected_slaves:1\r[\s\S]*state=online/.test(info),
  )
  expect(await redis.incr(key)).toBeGreaterThan(1)
}, 60_000)

it('the client connects again if a failover is announced while the client asks the Sentinels', async () => {
  const { redis } = open(site.env)
  await connectRedis(redis)
  const { connector } = redis as unknown as { readonly connector: { disconnect(): void } }
  const ended = new Promise((resolve) => redis.once('end', resolve))
  // ioredis calls this function when a Sentinel announces a failover.
  redis.once('connecting', () => connector.disconnect())
  ;(redis as Redis).disconnect(true)
  await ended
  await waitUntil(
    'the client is connected',
    () => redis.ping().catch(String),
    (reply) => reply === 'PONG',
  )
})

it('the error names the address of a primary that cannot be reached', async () => {
  const { redis, diagnose } = open(site.env)
  await connectRedis(redis)
  const servers = [...site.servers]
  for (const server of servers) await server.kill()
  const failure = () =>
    connectRedis(redis).then(
      () => 'connected',
      (error: Error) => diagnose(error).message,
    )
  await waitUntil('the message names the address', failure, (message) =>
    /has a primary that cannot be reached \(Sentinel names 127\.0\.0\.1:\d+ as the primary: .*ECONNREFUSED/.test(
      message,
    ),
  )
  for (const server of servers) await server.restart()
  await waitUntil(
    'the client is connected',
    () => redis.ping().catch(String),
    (reply) => reply === 'PONG',
  )
}, 60_000)

it('ioredis prints nothing to stderr while one Sentinel is down', async () => {
  const printed = vi.spyOn(console, 'error').mockImplementation(() => {})
  onTestFinished(() => printed.mockRestore())
  const { redis } = open({ ...site.env, REDIS_SENTINELS: `${site.env.REDIS_SENTINELS},127.0.0.1:1` })
  const retried = new Promise((resolve) => redis.once('sentinelReconnecting', resolve))
  await connectRedis(redis)
  await retried
  expect(printed).not.toHaveBeenCalled()
})
