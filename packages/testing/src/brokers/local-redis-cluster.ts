import { writeFileSync } from 'node:fs'
import { cp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import type { RedisClient } from '@customer-stream/runtime/redis'
import type { Certificate } from '../certificates.ts'
import { openRedis } from '../open-redis.ts'
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

/** One server of the cluster: a master or a replica. */
export interface RedisNode {
  /** Address without TLS. */
  readonly url: string
  readonly tlsPort: number
  /** Client of this node only, which reconnects after a restart. */
  readonly client: RedisClient
  /**
   * Sends SIGKILL. Acknowledged writes survive, because they are in the memory of the operating
   * system.
   */
  kill(): Promise<void>
  /** Copies the data of the node, for `restart('backup')`. */
  backUp(): Promise<void>
  /**
   * Starts the node again with the same address and slots. `data`: the node has its own data
   * (`kept`), no data (`none`), or the data of the last {@link backUp} (`backup`).
   */
  restart(data?: 'kept' | 'none' | 'backup'): Promise<void>
}

/**
 * Redis Cluster of three masters. All nodes are local processes, so that tests can kill and restart
 * each node.
 */
export interface RedisCluster {
  /** URLs of all nodes, in the format of REDIS_URL. */
  readonly url: string
  /** URLs of all nodes with `rediss:`. Empty if the cluster has no certificate. */
  readonly tlsUrl: string
  /** Nodes that were masters at the start. A failover does not change this list. */
  readonly masters: readonly RedisNode[]
  /** Nodes that were replicas at the start, one for each master. Empty without replicas. */
  readonly replicas: readonly RedisNode[]
  /**
   * Moves a slot to another master, as resharding does. During the move, the old master answers ASK
   * for keys that have moved. After the move, the old master answers MOVED.
   * @param meanwhile called twice: with `here` before the first key moves, and with `gone` after
   *   the last key has moved. The slot belongs to the old master until the second call has ended.
   * @returns the new master.
   */
  moveSlot(slot: number, meanwhile?: (keys: 'here' | 'gone') => Promise<void>): Promise<RedisNode>
  /** May be called twice. */
  stop(): Promise<void>
}

const nodeFlags = [
  ...['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-node-timeout', '2000'],
  // A replica may become the master even if its data is old.
  ...['--cluster-replica-validity-factor', '0'],
]

const untilWhole = async (nodes: readonly RedisNode[]): Promise<void> => {
  const lines = ['cluster_state:ok', `cluster_known_nodes:${nodes.length}`, `cluster_size:${SIZE}`]
  for (const { client } of nodes) {
    await waitUntil(
      'every node knows every slot and its owner',
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
 * Starts one node of the cluster.
 * @param all list of all nodes. The caller adds this node to the list.
 */
const startNode = async (
  all: readonly RedisNode[],
  { tlsPort, ...place }: RedisPlace & { readonly tlsPort: number },
  run: Run,
  { log, flags }: { readonly log: (line: string) => void; readonly flags: readonly string[] },
): Promise<RedisNode> => {
  const ownFlags = flags.length > 0 ? [...flags, '--tls-port', `${tlsPort}`] : []
  const server = await startRedisAt(place, run, log, { args: [...nodeFlags, ...ownFlags] })
  const backup = `${place.folder}-backup`
  const { url } = server
  const client = await openRedis({ REDIS_URL: url })
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
const formCluster = async (nodes: readonly RedisNode[], usesTls: boolean): Promise<void> => {
  const slots = Array.from({ length: SLOTS }, (_, slot) => slot)
  const [masters, replicas] = [nodes.slice(0, SIZE), nodes.slice(SIZE)]
  for (const [i, { client }] of masters.entries())
    await client.cluster('ADDSLOTS', ...slots.filter((slot) => ownerOf(slot) === i))
  for (const [i, { client }] of nodes.entries()) {
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    const [{ url, tlsPort }] = nodes as [RedisNode]
    await client.cluster('MEET', '127.0.0.1', usesTls ? tlsPort : Number(new URL(url).port))
  }
  await untilWhole(nodes)
  for (const [i, { client }] of replicas.entries()) {
    await client.cluster('REPLICATE', await masters[i]!.client.cluster('MYID'))
    await waitUntil(
      'the replica is in sync',
      () => client.info('replication').catch(String),
      (info) => info.includes('master_link_status:up'),
    )
  }
}

/**
 * @param tls makes the nodes use TLS among each other. Clients may use TLS or plain text.
 * @param hasReplicas gives each master a replica, which takes over when the master dies.
 */
export const startRedisCluster = async ({
  log = () => {},
  tls,
  hasReplicas = false,
}: {
  log?: (line: string) => void
  tls?: ClusterTls
  hasReplicas?: boolean
} = {}): Promise<RedisCluster> => {
  const run = await openRun()
  const nodes: RedisNode[] = []
  const size = hasReplicas ? 2 * SIZE : SIZE
  const stop = async () => {
    for (const { client } of nodes) client.disconnect()
    await run.close()
  }
  try {
    // A server adds BUS_PORT_OFFSET to its TLS port if it has one, otherwise to its plain port.
    const ports = await freePorts(2 * size, BUS_PORT_OFFSET)
    const flags = tls ? tlsFlags(run.makeFolder('tls'), tls) : []
    for (let i = 0; i < size; i++) {
      const place = { port: ports[2 * i]!, tlsPort: ports[2 * i + 1]!, folder: run.makeFolder(`redis-${i}`) }
      nodes.push(await startNode(nodes, place, run, { log, flags }))
    }
    await formCluster(nodes, tls !== undefined)
  } catch (error) {
    await stop()
    throw error
  }
  const [masters, replicas] = [nodes.slice(0, SIZE), nodes.slice(SIZE)]
  const owners = new Map<number, number>()
  return {
    url: masters.map(({ url }) => url).join(','),
    tlsUrl: tls ? masters.map(({ tlsPort }) => `rediss://127.0.0.1:${tlsPort}`).join(',') : '',
    masters,
    replicas,
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
