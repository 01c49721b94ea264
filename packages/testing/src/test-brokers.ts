import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createKafka, type KafkaSettings, kafkaSettings } from '@customer-stream/runtime/kafka'
import { inject } from 'vitest'
import type { RedisOptions, RedisServer } from './brokers/index.ts'
import { openProvider } from './brokers/index.ts'
import type {} from './vitest-brokers.ts'

/** The run's own Redis. */
export const testRedisUrl = (): string => inject('brokers').redisUrl

export const silentLogger = createLogger('test', 'silent')

/** Settings for the run's own Kafka, as a service would read them. */
export const testKafkaSettings = (env: Readonly<Record<string, string>> = {}): KafkaSettings =>
  loadSettings(kafkaSettings, {
    KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
    KAFKA_CREATE_TOPICS: 'true',
    KAFKA_REPLICATION_FACTOR: '1',
    ...env,
  })

export const testKafka = (settings: KafkaSettings = testKafkaSettings()) =>
  createKafka(settings, { clientId: 'test', logger: silentLogger })

const providers = new Map<string, ReturnType<typeof openProvider>>()

/**
 * One more Redis for one test, with its own flags and environment. The test stops it.
 * @param way `local` where the test needs a process of this machine, e.g. to show it a file.
 */
export const startRedis = async (options?: RedisOptions, way: 'local' | 'any' = 'any'): Promise<RedisServer> => {
  const provider = providers.get(way) ?? openProvider(undefined, way === 'local' ? { CUSTOMER_STREAM_BROKERS: 'local' } : process.env)
  providers.set(way, provider)
  return (await provider).startRedis(options)
}
