import { writeFileSync } from 'node:fs'
import { cp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import { createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import type { Certificate } from '../certificates.ts'
import { freePorts } from './free-ports.ts'
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
  /** Address without TLS. */
  readonly url: string
  readonly tlsPort: number
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
  /** URLs of all nodes with `rediss:`. Empty if the cluster has no certificate. */
  readonly tlsUrl: string
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

/** Certificate of all nodes. Clients need a certificate that `ca` has signed. */
export interface ClusterTls extends Certificate {
  readonly ca: string
}

/** Writes the certificate, and returns the flags for TLS between nodes and to clients. */
const tlsFlags = (folder: string, { ca, cert, key }: ClusterTls): string[] => {
  const files = Object.entries({ 'ca-cert': ca, cert, key }).flatMap(([name, pem]) => {
    const path = join(folder, `${name}.pem`)
    writeFileSync(path, pem)
    return [`--tls-${name}-file`, path]
  })
  return [...files, '--tls-cluster', 'yes']
}

/**
 * Starts one master of the cluster.
 * @param all list of all masters. The caller adds this master to the list.
 */
const startMaster = async (
  all: readonly RedisMaster[],
  { tlsPort, ...place }: RedisPlace & { readonly tlsPort: number },
  run: Run,
  { log, flags }: { readonly log: (line: string) => void; readonly flags: readonly string[] },
): Promise<RedisMaster> => {
  const ownFlags = flags.length > 0 ? [...flags, '--tls-port', `${tlsPort}`] : []
  const server = await startRedisAt(place, run, log, { args: [...nodeFlags, ...ownFlags] })
  const backup = `${place.folder}-backup`
  const { url } = server
  const client = createRedis(loadSettings(redisSettings, { REDIS_URL: url }), createLogger('redis-cluster', 'silent'))
  await client.connect()
  return {
    url,
    tlsPort,
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
const formCluster = async (masters: readonly RedisMaster[], usesTls: boolean): Promise<void> => {
  const slots = Array.from({ length: SLOTS }, (_, slot) => slot)
  for (const [i, { client }] of masters.entries()) {
    await client.cluster('ADDSLOTS', ...slots.filter((slot) => ownerOf(slot) === i))
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    const [{ url, tlsPort }] = masters as [RedisMaster]
    await client.cluster('MEET', '127.0.0.1', usesTls ? tlsPort : Number(new URL(url).port))
  }
  await untilWhole(masters)
}

/** @param tls makes the nodes use TLS among each other. Clients may use TLS or plain text. */
export const startRedisCluster = async ({
  log = () => {},
  tls,
}: {
  log?: (line: string) => void
  tls?: ClusterTls
} = {}): Promise<RedisCluster> => {
  const run = await openRun()
  const masters: RedisMaster[] = []
  const stop = async () => {
    for (const { client } of masters) client.disconnect()
    await run.close()
  }
  try {
    // The port of the bus is counted from the port for TLS, if there is one.
    const ports = await freePorts(2 * SIZE, BUS_PORT_OFFSET)
    const flags = tls ? tlsFlags(run.makeFolder('tls'), tls) : []
    for (let i = 0; i < SIZE; i++) {
      const place = { port: ports[2 * i]!, tlsPort: ports[2 * i + 1]!, folder: run.makeFolder(`redis-${i}`) }
      masters.push(await startMaster(masters, place, run, { log, flags }))
    }
    await formCluster(masters, tls !== undefined)
  } catch (error) {
    await stop()
    throw error
  }
  const owners = new Map<number, number>()
  return {
    url: masters.map(({ url }) => url).join(','),
    tlsUrl: tls ? masters.map(({ tlsPort }) => `rediss://127.0.0.1:${tlsPort}`).join(',') : '',
    masters,
    moveSlot: async (slot, meanwhile) => {
      const owner = owners.get(slot) ?? ownerOf(slot)
      const next = (owner + 1) % SIZE
      const [from, to] = [masters[owner]!, masters[next]!]
      const [fromId, toId] = await Promise.all([from, to].map(({ client }) => client.cluster('MYID')))
      await to.client.cluster('SETSLOT', slot, 'IMPORTING', fromId!)
      await from.client.cluster('SETSLOT', slot, 'MIGRATING', toId!)
      const { hostname, port } = tls ? { hostname: '127.0.0.1', port: to.tlsPort } : new URL(to.url)
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
