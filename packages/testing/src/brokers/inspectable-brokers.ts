import { freePortsToKeep } from './free-ports.ts'
import { singleBroker } from './kafka-settings.ts'
import { placeBrokers, untilStarted } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import { openRun } from './run.ts'

/** One Kafka broker and one Redis whose files a test can read. */
export interface InspectableBrokers {
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
  /** All files of both servers are in this folder. */
  readonly folder: string
  stop(): Promise<void>
}

/**
 * Starts both servers as local processes.
 * @param settings of the broker, beside those of all tests.
 */
export const startInspectableBrokers = async (
  settings: Readonly<Record<string, string>>,
  log: (line: string) => void = () => {},
): Promise<InspectableBrokers> => {
  const run = await openRun()
  try {
    const [broker] = await placeBrokers(run, log, {
      settings: { ...singleBroker, ...settings },
      maxHeap: '512m',
      ports: await freePortsToKeep(2),
    })
    const [redis] = await Promise.all([startLocalRedis(run, log), untilStarted('Kafka', broker!.start())])
    return { kafkaBrokers: [broker!.address], redisUrl: redis.url, folder: run.folder, stop: run.close }
  } catch (error) {
    await run.close()
    throw error
  }
}
