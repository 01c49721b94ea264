import { join } from 'node:path'
import { readTopic } from '@customer-stream/runtime/kafka'
import { PROJECTION_VERSION, QUARANTINE_HEADERS } from '@customer-stream/schemas'
import type { MadeEvent } from '@customer-stream/simulator'
import type { KafkaCluster, LocalRedisServer, ServiceName } from '@customer-stream/testing'
import {
  openPipeline,
  openTcpProxy,
  type Pipeline,
  type RedisCluster,
  type RedisWithSentinels,
  startRedisCluster,
  startRedisWithSentinels,
  type TcpProxy,
} from '@customer-stream/testing'
import { fingerprint, readProgress, sha256 } from '@customer-stream/verify'
import { createManager, type ManagedIngress, type ManagedService, type ServiceOptions } from './managed-services.ts'
import { createReconciliation, placeOf, type Reconciliation } from './reconciliation.ts'
import { type Senders, startSenders } from './senders.ts'

/** The projectors' Redis. Its address stays the same when the server is replaced. */
export interface ManagedRedis {
  readonly network: TcpProxy
  readonly server: LocalRedisServer
  /** Replaces the server. Cuts the connections to the old server. */
  replace(server: LocalRedisServer): Promise<void>
}

/**
 * Fault harness: a pipeline under load, with three brokers, one Redis, two processes of each
 * service, and two senders with one ledger. A test causes faults in this pipeline.
 */
export interface FaultHarness extends Senders {
  readonly cluster: KafkaCluster
  readonly pipeline: Pipeline
  readonly redis: ManagedRedis
  /** Undefined if the scenario has no Sentinels ({@link FaultHarnessOptions.sentinels}). */
  readonly sentinels: RedisWithSentinels | undefined
  /** Undefined if the scenario has no Redis Cluster ({@link FaultHarnessOptions.redisCluster}). */
  readonly redisCluster: RedisCluster | undefined
  readonly ingresses: readonly ManagedIngress[]
  readonly projectors: readonly ManagedService[]
  startProjector(): Promise<ManagedService>
  /** Returns true if the harness has ended no process of this service. */
  lived(name: ServiceName): boolean
  readonly reconciliation: Reconciliation
  /** Sends one event on behalf of the fault, and counts the event in `reconciliation`. */
  post(
    ingress: ManagedService,
    event: Pick<MadeEvent, 'customerUuid' | 'body'>,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Response>
  /** Adds all records in quarantine to the reconciliation. */
  readQuarantine(): Promise<void>
  /** Reads from Kafka the offset after the last record of each partition of the customers topic. */
  ends(): Promise<Map<number, number>>
  /** Reads from Redis the next offset to apply of each partition of the customers topic. */
  positions(): Promise<Map<number, number>>
  /**
   * Returns the number of records between the positions in Redis and the end of the topic.
   * Undefined if Kafka or Redis does not answer.
   */
  lag(): Promise<number | undefined>
  close(): Promise<void>
}

export interface FaultHarnessOptions extends ServiceOptions {
  readonly seed: number
  /** Events per second of each sender. */
  readonly ratePerSecond?: number
  /** Projection whose positions count at the end of the scenario. */
  readonly projection?: number
  /** True for a Redis with a replica and Sentinels, in place of `harness.redis`. */
  readonly sentinels?: boolean
  /** True for a Redis Cluster with a replica of each master, in place of `harness.redis`. */
  readonly redisCluster?: boolean
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one state
export const openFaultHarness = async (cluster: KafkaCluster, options: FaultHarnessOptions): Promise<FaultHarness> => {
  const sentinels = options.sentinels ? await startRedisWithSentinels() : undefined
  await sentinels?.untilWatched()
  const first = await cluster.startRedis()
  const { hostname: host, port } = new URL(first.url)
  let server = first
  const servers = [first]
  const target = { host, port: Number(port) }
  const network = await openTcpProxy(target)
  const redisUrl = `redis://127.0.0.1:${network.port}`
  const redisCluster = options.redisCluster ? await startRedisCluster({ hasReplicas: true }) : undefined
  const pipeline = await openPipeline({
    kafkaBrokers: cluster.kafkaBrokers,
    redisUrl: redisCluster?.url ?? redisUrl,
    redisEnv: {
      // A half-open connection never replies. After this timeout the projector opens a new
      // connection.
      REDIS_COMMAND_TIMEOUT_MS: '3000',
      ...(redisCluster && { REDIS_CLUSTER: 'true' }),
      ...sentinels?.env,
    },
  })
  const { manage, manageIngress, lived } = createManager(pipeline, cluster.proxiedBrokers, options)
  const ingresses = await Promise.all([manageIngress(), manageIngress()])
  const projectors = await Promise.all([manage('projector'), manage('projector')])
  await Promise.all([...ingresses, ...projectors].map(({ process }) => process.untilReady()))

  const senders = startSenders(
    ingresses.map((ingress) => `http://127.0.0.1:${ingress.network.port}`),
    { ...pipeline, ...options, ledgerPath: join(pipeline.folder, 'ledger.jsonl') },
  )

  const { topics } = pipeline
  const { projection = PROJECTION_VERSION } = options
  const reconciliation = createReconciliation(topics.customers)
  const positions = async () => {
    const of = { topic: topics.customers, projection, keyPrefix: pipeline.keyPrefix }
    const progress = (await readProgress(pipeline.redis, of)) ?? []
    return new Map(progress.map(({ partition, position }) => [partition, Number(position ?? 0)]))
  }

  const ends = async () => {
    const offsets = await pipeline.admin.fetchTopicOffsets(topics.customers)
    return new Map(offsets.map(({ partition, high }) => [partition, Number(high)]))
  }

  return {
    ...senders,
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
    sentinels,
    redisCluster,
    ingresses,
    projectors,
    startProjector: () => manage('projector'),
    lived,
    reconciliation,
    post: async ({ process }, { customerUuid, body }, headers) => {
      const print = fingerprint(customerUuid, sha256(body))
      // Add the event before the answer, because Kafka may store the event although no answer
      // comes.
      reconciliation.posted(print, false)
      const answer = await pipeline.post(process, body, headers)
      if (answer.ok) reconciliation.posted(print, true)
      return answer
    },
    readQuarantine: async () => {
      await readTopic(pipeline.admin, topics.quarantine, ({ key, value, headers = {} }) => {
        const header = (name: string) => String(headers[name] ?? '')
        const { topic, partition, offset } = QUARANTINE_HEADERS
        reconciliation.quarantined(
          placeOf(header(topic), header(partition), header(offset)),
          fingerprint(key?.toString() ?? null, sha256(value ?? '')),
        )
      })
    },
    ends,
    positions,
    lag: async () => {
      try {
        const [highs, stored] = await Promise.all([ends(), positions()])
        return [...highs].reduce((sum, [partition, high]) => sum + Math.max(0, high - (stored.get(partition) ?? 0)), 0)
      } catch {
        return undefined
      }
    },
    close: async () => {
      await senders.stopLoad().catch(() => undefined)
      // End all faults of a failed scenario. Otherwise these faults would affect the next scenario.
      for (const broker of cluster.brokers) {
        await broker.thaw()
        broker.network.set('open')
      }
      await Promise.all(cluster.brokers.map((broker) => broker.restart()))
      await pipeline.close({ removeTopics: true })
      await Promise.all([network, ...ingresses.map((ingress) => ingress.network)].map((each) => each.close()))
      await Promise.all(servers.map((each) => each.stop()))
      await sentinels?.stop()
      await redisCluster?.stop()
    },
  }
}
