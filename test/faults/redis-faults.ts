import { readFile } from 'node:fs/promises'
import { waitUntil } from '@customer-stream/runtime'
import type { LocalRedisServer, RedisNode, RedisWithSentinels } from '@customer-stream/testing'
import { type Fault, lasting, sumOver } from './fault.ts'
import type { Arena } from './harness/arena.ts'

const client = (arena: Arena) => arena.pipeline.connectRedis(arena.redis.server.url)

/** Starts a server with a copy of the current data. */
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

/** @param why part of the expected error message of Redis or its client. */
const untilProjectorsWait = async ({ projectors }: Arena, why = '') => {
  await waitUntil(
    `each projector says that it waits, ${why}`,
    () => Promise.all(projectors.map(async ({ process }) => (await fetch(`${process.adminUrl}/readyz`)).text())),
    (answers) => answers.every((answer) => new RegExp(`waiting for [^"]*${why}`).test(answer)),
  )
}

/** A projector that waits must stay in the group. */
const keepingTheirPlace = async ({ projectors }: Arena, outage: () => Promise<void>) => {
  const joins = async () =>
    (await Promise.all(projectors.map(({ process }) => readFile(process.logFile, 'utf8')))).map(
      (log) => log.split('joined the consumer group').length,
    )
  const before = await joins()
  await outage()
  if ((await joins()).join() !== before.join()) throw new Error('a projector has lost its place in the group')
}

const untilNoticed = async ({ projectors }: Arena) => {
  await waitUntil(
    'the projectors go back to the positions in Redis',
    () => sumOver(projectors, 'projector_rewinds_total'),
    (rewinds) => rewinds > 0,
  )
}

const untilPrimary = (sentinels: RedisWithSentinels, server: LocalRedisServer) =>
  waitUntil('the Sentinels name the other server', sentinels.primary, (primary) => primary === server)

const untilReplicated = async ({ pipeline }: Arena, url: string) => {
  const redis = await pipeline.connectRedis(url)
  await waitUntil(
    'the killed server is a replica in sync',
    () => redis.info('replication'),
    (info) => /connected_slaves:1\r[\s\S]*state=online/.test(info),
  )
  redis.disconnect()
}

/** Ends the replication to the replica, which may not ask for it again. */
const endReplication = async (node: RedisNode) => {
  await node.client.call('ACL', 'SETUSER', 'default', '-psync', '-sync')
  await node.client.call('CLIENT', 'KILL', 'TYPE', 'replica')
}

export const redisFaults: readonly Fault[] = [
  {
    name: 'Redis lost',
    how: 'killed, and an empty one in its place: all hashes and positions gone',
    inject: async (arena) => {
      // A projector that has moved no position yet has nothing to go back to.
      await waitUntil('Redis has positions', arena.positions, ({ size }) => size > 0)
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
    how: 'replaced by an older copy of itself while the projectors run',
    inject: async (arena) => {
      const older = await snapshot(arena)
      await arena.untilPromised(500)
      await arena.redis.replace(older)
      await untilNoticed(arena)
    },
  },
  {
    name: 'Redis hung',
    how: 'SIGSTOP for longer than the timeouts and the session timeout; SIGCONT',
    inject: async (arena, scale) => {
      await arena.redis.server.pause()
      // First a command times out, and then the connection.
      await untilProjectorsWait(arena, '(Command timed out|Socket timeout)')
      await keepingTheirPlace(arena, () => lasting(7000 + 8000 * scale))
      await arena.redis.server.resume()
    },
  },
  {
    name: 'Redis restarted, loading',
    how: 'SIGKILL, started again on its own append-only file: LOADING for seconds',
    inject: async (arena) => {
      const { server } = arena.redis
      // While Redis loads, it answers only once for each thousand commands. So send many events
      // before the restart.
      await arena.untilPromised(1000)
      await keepingTheirPlace(arena, async () => {
        await server.kill()
        // Redis waits this number of microseconds for each key that it loads.
        const restarted = server.restart(['--key-load-delay', '1000'])
        await waitUntil('Redis is loading', server.ping, (reply) => reply.startsWith('-LOADING'))
        await untilProjectorsWait(arena)
        await restarted
      })
    },
  },
  {
    name: 'Redis read-only',
    how: 'made a replica, with a full sync, then a primary again',
    inject: async (arena) => {
      const copy = await snapshot(arena)
      const { hostname, port } = new URL(copy.url)
      const redis = await client(arena)
      await keepingTheirPlace(arena, async () => {
        await redis.replicaof(hostname, Number(port))
        await waitUntil(
          'the sync is over',
          () => redis.info('replication').catch(() => ''),
          (info) => info.includes('master_link_status:up'),
        )
        await untilProjectorsWait(arena, 'READONLY')
      })
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
      await keepingTheirPlace(arena, async () => {
        await untilProjectorsWait(arena, 'OOM')
        await lasting(500 + 6000 * scale)
      })
      await redis.config('SET', 'maxmemory', '0')
      redis.disconnect()
    },
  },
  {
    name: 'Redis failover by Sentinel',
    how: 'the primary is killed, and comes back as a replica; then a failover by command',
    options: { sentinels: true },
    inject: async (arena) => {
      const { sentinels } = arena
      if (!sentinels) throw new Error('this scenario needs Sentinels')
      const [first, second] = sentinels.servers
      await arena.untilPromised(500)
      await first.kill()
      await untilPrimary(sentinels, second)
      await arena.redis.replace(second)
      await arena.untilPromised(200)
      await first.restart()
      await untilReplicated(arena, second.url)
      await sentinels.failOver()
      await untilPrimary(sentinels, first)
      await arena.redis.replace(first)
    },
  },
  {
    name: 'Redis Cluster, failover with loss',
    how: 'slots move; then a master dies, and its replica lacks the newest writes',
    options: { redisCluster: true },
    inject: async (arena) => {
      const { redisCluster } = arena
      if (!redisCluster) throw new Error('this scenario needs a Redis Cluster')
      const [from, dying] = redisCluster.masters as [RedisNode, RedisNode]
      const [, successor] = redisCluster.replicas as [RedisNode, RedisNode]
      // Slot 0 has a copy of the positions.
      const slots = new Set([0])
      const customers = await from.client.keys(`${arena.pipeline.keyPrefix}customer:*`)
      for (const key of customers.slice(0, 20)) slots.add(Number(await from.client.cluster('KEYSLOT', key)))
      for (const slot of slots) await redisCluster.moveSlot(slot)
      await endReplication(dying)
      await arena.untilPromised(500)
      await waitUntil(
        'the projectors have applied events that the replica lacks',
        arena.lag,
        (behind) => behind !== undefined && behind < 200,
      )
      await dying.kill()
      await waitUntil(
        'the replica is a master',
        () => successor.client.info('replication').catch(String),
        (info) => info.includes('role:master'),
      )
      await untilNoticed(arena)
      await dying.restart()
    },
  },
  {
    name: 'network to Redis',
    how: 'cut, 3 s delay, half-open, slow trickle',
    inject: async (arena, scale) => {
      const failures = () => sumOver(arena.projectors, 'projector_failures_total')
      for (const state of ['cut', { delayMs: 3000 }, 'stalled', { bytesPerSecond: 2000 }] as const) {
        const before = await failures()
        arena.redis.network.set(state)
        await waitUntil(`projectors fail: ${JSON.stringify(state)}`, failures, (failed) => failed > before)
        await lasting(6000 * scale)
        arena.redis.network.set('open')
        await waitUntil(
          'the projectors have nearly caught up',
          arena.lag,
          (behind) => behind !== undefined && behind < 500,
        )
      }
    },
  },
]
