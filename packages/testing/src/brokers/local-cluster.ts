import { unlessAborted } from '@customer-stream/runtime'
import { freePorts } from './free-ports.ts'
import type { Brokers, StartOptions } from './index.ts'
import { CLUSTER_SIZE } from './kafka-settings.ts'
import { type ControlledBroker, placeCluster } from './local-broker.ts'
import { type LocalRedisServer, startLocalRedis } from './local-redis.ts'
import type { RedisOptions } from './provider.ts'
import { openRun } from './run.ts'
import { openTcpProxy, type TcpProxy } from './tcp-proxy.ts'

export interface ClusterBroker extends ControlledBroker {
  /** Proxy between this broker and the clients that use {@link KafkaCluster.proxiedBrokers}. */
  readonly network: TcpProxy
}

/**
 * Cluster of three brokers. Each broker is also a controller. The cluster can change its metadata
 * only while two of the three controllers run. If two brokers are killed at the same time, the list
 * of in-sync replicas cannot shrink. A produce request with acks=-1 then fails with
 * REQUEST_TIMED_OUT. If the second broker ends by `terminate`, the list shrinks, and the produce
 * request fails with NOT_ENOUGH_REPLICAS.
 */
export interface KafkaCluster extends Brokers {
  /** Addresses of the brokers through their proxies ({@link ClusterBroker.network}). */
  readonly proxiedBrokers: readonly string[]
  readonly brokers: readonly ClusterBroker[]
  startRedis(options?: RedisOptions): Promise<LocalRedisServer>
}

/**
 * Starts three replicating Kafka brokers, and one Redis. All servers are local processes, so that
 * tests can kill, freeze and restart each broker.
 */
export const startCluster = async ({
  log = () => {},
  signal,
}: Omit<StartOptions, 'env'> = {}): Promise<KafkaCluster> => {
  const run = await openRun()
  let brokers: readonly ClusterBroker[] = []
  const stop = async () => {
    const closed = run.close()
    // Kill the brokers. A graceful shutdown of all brokers at once would wait for new leaders,
    // which do not exist.
    await Promise.all(brokers.map((broker) => broker.kill()))
    await Promise.all(brokers.map(({ network }) => network.close()))
    await closed
  }

  const start = async () => {
    const ports = await freePorts(3 * CLUSTER_SIZE)
    const proxiedPorts = ports.splice(2 * CLUSTER_SIZE)
    const networks = await Promise.all(proxiedPorts.map((port) => openTcpProxy({ host: '127.0.0.1', port })))
    const listeners = networks.map((network, i) => [
      { name: 'PROXIED', protocol: 'PLAINTEXT' as const, port: proxiedPorts[i]!, advertisedPort: network.port },
    ])
    const placed = await placeCluster(run, log, ports, listeners)
    brokers = placed.map((broker, i) => Object.assign(broker, { network: networks[i]! }))
    const [redis] = await Promise.all([startLocalRedis(run, log), ...brokers.map((broker) => broker.start())])
    return redis
  }
  try {
    const redis = await unlessAborted(start(), signal)
    const kafkaBrokers = brokers.map(({ address }) => address)
    const description =
      `a cluster of ${CLUSTER_SIZE} brokers in local processes: Kafka ${kafkaBrokers.join(',')}, Redis ` +
      `${new URL(redis.url).host}`
    log(description)
    return {
      kind: 'local',
      brokers,
      kafkaBrokers,
      proxiedBrokers: brokers.map(({ network }) => `127.0.0.1:${network.port}`),
      redisUrl: redis.url,
      description,
      startRedis: (options) => startLocalRedis(run, log, options),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
