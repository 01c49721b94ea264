import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createKafka, type KafkaSettings, kafkaSettings } from '@customer-stream/runtime/kafka'
import { inject } from 'vitest'
import type { RedisOptions, RedisServer } from './brokers/index.ts'
import { openProvider } from './brokers/index.ts'
import type {} from './vitest-brokers.ts'

/** Returns the URL of the test run's Redis. */
export const testRedisUrl = (): string => inject('brokers').redisUrl

export const silentLogger = createLogger('test', 'silent')

/** Returns the settings of a service for the test run's Kafka. */
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
 * Starts another Redis for one test, with its own flags and environment. The test must stop this
 * Redis.
 * @param way `local` if the test needs a local process, e.g. a Redis that reads a file of the test.
 */
export const startRedis = async (options?: RedisOptions, way: 'local' | 'any' = 'any'): Promise<RedisServer> => {
  const provider =
    providers.get(way) ?? openProvider(undefined, way === 'local' ? { CUSTOMER_STREAM_BROKERS: 'local' } : process.env)
  providers.set(way, provider)
  return (await provider).startRedis(options)
}
