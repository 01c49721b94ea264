/** A command on a Redis with TLS, and on a Redis with Sentinels. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { PROJECTION_VERSION, positionsKey } from '@customer-stream/schemas'
import { freePorts, openPipeline, startRedisWithSentinels } from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import { startRedis } from '@customer-stream/testing/vitest'
import { expect, inject, it, onTestFinished } from 'vitest'
import { commandOf } from './run-command.ts'

/**
 * Starts a projector that uses this Redis, and waits until Redis has its positions. Returns a
 * function that runs commands.
 */
const openSite = async (redisUrl: string) => {
  const brokers = { ...inject('brokers'), redisUrl }
  const pipeline = await openPipeline(brokers)
  onTestFinished(() => pipeline.close())
  await pipeline.start('projector')
  const key = positionsKey(PROJECTION_VERSION, pipeline.keyPrefix)
  await waitUntil('Redis has the positions', () => pipeline.redis.exists(key), Boolean)
  return commandOf(pipeline, brokers)
}

it('a command uses the certificates for Redis, and names their settings if the TLS connection fails', async () => {
  const authority = createAuthority()
  const folder = mkdtempSync(join(tmpdir(), 'redis-tls-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const { cert, key } = authority.issue('redis', ['127.0.0.1'])
  const files = Object.entries({ cert, key, ca: authority.ca }).map(([name, pem]) => {
    writeFileSync(join(folder, name), pem)
    return join(folder, name)
  }) as [string, string, string]
  const [port] = (await freePorts(1)) as [number]
  const args = ['--tls-port', `${port}`, '--tls-cert-file', files[0], '--tls-key-file', files[1]]
  const server = await startRedis({ args: [...args, '--tls-ca-cert-file', files[2]] }, 'local')
  onTestFinished(() => server.stop())
  const run = await openSite(server.url)

  const client = authority.issue('operator')
  const tls = {
    REDIS_URL: `rediss://127.0.0.1:${port}`,
    REDIS_TLS_CA: authority.ca,
    REDIS_TLS_CERT: client.cert,
    REDIS_TLS_KEY: client.key,
  }
  expect(await run(['rebuild'], tls)).toMatchObject({ code: 0, stderr: '' })
  expect(await run(['rebuild'], { ...tls, REDIS_TLS_CA: createAuthority('other').ca })).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^rebuild: Redis rediss:\S+ has a certificate .*not trusted here.*REDIS_TLS_CA/),
  })
})

it('a command asks Sentinels for the primary, and its error names Sentinels that do not know the primary', async () => {
  const site = await startRedisWithSentinels({ password: 'sentinel-password' })
  onTestFinished(() => site.stop())
  const run = await openSite(site.servers[0].url)

  expect(await run(['rebuild'], site.env)).toMatchObject({ code: 0, stderr: '' })
  expect(await run(['rebuild'], { ...site.env, REDIS_URL: 'redis://other' })).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^rebuild: Redis redis:\/\/other has Sentinels that do not know its name/),
  })
})
