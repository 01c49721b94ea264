import type { GuardedProcess } from './guarded-process.ts'
import { clusterBroker } from './kafka-settings.ts'
import { type Listener, type LocalBroker, placeBrokers, untilStarted } from './local-kafka.ts'
import type { KafkaNode } from './provider.ts'
import type { Run } from './run.ts'

/**
 * A broker as a local process. `kill`, `terminate`, `freeze` and `thaw` change nothing if the
 * broker does not run.
 */
export interface ControlledBroker extends KafkaNode {
  /** True while the process exists, also while it is frozen. */
  readonly running: boolean
  start(): Promise<void>
  /** Sends SIGKILL. Unlike after a loss of power, written data survive in the file system. */
  kill(): Promise<void>
  /**
   * Shuts down in order: the broker first hands its partitions over, which takes 1.5 s. If no other
   * broker is up, it cannot hand them over and is killed after 10 s.
   */
  terminate(): Promise<void>
  /**
   * Stops the process, like a machine that hangs: connections stay open, and nothing is answered.
   */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /**
   * Starts the broker again with its data and ports. Resolves when the broker accepts requests.
   * This needs two running brokers. If two are down, restart both at the same time. After a
   * kill, the cluster accepts the broker when its old session has ended, 3 s after its last
   * heartbeat.
   */
  restart(): Promise<void>
}

const controlled = ({ id, address, start }: LocalBroker): ControlledBroker => {
  let server: GuardedProcess | undefined
  const isRunning = () => server !== undefined && !server.hasEnded()
  const send = async (signal: NodeJS.Signals): Promise<void> => {
    const pid = await server?.pid
    try {
      // The pid is 0 if the supervisor has ended early. A signal to pid 0 would reach this process
      // and its whole group.
      if (pid && isRunning()) process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // ESRCH: the process has just ended
    }
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

/**
 * Prepares the brokers of a cluster. They are not started yet.
 * @param ports two ports for each broker.
 */
export const placeCluster = async (
  run: Run,
  log: (line: string) => void,
  ports: readonly number[],
  listeners: readonly (readonly Listener[])[] = [],
): Promise<ControlledBroker[]> => {
  const placed = await placeBrokers(run, log, { settings: clusterBroker, maxHeap: '384m', ports, listeners })
  return placed.map(controlled)
}
