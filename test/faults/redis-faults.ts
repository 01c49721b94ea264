import { type Arena, waitUntil } from '@customer-stream/testing'
import { type Fault, lasting } from './fault.ts'

const client = (arena: Arena) => arena.pipeline.connectRedis(arena.redis.server.url)

/** A server that holds what the arena's held at this moment, and no more. */
const snapshot = async (arena: Arena) => {
  const copy = await arena.cluster.startRedis()
  const redis = await arena.pipeline.connectRedis(copy.url)
  const { hostname, port } = new URL(arena.redis.server.url)
  await redis.replicaof(hostname, Number(port))
  await waitUntil(
    'the copy is complete',
    () => redis.info('replication'),
    (info) => info.includes('master_link_status:up'),
  )
  await redis.replicaof('NO', 'ONE')
  redis.disconnect()
  return copy
}

/** @param why what Redis or its client says. */
const untilProjectorsWait = async ({ projectors }: Arena, why = '') => {
  await waitUntil(
    `a projector says that it waits, ${why}`,
    async () => (await Promise.all(projectors.map(async ({ process }) => (await fetch(`${process.adminUrl}/readyz`)).text()))).join(),
    (answers) => new RegExp(`waiting for [^"]*${why}`).test(answers),
  )
}

const untilNoticed = async ({ projectors }: Arena) => {
  await waitUntil(
    'the projectors go back to what Redis says',
    async () => (await Promise.all(projectors.map(({ process }) => process.metric('projector_rewinds_total')))).reduce((a, b) => a + b),
    (rewinds) => rewinds > 0,
  )
}

export const redisFaults: readonly Fault[] = [
  {
    name: 'Redis lost',
    how: 'killed, and an empty one in its place: all hashes and positions gone',
    inject: async (arena) => {
      await arena.redis.server.kill()
      await arena.redis.replace(await arena.cluster.startRedis())
      await arena.untilPromised(200)
      await untilNoticed(arena)
      const redis = await client(arena)
      await redis.flushall()
      redis.disconnect()
    },
  },
  {
    name: 'Redis rolled back',
    how: 'replaced by an older copy of itself while the projectors go on',
    inject: async (arena) => {
      const older = await snapshot(arena)
      await arena.untilPromised(500)
      await arena.redis.replace(older)
      await untilNoticed(arena)
    },
  },
  {
    name: 'Redis hung',
    how: 'SIGSTOP past the time-outs, SIGCONT',
    inject: async (arena, scale) => {
      await arena.redis.server.pause()
      await untilProjectorsWait(arena, 'timed out')
      await lasting(1000 + 14_000 * scale)
      await arena.redis.server.resume()
    },
  },
  {
    name: 'Redis restarted, loading',
    how: 'SIGKILL, started again on its own append-only file: LOADING for seconds',
    inject: async (arena) => {
      const { server } = arena.redis
      await server.kill()
      // Microseconds for each command in the file.
      const restarted = server.restart(['--key-load-delay', '2000'])
      await waitUntil('it is loading', server.ping, (reply) => reply.startsWith('-LOADING'))
      await untilProjectorsWait(arena)
      await restarted
    },
  },
  {
    name: 'Redis read-only',
    how: 'made a replica with a full sync: LOADING, then READONLY, then a primary again',
    inject: async (arena) => {
      const copy = await snapshot(arena)
      const { hostname, port } = new URL(copy.url)
      const redis = await client(arena)
      // Microseconds for each key: the load takes seconds.
      await redis.config('SET', 'key-load-delay', '10000')
      await redis.replicaof(hostname, Number(port))
      await untilProjectorsWait(arena)
      await waitUntil(
        'the sync is over',
        () => redis.info('replication').catch(() => ''),
        (info) => info.includes('master_link_status:up'),
      )
      await untilProjectorsWait(arena, 'READONLY')
      await redis.replicaof('NO', 'ONE')
      redis.disconnect()
      await copy.stop()
    },
  },
  {
    name: 'Redis out of memory',
    how: 'maxmemory below what it holds, then lifted',
    inject: async (arena, scale) => {
      const redis = await client(arena)
      await redis.config('SET', 'maxmemory', '1')
      await untilProjectorsWait(arena, 'OOM')
      await lasting(500 + 6000 * scale)
      await redis.config('SET', 'maxmemory', '0')
      redis.disconnect()
    },
  },
  {
    name: 'network to Redis',
    how: 'cut, 3 s delay, half-open, slow trickle',
    inject: async (arena, scale) => {
      for (const state of ['cut', { delayMs: 3000 }, 'stalled', { bytesPerSecond: 2000 }] as const) {
        arena.redis.network.set(state)
        await lasting(1500 + 6000 * scale)
        arena.redis.network.set('open')
        await arena.untilPromised(100)
      }
    },
  },
]
