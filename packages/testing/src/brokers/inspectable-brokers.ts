import { freePorts } from './free-ports.ts'
import { singleBroker } from './kafka-settings.ts'
import { controlled } from './local-broker.ts'
import { placeBrokers } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import type { KillableServer } from './provider.ts'
import { openRun } from './run.ts'

/** One Kafka broker and one Redis whose files a test can read. The test can kill both servers. */
export interface InspectableBrokers {
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
  readonly kafka: KillableServer
  readonly redis: KillableServer
  /** All files of both servers are in this folder. */
  readonly folder: string
  stop(): Promise<void>
}

/**
 * Starts both servers as local processes.
 * @param settings additional settings of the broker.
 */
export const startInspectableBrokers = async (
  settings: Readonly<Record<string, string>>,
  log: (line: string) => void = () => {},
): Promise<InspectableBrokers> => {
  const run = await openRun()
  try {
    const [placed] = await placeBrokers(run, log, {
      settings: { ...singleBroker, ...settings },
      maxHeap: '512m',
      ports: await freePorts(2),
    })
    const kafka = controlled(placed!)
    const [redis] = await Promise.all([startLocalRedis(run, log), kafka.start()])
    return { kafkaBrokers: [kafka.address], redisUrl: redis.url, kafka, redis, folder: run.folder, stop: run.close }
  } catch (error) {
    await run.close()
    throw error
  }
}
