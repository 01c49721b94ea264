import { readFile } from 'node:fs/promises'
import { waitUntil } from '@customer-stream/runtime'
import type { LocalRedisServer, RedisNode, RedisWithSentinels } from '@customer-stream/testing'
import { type Fault, lasting, sumOver } from './fault.ts'
import type { FaultHarness } from './harness/fault-harness.ts'

const client = (harness: FaultHarness) => harness.pipeline.connectRedis(harness.redis.server.url)

/** Starts a server with a copy of the current data. */
const snapshot = async (harness: FaultHarness) => {
  const copy = await harness.cluster.startRedis()
  const redis = await harness.pipeline.connectRedis(copy.url)
  const { hostname, port } = new URL(harness.redis.server.url)
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
const untilProjectorsWait = async ({ projectors }: FaultHarness, why = '') => {
  await waitUntil(
    `each projector says that it waits, ${why}`,
    () => Promise.all(projectors.map(async ({ process }) => (await fetch(`${process.adminUrl}/readyz`)).text())),
    (answers) => answers.every((answer) => new RegExp(`waiting for [^"]*${why}`).test(answer)),
  )
}

/**
 * Runs the outage. Throws if a projector joins its group again, because a waiting projector must
 * stay in the group.
 */
const keepingTheirPlace = async ({ projectors }: FaultHarness, outage: () => Promise<void>) => {
  const joins = async () =>
    (await Promise.all(projectors.map(({ process }) => readFile(process.logFile, 'utf8')))).map(
      (log) => log.split('joined the consumer group').length,
    )
  const before = await joins()
  await outage()
  if ((await joins()).join() !== before.join()) throw new Error('a projector has lost its place in the group')
}

const untilNoticed = async ({ projectors }: FaultHarness) => {
  await waitUntil(
    'the projectors go back to the positions in Redis',
    () => sumOver(projectors, 'projector_rewinds_total'),
    (rewinds) => rewinds > 0,
  )
}

/**
 * Writes 20,000 more commands to the append-only file of Redis. While Redis loads the file, it
 * answers only once for each thousand commands. Without these commands the file may be too short,
 * for example if the projectors are behind.
 */
const lengthenLoading = async (harness: FaultHarness) => {
  const redis = await client(harness)
  // Otherwise Redis may write to the file after its reply, and a killed Redis would lose the
  // commands.
  await redis.config('SET', 'appendfsync', 'always')
  const script = "for i = 1, 20000 do redis.call('INCR', KEYS[1]) end redis.call('DEL', KEYS[1])"
  await redis.eval(script, 1, `${harness.pipeline.keyPrefix}filler`)
  redis.disconnect()
}

const untilReplaced = (sentinels: RedisWithSentinels, before: LocalRedisServer) =>
  waitUntil('the Sentinels name another primary', sentinels.primary, (primary) => primary !== before)

/**
 * Waits for a replica in sync. Sentinels may change the primary at any time, for example if the
 * primary gets no CPU time for a second on a busy machine. The Sentinels then end the connections
 * of the old primary.
 */
const untilReplicated = ({ pipeline: { redis } }: FaultHarness) =>
  waitUntil(
    'the primary has a replica in sync',
    () => redis.info('replication').catch(String),
    (info) => /connected_slaves:1\r[\s\S]*state=online/.test(info),
  )

/** Ends the replication, and forbids the replica to ask for it again. */
const endReplication = async (node: RedisNode) => {
  await node.client.call('ACL', 'SETUSER', 'default', '-psync', '-sync')
  await node.client.call('CLIENT', 'KILL', 'TYPE', 'replica')
}

export const redisFaults: readonly Fault[] = [
  {
    name: 'Redis lost',
    how: 'Redis is killed and replaced by an empty Redis: all hashes and positions are lost',
    inject: async (harness) => {
      // The position must be in Redis, so that the older copy makes the projector go back.
      await waitUntil('Redis has positions', harness.positions, ({ size }) => size > 0)
      await harness.redis.server.kill()
      await harness.redis.replace(await harness.cluster.startRedis())
      await harness.untilPromised(200)
      await untilNoticed(harness)
      const redis = await client(harness)
      await redis.flushall()
      redis.disconnect()
    },
  },
  {
    name: 'Redis rolled back',
    how: 'Redis is replaced by an older copy of itself while the projectors run',
    inject: async (harness) => {
      const older = await snapshot(harness)
      const copied = await harness.positions()
      await harness.untilPromised(500)
      // The copy must lack events. Otherwise no position would go back.
      await waitUntil('the projectors have applied events that the copy lacks', harness.positions, (now) =>
        [...now].some(([partition, position]) => position > (copied.get(partition) ?? 0)),
      )
      await harness.redis.replace(older)
      await untilNoticed(harness)
    },
  },
  {
    name: 'Redis hung',
    how: 'Redis gets SIGSTOP for longer than all timeouts, the session timeout included, and then SIGCONT',
    inject: async (harness, scale) => {
      await harness.redis.server.pause()
      // The command times out first, and later the connection.
      await untilProjectorsWait(harness, '(Command timed out|Socket timeout)')
      await keepingTheirPlace(harness, () => lasting(7000 + 8000 * scale))
      await harness.redis.server.resume()
    },
  },
  {
    name: 'Redis restarted, loading',
    how: 'Redis is killed and started again on its append-only file: it answers LOADING for seconds',
    inject: async (harness) => {
      const { server } = harness.redis
      await lengthenLoading(harness)
      await keepingTheirPlace(harness, async () => {
        await server.kill()
        // Redis waits this number of microseconds for each command that it loads, so the load takes
        // at least 6 s.
        const restarted = server.restart(['--key-load-delay', '300'])
        await waitUntil('Redis is loading', server.ping, (reply) => reply.startsWith('-LOADING'))
        await untilProjectorsWait(harness)
        await restarted
      })
    },
  },
  {
    name: 'Redis read-only',
    how: 'Redis becomes a replica, with a full sync, and then a primary again',
    inject: async (harness) => {
      const copy = await snapshot(harness)
      const { hostname, port } = new URL(copy.url)
      const redis = await client(harness)
      await keepingTheirPlace(harness, async () => {
        await redis.replicaof(hostname, Number(port))
        await waitUntil(
          'the sync is over',
          () => redis.info('replication').catch(() => ''),
          (info) => info.includes('master_link_status:up'),
        )
        await untilProjectorsWait(harness, 'READONLY')
      })
      await redis.replicaof('NO', 'ONE')
      redis.disconnect()
      await copy.stop()
    },
  },
  {
    name: 'Redis out of memory',
    how: 'maxmemory is set below the used memory, and then reset',
    inject: async (harness, scale) => {
      const redis = await client(harness)
      await redis.config('SET', 'maxmemory', '1')
      await keepingTheirPlace(harness, async () => {
        await untilProjectorsWait(harness, 'OOM')
        await lasting(500 + 6000 * scale)
      })
      await redis.config('SET', 'maxmemory', '0')
      redis.disconnect()
    },
  },
  {
    name: 'Redis failover by Sentinel',
    how:
      'the primary is killed, and comes back as a replica; then the new primary hangs; then an operator starts a ' +
      'failover',
    options: { sentinels: true },
    inject: async (harness) => {
      const { sentinels } = harness
      if (!sentinels) throw new Error('this scenario needs Sentinels')
      await harness.untilPromised(500)
      for (const [fail, repair] of [
        ['kill', 'restart'],
        ['pause', 'resume'],
      ] as const) {
        const failed = await sentinels.primary()
        await failed[fail]()
        await untilReplaced(sentinels, failed)
        await harness.untilPromised(200)
        await failed[repair]()
        await untilReplicated(harness)
      }
      const replaced = await sentinels.primary()
      await sentinels.failOver()
      await untilReplaced(sentinels, replaced)
    },
  },
  {
    name: 'Redis Cluster, failover with loss',
    how: 'slots move; then a master dies, and its replica lacks the newest writes',
    options: { redisCluster: true },
    inject: async (harness) => {
      const { redisCluster } = harness
      if (!redisCluster) throw new Error('this scenario needs a Redis Cluster')
      const [from, dying] = redisCluster.masters as [RedisNode, RedisNode]
      const [, successor] = redisCluster.replicas as [RedisNode, RedisNode]
      // Slot 0 has a copy of the positions.
      const slots = new Set([0])
      const customers = await from.client.keys(`${harness.pipeline.keyPrefix}customer:*`)
      for (const key of customers.slice(0, 20)) slots.add(Number(await from.client.cluster('KEYSLOT', key)))
      for (const slot of slots) await redisCluster.moveSlot(slot)
      await endReplication(dying)
      await harness.untilPromised(500)
      await waitUntil(
        'the projectors have applied events that the replica lacks',
        harness.lag,
        (behind) => behind !== undefined && behind < 200,
      )
      await dying.kill()
      await waitUntil(
        'the replica is a master',
        () => successor.client.info('replication').catch(String),
        (info) => info.includes('role:master'),
      )
      await untilNoticed(harness)
      await dying.restart()
    },
  },
  {
    name: 'network to Redis',
    how: 'the network to Redis is cut, then delayed by 3 s, half-open, and very slow',
    inject: async (harness, scale) => {
      const failures = () => sumOver(harness.projectors, 'projector_failures_total')
      for (const state of ['cut', { delayMs: 3000 }, 'stalled', { bytesPerSecond: 2000 }] as const) {
        const before = await failures()
        harness.redis.network.set(state)
        await waitUntil(`projectors fail: ${JSON.stringify(state)}`, failures, (failed) => failed > before)
        await lasting(6000 * scale)
        harness.redis.network.set('open')
        await waitUntil(
          'the projectors have nearly caught up',
          harness.lag,
          (behind) => behind !== undefined && behind < 500,
        )
      }
    },
  },
]
