import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts, freshNames, startRedisCluster } from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import { silentLogger, startRedis } from '@customer-stream/testing/vitest'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { loadSettings } from '../process/settings.ts'
import { waitUntil } from '../process/wait-until.ts'
import { connectRedis, createRedis, createRedisDiagnose, type RedisClient, redisRules, redisSettings } from './index.ts'

const authority = createAuthority()
const client = authority.issue('projector')
const folder = mkdtempSync(join(tmpdir(), 'redis-tls-'))
const socket = join(folder, 'redis.sock')
const clients: RedisClient[] = []
let server: Awaited<ReturnType<typeof startRedis>>
let tlsPort: number
let plainUrl: string

/** Writes a file for the server. Returns its path. */
const file = (name: string, content: string): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

beforeAll(async () => {
  const { cert, key } = authority.issue('redis', ['127.0.0.1'])
  ;[tlsPort] = (await freePorts(1)) as [number]
  const files = ['--tls-cert-file', file('cert', cert), '--tls-key-file', file('key', key)]
  const args = ['--tls-port', `${tlsPort}`, '--tls-ca-cert-file', file('ca', authority.ca), ...files]
  server = await startRedis({ args: [...args, '--unixsocket', socket] }, 'local')
  plainUrl = server.url
})
afterEach(() => {
  for (const each of clients.splice(0)) each.disconnect()
})
afterAll(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true })
})

const open = (env: Readonly<Record<string, string>>) => {
  const settings = loadSettings(redisSettings, env, redisRules)
  const redis = createRedis(settings, silentLogger)
  clients.push(redis)
  return { redis, settings, diagnose: createRedisDiagnose(settings, redis) }
}
const tls = () => ({
  REDIS_URL: `rediss://127.0.0.1:${tlsPort}`,
  REDIS_TLS_CA: authority.ca,
  REDIS_TLS_CERT: client.cert,
  REDIS_TLS_KEY: client.key,
})
const diagnosisWith = async (env: Readonly<Record<string, string>>) => {
  const { redis, diagnose } = open(env)
  return connectRedis(redis).then(
    () => 'connected',
    (error: Error) => diagnose(error),
  )
}

describe('TLS to Redis with a private authority', () => {
  it('a Redis client connects with a client certificate, as a user with few rights', async () => {
    const { keyPrefix } = freshNames()
    const admin = open({ REDIS_URL: plainUrl }).redis
    await connectRedis(admin)
    await admin.call(
      'ACL',
      'SETUSER',
      'projector',
      'on',
      '>p@ss/',
      `~${keyPrefix}*`,
      '+ping',
      '+info',
      '+get',
      '+select',
    )
    const { redis } = open({ ...tls(), REDIS_URL: `rediss://projector:p%40ss%2F@127.0.0.1:${tlsPort}/1` })
    await connectRedis(redis)
    expect(await redis.get(`${keyPrefix}n`)).toBeNull()
    await expect(redis.set(`${keyPrefix}n`, '1')).rejects.toThrow('NOPERM')
  })

  it.each([
    ['another authority', { REDIS_TLS_CA: createAuthority('other').ca }],
    ['the authorities of the system', { REDIS_TLS_CA: '' }],
  ])('TLS to Redis with %s fails, and the error names the settings to check', async (_, change) => {
    expect(await diagnosisWith({ ...tls(), ...change })).toMatchObject({
      blocked: true,
      reason: 'tls',
      message: expect.stringMatching(/REDIS_TLS_CA.*No event is skipped|No event is skipped.*REDIS_TLS_CA/s),
    })
  })

  // Redis closes the connection without a reason.
  it('TLS to Redis without a client certificate fails, and the error names the settings to check', async () => {
    expect(await diagnosisWith({ ...tls(), REDIS_TLS_CERT: '', REDIS_TLS_KEY: '' })).toMatchObject({
      message: expect.stringContaining('REDIS_TLS_CERT'),
    })
  })

  it('the client connects again after OpenSSL has refused its certificate', async () => {
    const { redis, settings } = open(tls())
    await connectRedis(redis)
    const ended = new Promise((resolve) => redis.once('end', resolve))
    const { cert, key } = authority.issueWeak('projector')
    Object.assign(settings, { REDIS_TLS_CERT: cert, REDIS_TLS_KEY: key })
    redis.disconnect(true)
    await ended
    Object.assign(settings, { REDIS_TLS_CERT: client.cert, REDIS_TLS_KEY: client.key })
    await waitUntil(
      'the client is connected',
      () => redis.ping().catch(String),
      (reply) => reply === 'PONG',
    )
  })

  it('a Redis client refuses a server whose certificate names a different host', async () => {
    const url = `rediss://localhost:${tlsPort}`
    expect(await diagnosisWith({ ...tls(), REDIS_URL: url })).toMatchObject({ blocked: true, reason: 'tls' })
  })
})

it('a client uses a Redis Cluster over TLS, even while a slot moves', async () => {
  const cluster = await startRedisCluster({ tls: { ca: authority.ca, ...authority.issue('node', ['127.0.0.1']) } })
  try {
    const { redis } = open({ ...tls(), REDIS_URL: cluster.tlsUrl, REDIS_CLUSTER: 'true' })
    await connectRedis(redis)
    const key = `{${freshNames().keyPrefix}}n`
    const slot = await cluster.masters[0]!.client.cluster('KEYSLOT', key)
    await redis.set(key, '1')
    await cluster.moveSlot(slot, async () => {
      expect(await redis.get(key)).toBe('1')
    })
    expect(await redis.get(key)).toBe('1')
  } finally {
    await cluster.stop()
  }
})

describe('a Unix socket', () => {
  it('a client uses a database of Redis through a Unix socket', async () => {
    const { redis } = open({ REDIS_URL: `unix://${socket}?db=3` })
    await connectRedis(redis)
    expect(await redis.client('INFO')).toMatch(/ db=3 /)
  })

  it('the diagnosis names a Unix socket that does not exist', async () => {
    expect(await diagnosisWith({ REDIS_URL: `unix://${folder}/none.sock` })).toMatchObject({
      blocked: false,
      message: expect.stringMatching(/unix:\/\/.*none\.sock .*REDIS_URL/s),
    })
  })
})
