import { freePorts } from './free-ports.ts'
import { CLUSTER_SIZE } from './kafka-settings.ts'
import { type ControlledBroker, placeCluster } from './local-broker.ts'
import { startLocalKafka } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import type { Provider } from './provider.ts'
import { openRun } from './run.ts'

/** Opens a provider of real servers as local processes. */
export const openLocal = async (log: (line: string) => void): Promise<Provider> => {
  const run = await openRun()
  let brokers: readonly ControlledBroker[] = []
  return {
    kind: 'local',
    startKafka: () => startLocalKafka(run, log),
    startKafkaCluster: async () => {
      brokers = await placeCluster(run, log, await freePorts(2 * CLUSTER_SIZE))
      await Promise.all(brokers.map((broker) => broker.start()))
      return brokers
    },
    startRedis: (options) => startLocalRedis(run, log, options),
    close: async () => {
      const closed = run.close()
      // Kill the brokers. A graceful shutdown of all brokers at once would wait for new leaders,
      // which do not exist.
      await Promise.all(brokers.map((broker) => broker.kill()))
      await closed
    },
  }
}
