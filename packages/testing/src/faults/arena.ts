import { join } from 'node:path'
import { PROJECTION_VERSION, positionField, positionsKey } from '@customer-stream/schemas'
import { createSimulation, type Simulation } from '@customer-stream/simulator'
import { freePortsToKeep } from '../brokers/free-ports.ts'
import type { RedisServer } from '../brokers/index.ts'
import type { KafkaCluster } from '../brokers/local-cluster.ts'
import { openPipeline, type Pipeline } from '../pipeline.ts'
import type { ServiceName, ServiceProcess } from '../service-process.ts'
import { waitUntil } from '../wait-until.ts'
import { openTcpProxy, type TcpProxy } from './tcp-proxy.ts'

/** A service that can be killed and started again at its old address. */
export interface ManagedService {
  readonly name: ServiceName
  readonly process: ServiceProcess
  kill(): Promise<void>
  /** SIGTERM; the exit code. */
  end(): Promise<number>
  restart(env?: Readonly<Record<string, string>>): Promise<void>
}

/** The Redis that the projectors know by one address, behind which it can be exchanged. */
export interface ManagedRedis {
  readonly network: TcpProxy
  readonly server: RedisServer
  /** Another server takes the place: connections to the old one are cut. */
  replace(server: RedisServer): Promise<void>
}

/** Everything a fault can be done to, under load: a cluster of three brokers, a Redis, two of each service, two senders with one ledger. */
export interface Arena {
  readonly cluster: KafkaCluster
  readonly pipeline: Pipeline
  readonly redis: ManagedRedis
  readonly ingresses: readonly ManagedService[]
  readonly projectors: readonly ManagedService[]
  startProjector(): Promise<ManagedService>
  /** Events promised so far; grows while all is well. */
  promised(): number
  refused(): number
  statuses(): Readonly<Record<number, number>>
  /** Resolves when this many more events have been promised. */
  untilPromised(more: number, timeoutMs?: number): Promise<void>
  /** Records between the positions in Redis and the end of the topic; undefined while it cannot be told. */
  lag(): Promise<number | undefined>
  readonly ledgerPath: string
  stopLoad(): Promise<void>
  close(): Promise<void>
}

export interface ArenaOptions {
  readonly seed: number
  /** Per sender. */
  readonly ratePerSecond?: number
  readonly ingressEnv?: Readonly<Record<string, string>>
  readonly projectorEnv?: Readonly<Record<string, string>>
  /** Gives each ingress a spool of its own. */
  readonly spool?: boolean
  /** Flags of redis-server. */
  readonly redisArgs?: readonly string[]
}

const CUSTOMERS = 300

export const openArena = async (cluster: KafkaCluster, options: ArenaOptions): Promise<Arena> => {
  const first = await cluster.startRedis(options.redisArgs ? { args: options.redisArgs } : undefined)
  const { hostname: host, port } = new URL(first.url)
  let server = first
  const servers = [first]
  const target = { host, port: Number(port) }
  const network = await openTcpProxy(target)
  const redisUrl = `redis://127.0.0.1:${network.port}`
  const pipeline = await openPipeline({ kafkaBrokers: cluster.kafkaBrokers, redisUrl })
  const shared = { KAFKA_BROKERS: cluster.proxiedBrokers.join(','), KAFKA_REPLICATION_FACTOR: '3' }
  const environments = {
    ingress: { ...shared, ...options.ingressEnv },
    projector: {
      ...shared,
      CONSUMER_SESSION_TIMEOUT_MS: '6000',
      POSITION_CHECK_MS: '500',
      REDIS_COMMAND_TIMEOUT_MS: '1000',
      ...options.projectorEnv,
    },
  }

  const manage = async (name: ServiceName): Promise<ManagedService> => {
    const [port, adminPort] = (await freePortsToKeep(2)).map(String)
    const spool = options.spool && name === 'ingress' ? { SPOOL_DIR: join(pipeline.folder, `spool-${port}`) } : {}
    const start = (env: Readonly<Record<string, string>> = {}) =>
      pipeline.start(name, { ...environments[name], ...spool, PORT: port!, ADMIN_PORT: adminPort!, ...env })
    let process = await start()
    return {
      name,
      get process() {
        return process
      },
      kill: async () => {
        process.signal('SIGKILL')
        await process.ended
      },
      end: () => process.end(),
      restart: async (env) => {
        process = await start(env)
      },
    }
  }
  const ingresses = await Promise.all([manage('ingress'), manage('ingress')])
  await Promise.all(ingresses.map(({ process }) => process.untilReady()))
  const projectors = await Promise.all([manage('projector'), manage('projector')])
  await Promise.all(projectors.map(({ process }) => process.untilReady()))

  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const stop = new AbortController()
  const simulations: Simulation[] = ingresses.map(({ process }, i) =>
    createSimulation({
      url: `${process.url}/webhooks/mykaarma`,
      secret: pipeline.secret,
      token: pipeline.token,
      // Far more than any run sends; the stop ends it. Each sender has customers of its own.
      events: 1_000_000,
      customers: CUSTOMERS,
      ratePerSecond: options.ratePerSecond ?? 250,
      concurrency: 64,
      seed: options.seed + i,
      repeats: 0.05,
      disorder: 0.1,
      drops: 0.02,
      other: 0.05,
      retryBaseMs: 300,
      ledgerPath,
      signal: stop.signal,
    }),
  )
  const sending = Promise.all(simulations.map((simulation) => simulation.run()))
  // Looked at when the load is stopped.
  sending.catch(() => undefined)
  const sum = (of: (simulation: Simulation) => number) => simulations.reduce((total, simulation) => total + of(simulation), 0)

  const arena: Arena = {
    cluster,
    pipeline,
    redis: {
      network,
      get server() {
        return server
      },
      replace: async (next) => {
        server = next
        servers.push(next)
        target.port = Number(new URL(next.url).port)
        network.set('cut')
        network.set('open')
      },
    },
    ingresses,
    projectors,
    startProjector: () => manage('projector'),
    promised: () => sum(({ progress }) => progress.promised),
    refused: () => sum(({ progress }) => progress.refused),
    statuses: () => {
      const counts: Record<number, number> = {}
      for (const { progress } of simulations)
        for (const [status, count] of Object.entries(progress.statuses)) counts[Number(status)] = (counts[Number(status)] ?? 0) + count
      return counts
    },
    untilPromised: async (more, timeoutMs = 60_000) => {
      const wanted = arena.promised() + more
      await waitUntil(`${more} more events are promised`, arena.promised, (promised) => promised >= wanted, { timeoutMs })
    },
    lag: async () => {
      try {
        const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
        const fields = ends.map(({ partition }) => positionField(pipeline.topics.customers, partition))
        const stored = await pipeline.redis.hmget(positionsKey(PROJECTION_VERSION, pipeline.keyPrefix), ...fields)
        return ends.reduce((behind, { high }, i) => behind + Math.max(0, Number(high) - Number(stored[i] ?? 0)), 0)
      } catch {
        return undefined
      }
    },
    ledgerPath,
    stopLoad: async () => {
      stop.abort()
      await sending
    },
    close: async () => {
      stop.abort()
      await sending.catch(() => undefined)
      await pipeline.close()
      await network.close()
      await Promise.all(servers.map((server) => server.stop()))
    },
  }
  return arena
}
