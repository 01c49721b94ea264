import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { clusterBroker } from './kafka-settings.ts'
import { type Listener, type LocalBroker, placeBrokers, untilStarted } from './local-kafka.ts'
import type { KafkaNode } from './provider.ts'
import type { Run } from './run.ts'
import type { SupervisedProcess } from './supervised-process.ts'

/**
 * Broker as a local process. `kill`, `terminate`, `freeze` and `thaw` have no effect if the broker
 * does not run.
 */
export interface ControlledBroker extends KafkaNode {
  /** True while the process exists, even if it is frozen. */
  readonly running: boolean
  start(): Promise<void>
  /**
   * Sends SIGKILL. Written data survive, because they are in the memory of the operating system.
   */
  kill(): Promise<void>
  /**
   * Shuts the broker down. The broker first hands its partitions over to other brokers (1.5 s). If
   * no other broker is up, the broker is killed after 10 s.
   */
  terminate(): Promise<void>
  /**
   * Freezes the process. As with a hanging machine, connections stay open, and no request gets an
   * answer.
   */
  freeze(): Promise<void>
  thaw(): Promise<void>
  /**
   * Makes each write of the broker to a file fail, as on a full disk. A broker ends itself at the
   * first write that fails. Resolves when the broker has ended. Needs Linux.
   */
  fillDisk(): Promise<void>
  /**
   * Starts the broker again with its data and ports. Resolves when the broker accepts requests. A
   * broker can start only if another broker runs. If two brokers are down, restart both at the same
   * time. After a kill, the cluster accepts the broker again when the old session has ended, 3 s
   * after the last heartbeat.
   */
  restart(): Promise<void>
}

export const controlled = ({ id, address, start }: LocalBroker): ControlledBroker => {
  let server: SupervisedProcess | undefined
  const isRunning = () => server !== undefined && !server.hasEnded()
  const send = async (signal: NodeJS.Signals): Promise<void> => {
    const pid = await server?.pid
    try {
      // The pid is 0 if the supervisor has ended early. Never send a signal to pid 0, because it
      // would reach this process and its whole group.
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
    fillDisk: async () => {
      const pid = await server?.pid
      await promisify(execFile)('prlimit', [`--pid=${pid}`, '--fsize=0:'])
      await server?.ended
    },
    restart: async () => {
      if (!isRunning()) await run()
    },
  }
}

/**
 * Prepares the brokers of a cluster without starting them.
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
