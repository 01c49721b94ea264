import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import { connectRedis, createRedis, redisSettings } from '@customer-stream/runtime/redis'
import { expect, it } from 'vitest'
import { startLocalRedis } from './local-redis.ts'
import { openRun } from './run.ts'

it('a killed Redis starts again with its data, and is empty if its data was removed', { timeout: 60_000 }, async () => {
  const root = mkdtempSync(join(tmpdir(), 'brokers-'))
  const run = await openRun(join(root, 'run'))
  const server = await startLocalRedis(run, () => {})
  const client = createRedis(
    loadSettings(redisSettings, { REDIS_URL: server.url }),
    createLogger('local-redis', 'silent'),
  )
  // The client may still be connecting again.
  const value = () =>
    waitUntil(
      'Redis answers the client',
      () => client.get('key').catch(() => undefined),
      (answer) => answer !== undefined,
    )
  try {
    await connectRedis(client)
    await client.set('key', 'value')
    await server.kill()
    await server.restart()
    expect(await value()).toBe('value')
    await server.kill()
    await server.loseData()
    await server.restart()
    expect(await value()).toBeNull()
  } finally {
    client.disconnect()
    await run.close()
    rmSync(root, { recursive: true })
  }
})
