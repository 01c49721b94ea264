import { freePortsToKeep } from './free-ports.ts'
import type { GuardedProcess } from './guarded-process.ts'
import type { Brokers, StartOptions } from './index.ts'
import { clusterBroker } from './kafka-settings.ts'
import { type LocalBroker, placeBrokers, untilStarted } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import { openRun } from './run.ts'
import { unlessAborted } from './unless-aborted.ts'

const SIZE = 3

/** What is done to a broker that does not run changes nothing. */
export interface ClusterBroker {
  readonly id: number
  /** host:port */
  readonly address: string
  /** Frozen counts as running. */
  readonly running: boolean
  /** As a machine that loses power: SIGKILL. Its file system loses nothing, though. */
  kill(): Promise<void>
  /** Controlled shutdown: it hands its partitions over first. Killed after ten seconds, which it needs where no other broker is up. */
  terminate(): Promise<void>
  /** As a machine that hangs: connections stay open, nothing is answered. */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /** Starts it again on its data and ports. Resolves when it takes requests, for which two brokers must be up: restart two that are down side by side. */
  restart(): Promise<void>
}

export interface KafkaCluster extends Brokers {
  readonly brokers: readonly ClusterBroker[]
}

interface ControlledBroker extends ClusterBroker {
  start(): Promise<void>
}

const controlled = ({ id, address, start }: LocalBroker): ControlledBroker => {
  let server: GuardedProcess | undefined
  const isRunning = () => server !== undefined && !server.hasEnded()
  const send = async (signal: NodeJS.Signals): Promise<void> => {
    const pid = await server?.pid
    // 0, of a guard that has ended early, would be this process and all of its group.
    if (pid && isRunning()) process.kill(pid, signal)
  }
  const run = async (): Promise<void> => {
    server = start()
    await untilStarted(`Kafka broker ${id}`, server)
  }
  return {
    id,
    address,
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
    await closed
  }

  const start = async () => {
    const placed = await placeBrokers(run, log, {
      settings: clusterBroker,
      maxHeap: '384m',
      ports: await freePortsToKeep(2 * SIZE),
    })
    brokers = placed.map(controlled)
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
