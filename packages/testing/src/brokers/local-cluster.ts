import { openTcpProxy, type TcpProxy } from '../faults/tcp-proxy.ts'
import { freePortsToKeep } from './free-ports.ts'
import type { GuardedProcess } from './guarded-process.ts'
import type { Brokers, StartOptions } from './index.ts'
import { clusterBroker } from './kafka-settings.ts'
import { type LocalBroker, placeBrokers, untilStarted } from './local-kafka.ts'
import { type LocalRedisServer, startLocalRedis } from './local-redis.ts'
import type { RedisOptions } from './provider.ts'
import { openRun } from './run.ts'
import { unlessAborted } from './unless-aborted.ts'

const SIZE = 3

/** What is done to a broker that does not run changes nothing. */
export interface ClusterBroker {
  readonly id: number
  /** host:port */
  readonly address: string
  /** The network between this broker and the clients that know it by {@link KafkaCluster.proxiedBrokers}. */
  readonly network: TcpProxy
  /** Frozen counts as running. */
  readonly running: boolean
  /** As a machine that loses power: SIGKILL. Its file system loses nothing, though. */
  kill(): Promise<void>
  /** Controlled shutdown: it hands its partitions over first, which takes 1.5 s. Where no other broker is up it cannot, and is killed after 10 s. */
  terminate(): Promise<void>
  /** As a machine that hangs: connections stay open, nothing is answered. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /**
   * Starts it again on its data and ports. Resolves when it takes requests, for which two brokers must be up: restart two that are down side by side.
   * After a kill it is let in when its old session is over, 3 s after its last heartbeat.
   */
  restart(): Promise<void>
}

/**
 * Each broker is a controller as well, and a change of the cluster needs two of three. So with two killed at once the third keeps its view of the ISR, and
 * a produce with acks=-1 ends in REQUEST_TIMED_OUT; where the second goes by `terminate`, the ISR shrinks first and it ends in NOT_ENOUGH_REPLICAS.
 */
export interface KafkaCluster extends Brokers {
  /** The same brokers, reached through their {@link ClusterBroker.network}. */
  readonly proxiedBrokers: readonly string[]
  readonly brokers: readonly ClusterBroker[]
  startRedis(options?: RedisOptions): Promise<LocalRedisServer>
}

interface ControlledBroker extends ClusterBroker {
  start(): Promise<void>
}

const controlled = ({ id, address, start }: LocalBroker, network: TcpProxy): ControlledBroker => {
  let server: GuardedProcess | undefined
  const isRunning = () => server !== undefined && !server.hasEnded()
  const send = async (signal: NodeJS.Signals): Promise<void> => {
    const pid = await server?.pid
    try {
      // 0, of a guard that has ended early, would be this process and all of its group.
      if (pid && isRunning()) process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // it ended a moment ago
    }
  }
  const run = async (): Promise<void> => {
    server = start()
    await untilStarted(`Kafka broker ${id}`, server)
  }
  return {
    id,
    address,
    network,
    get running() {
      return isRunning()
    },
    start: run,
    kill: async () => {
      await send('SIGKILL')
      await server?.ended
    },
    terminate: async () => server?.end(),
    freeze: () => send('SIGSTOP'),
    thaw: () => send('SIGCONT'),
    restart: async () => {
      if (!isRunning()) await run()
    },
  }
}

/** Three Kafka brokers that replicate, and one Redis: always local processes, since each broker can be killed, frozen and started again. */
export const startCluster = async ({ log = () => {}, signal }: Omit<StartOptions, 'env'> = {}): Promise<KafkaCluster> => {
  const run = await openRun()
  let brokers: readonly ControlledBroker[] = []
  const stop = async () => {
    const closed = run.close()
    // A controlled shutdown of all at once would wait for a leader that no longer comes.
    await Promise.all(brokers.map((broker) => broker.kill()))
    await Promise.all(brokers.map(({ network }) => network.close()))
    await closed
  }

  const start = async () => {
    const ports = await freePortsToKeep(3 * SIZE)
    const networks = await Promise.all(ports.slice(2 * SIZE).map((port) => openTcpProxy({ host: '127.0.0.1', port })))
    const placed = await placeBrokers(run, log, {
      settings: clusterBroker,
      maxHeap: '384m',
      ports: ports.slice(0, 2 * SIZE),
      listeners: networks.map((network, i) => [
        { name: 'PROXIED', protocol: 'PLAINTEXT', port: ports[2 * SIZE + i]!, advertisedPort: network.port },
      ]),
    })
    brokers = placed.map((broker, i) => controlled(broker, networks[i]!))
    const [redis] = await Promise.all([startLocalRedis(run, log), ...brokers.map((broker) => broker.start())])
    return redis
  }
  try {
    const redis = await unlessAborted(start(), signal)
    const kafkaBrokers = brokers.map(({ address }) => address)
    const description = `a cluster of ${SIZE} brokers in local processes: Kafka ${kafkaBrokers.join(',')}, Redis ${new URL(redis.url).host}`
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
