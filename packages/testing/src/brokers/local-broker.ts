import type { GuardedProcess } from './guarded-process.ts'
import { clusterBroker } from './kafka-settings.ts'
import { type Listener, type LocalBroker, placeBrokers, untilStarted } from './local-kafka.ts'
import type { KafkaNode } from './provider.ts'
import type { Run } from './run.ts'

/** A broker as a process of this machine. What is done to a broker that does not run changes nothing. */
export interface ControlledBroker extends KafkaNode {
  /** Frozen counts as running. */
  readonly running: boolean
  start(): Promise<void>
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

const controlled = ({ id, address, start }: LocalBroker): ControlledBroker => {
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

/** @param ports two for each broker. */
export const placeCluster = async (
  run: Run,
  log: (line: string) => void,
  ports: readonly number[],
  listeners: readonly (readonly Listener[])[] = [],
): Promise<ControlledBroker[]> => {
  const placed = await placeBrokers(run, log, { settings: clusterBroker, maxHeap: '384m', ports, listeners })
  return placed.map(controlled)
}
