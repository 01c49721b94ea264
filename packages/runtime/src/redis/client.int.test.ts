import { setTimeout as sleep } from 'node:timers/promises'
import { freshNames, openTcpProxy, type TcpProxy } from '@customer-stream/testing'
import { silentLogger, startRedis, testRedisUrl } from '@customer-stream/testing/vitest'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { waitUntil } from '../process/wait-until.ts'
import {
  causeOf,
  connectRedis,
  createRedis,
  createRedisDiagnose,
  type Redis,
  type RedisClient,
  redisSettings,
} from './index.ts'

// The proxy between client and server can stall or cut connections.
const addressOf = (url: string) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) })
let network: TcpProxy
let target: { host: string; port: number }
let key: string
const ends: (() => unknown)[] = []
beforeEach(async () => {
  key = `${freshNames().keyPrefix}n`
  target = addressOf(testRedisUrl())
  network = await openTcpProxy(target)
  ends.push(() => network.close())
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const connect = async (url: string, commandTimeoutMs = 5000): Promise<RedisClient> => {
  const settings = loadSettings(redisSettings, { REDIS_URL: url, REDIS_COMMAND_TIMEOUT_MS: String(commandTimeoutMs) })
  const redis = createRedis(settings, silentLogger)
  await redis.connect()
  ends.push(() => redis.disconnect())
  return redis
}
const throughNetwork = (commandTimeoutMs?: number) => connect(`redis://127.0.0.1:${network.port}`, commandTimeoutMs)
const untilStatus = (redis: RedisClient, what: string, satisfied: (status: string) => boolean) =>
  waitUntil(what, () => redis.status, satisfied, { timeoutMs: 5000 })

describe('a server that hangs', () => {
  it('a command without an answer fails after REDIS_COMMAND_TIMEOUT_MS', async () => {
    const redis = await throughNetwork(200)
    network.set('stalled')
    await expect(redis.ping()).rejects.toThrow('Command timed out')
  })

  it('causeOf returns the timeout that closed a connection to a hanging server', async () => {
    const redis = (await throughNetwork()) as Redis
    network.set('stalled')
    const failed = redis.ping().catch((error: Error) => error)
    // ioredis destroys the stream in this way after `socketTimeout`.
    redis.stream.destroy(new Error('Socket timeout'))
    const failure = (await failed) as Error
    expect(failure.message).toContain('max retries per request')
    expect(causeOf(redis)(failure).message).toBe('Socket timeout')
  })

  it('a timeout of a command ends the connection, and the next connection works', async () => {
    const redis = await throughNetwork(200)
    network.set('stalled')
    await expect(redis.ping()).rejects.toThrow()
    await untilStatus(redis, 'the connection is dropped', (status) => status !== 'ready')
    network.set('open')
    await untilStatus(redis, 'there is a new connection', (status) => status === 'ready')
    expect(await redis.ping()).toBe('PONG')
  })
})

describe('a database that does not exist', () => {
  it('a missing database is an error, and nothing is written to database 0', async () => {
    const settings = loadSettings(redisSettings, { REDIS_URL: `${testRedisUrl()}/9999` })
    const redis = createRedis(settings, silentLogger)
    ends.push(() => redis.disconnect())
    await expect(connectRedis(redis)).rejects.toThrow()
    // Without the workaround, ioredis soon reports that the connection is ready, in database 0.
    for (let attempt = 0; attempt < 20; attempt++) {
      await expect(redis.set(key, '')).rejects.toThrow("Stream isn't writeable")
      await sleep(20)
    }
    expect(createRedisDiagnose(settings, redis)(new Error("Stream isn't writeable")).message).toContain(
      'DB index is out of range',
    )
  })
})

describe('a connection that is lost', () => {
  it('without a connection a command fails immediately, and is not sent later', async () => {
    const redis = await throughNetwork()
    network.set('cut')
    await untilStatus(redis, 'the client has noticed the loss', (status) => status !== 'ready')
    await expect(redis.incr(key)).rejects.toThrow("Stream isn't writeable")
    network.set('open')
    await untilStatus(redis, 'the client is connected again', (status) => status === 'ready')
    expect(await redis.get(key)).toBeNull()
  })

  it('a command fails immediately if its connection is lost, and is not sent again', async () => {
    const direct = await connect(testRedisUrl())
    const redis = await throughNetwork()
    // The server never replies to these two commands, so they are in flight when the connection is
    // lost.
    const silenced = redis.call('CLIENT', 'REPLY', 'OFF').catch((error: Error) => error)
    const failed = redis.incr(key).catch((error: Error) => error)
    await waitUntil(
      'the server has executed the command',
      () => direct.get(key),
      (value) => value === '1',
    )
    network.set('cut')
    network.set('open')
    const [failure] = (await Promise.all([failed, silenced])) as [Error, Error]
    expect(failure.message).toContain('max retries per request')
    expect(causeOf(redis)(failure).message).toMatch(/ECONNRESET|closed before the reply/)
    await untilStatus(redis, 'the client is connected again', (status) => status === 'ready')
    expect(await redis.get(key)).toBe('1')
  })
})

it('a client reconnects to the same address after its primary became a replica', async () => {
  // Use no append-only file, because a Redis that rewrites the file for its replica needs ten
  // seconds to stop.
  const old = await startRedis({ args: ['--appendonly', 'no'] })
  ends.push(() => old.stop())
  Object.assign(target, addressOf(old.url))
  const redis = await throughNetwork()
  expect(await redis.set(key, 'before')).toBe('OK')
  const primary = addressOf(testRedisUrl())
  await (await connect(old.url)).replicaof(primary.host, primary.port)
  Object.assign(target, primary)
  await waitUntil(
    'the client writes to the new primary',
    () => redis.set(key, 'after').catch((error: Error) => error.message),
    (answer) => answer === 'OK',
    { timeoutMs: 5000 },
  )
  expect(await (await connect(testRedisUrl())).get(key)).toBe('after')
})
