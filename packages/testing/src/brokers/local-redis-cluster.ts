import { cp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import { createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import { freePortsToKeep } from './free-ports.ts'
import { type RedisPlace, startRedisAt } from './local-redis.ts'
import { openRun, type Run } from './run.ts'

const SLOTS = 16_384
const SIZE = 3
/**
 * redis-server adds this number to its port to get the port of the cluster bus. Redis 6 has no
 * setting for the bus port.
 */
const BUS_PORT_OFFSET = 10_000

export interface RedisMaster {
  readonly url: string
  /** Client of this master only, which reconnects after a restart. */
  readonly client: RedisClient
  /**
   * Sends SIGKILL. Acknowledged writes survive, because they are in the memory of the operating
   * system.
   */
  kill(): Promise<void>
  /** Copies the data of the master, for `restart('backup')`. */
  backUp(): Promise<void>
  /**
   * Starts the master again with the same address and slots. `data` selects the data: unchanged,
   * none, or the last backup.
   */
  restart(data?: 'kept' | 'none' | 'backup'): Promise<void>
}

/**
 * Redis Cluster of three masters without replicas. All masters are local processes, so that tests
 * can kill and restart each master.
 */
export interface RedisCluster {
  /** URLs of all nodes, in the format of REDIS_URL. */
  readonly url: string
  readonly masters: readonly RedisMaster[]
  /**
   * Moves a slot to another master, as resharding does. During the move, the old master answers ASK
   * for keys that have moved. After the move, the old master answers MOVED.
   * @param meanwhile called twice: with `here` before the first key moves, and with `gone` after
   *   the last key has moved. The slot belongs to the old master until the second call has ended.
   * @returns the new master.
   */
  moveSlot(slot: number, meanwhile?: (keys: 'here' | 'gone') => Promise<void>): Promise<RedisMaster>
  /** May be called twice. */
  stop(): Promise<void>
}

const nodeFlags = ['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-node-timeout', '2000']

const untilWhole = async (masters: readonly RedisMaster[]): Promise<void> => {
  const lines = ['cluster_state:ok', `cluster_known_nodes:${SIZE}`, `cluster_size:${SIZE}`]
  for (const { client } of masters) {
    await waitUntil(
      'every master knows every slot and its owner',
      () => client.cluster('INFO').catch(String),
      (info) => lines.every((line) => String(info).includes(`${line}\r`)),
    )
  }
}

/**
 * Starts one master of the cluster.
 * @param all list of all masters. The caller adds this master to the list.
 */
const startMaster = async (
  all: readonly RedisMaster[],
  place: RedisPlace,
  run: Run,
  log: (line: string) => void,
): Promise<RedisMaster> => {
  const server = await startRedisAt(place, run, log, { args: nodeFlags })
  const backup = `${place.folder}-backup`
  const { url } = server
  const client = createRedis(loadSettings(redisSettings, { REDIS_URL: url }), createLogger('redis-cluster', 'silent'))
  await client.connect()
  return {
    url,
    client,
    kill: server.kill,
    backUp: async () => {
      await cp(place.folder, backup, {
        recursive: true,
        filter: (path) => path === place.folder || path.includes('appendonly'),
      })
    },
    restart: async (data = 'kept') => {
      const files = (await readdir(place.folder)).filter((name) => name.startsWith('appendonly'))
      if (data !== 'kept') for (const name of files) await rm(join(place.folder, name), { recursive: true })
      if (data === 'backup') await cp(backup, place.folder, { recursive: true })
      await server.restart()
      await untilWhole(all)
    },
  }
}

const ownerOf = (slot: number) => Math.floor((slot * SIZE) / SLOTS)

/**
 * Forms the cluster without `redis-cli --cluster create`, because embedded-redis does not include
 * redis-cli.
 */
const formCluster = async (masters: readonly RedisMaster[]): Promise<void> => {
  const slots = Array.from({ length: SLOTS }, (_, slot) => slot)
  for (const [i, { client }] of masters.entries()) {
    await client.cluster('ADDSLOTS', ...slots.filter((slot) => ownerOf(slot) === i))
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    const { hostname, port } = new URL(masters[0]!.url)
    await client.cluster('MEET', hostname, Number(port))
  }
  await untilWhole(masters)
}

export const startRedisCluster = async (log: (line: string) => void = () => {}): Promise<RedisCluster> => {
  const run = await openRun()
  const masters: RedisMaster[] = []
  const stop = async () => {
    for (const { client } of masters) client.disconnect()
    await run.close()
  }
  try {
    for (const [i, port] of (await freePortsToKeep(SIZE, BUS_PORT_OFFSET)).entries()) {
      masters.push(await startMaster(masters, { port, folder: run.makeFolder(`redis-${i}`) }, run, log))
    }
    await formCluster(masters)
  } catch (error) {
    await stop()
    throw error
  }
  const owners = new Map<number, number>()
  return {
    url: masters.map(({ url }) => url).join(','),
    masters,
    moveSlot: async (slot, meanwhile) => {
      const owner = owners.get(slot) ?? ownerOf(slot)
      const next = (owner + 1) % SIZE
      const [from, to] = [masters[owner]!, masters[next]!]
      const [fromId, toId] = await Promise.all([from, to].map(({ client }) => client.cluster('MYID')))
      await to.client.cluster('SETSLOT', slot, 'IMPORTING', fromId!)
      await from.client.cluster('SETSLOT', slot, 'MIGRATING', toId!)
      const { hostname, port } = new URL(to.url)
      await meanwhile?.('here')
      for (;;) {
        const [key] = await from.client.cluster('GETKEYSINSLOT', slot, 1)
        if (key === undefined) break
        await from.client.migrate(hostname, Number(port), key, 0, 5000)
      }
      await meanwhile?.('gone')
      for (const { client } of [to, from, ...masters]) await client.cluster('SETSLOT', slot, 'NODE', toId!)
      owners.set(slot, next)
      return to
    },
    stop,
  }
}
