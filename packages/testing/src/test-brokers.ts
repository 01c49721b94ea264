import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createKafka, type KafkaSettings, kafkaSettings } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { afterAll, beforeAll, inject, onTestFinished } from 'vitest'
import { openProvider, type RedisOptions, type RedisServer } from './brokers/index.ts'
import { startRedisCluster } from './brokers/local-redis-cluster.ts'
import { openRedis } from './open-redis.ts'
import type {} from './vitest-brokers.ts'

/** Returns the URL of the test run's Redis. */
export const testRedisUrl = (): string => inject('brokers').redisUrl

export const silentLogger = createLogger('test', 'silent')

const connect = (env: Readonly<Record<string, string>>) => openRedis({ REDIS_URL: testRedisUrl(), ...env })

/**
 * Connects a test to the test run's Redis, until the test ends.
 * @param env settings, for example of another Redis.
 */
export const connectTestRedis = async (env: Readonly<Record<string, string>> = {}): Promise<RedisClient> => {
  const client = await connect(env)
  onTestFinished(() => client.disconnect())
  return client
}

export const REDIS_KINDS = ['one Redis', 'Redis Cluster'] as const

/** Connects the tests of a file to the test run's Redis, and to their own Redis Cluster. */
export const connectBothKinds = (): Readonly<Record<(typeof REDIS_KINDS)[number], RedisClient>> => {
  const clients = {} as Record<(typeof REDIS_KINDS)[number], RedisClient>
  let stop: (() => Promise<void>) | undefined
  beforeAll(async () => {
    const cluster = await startRedisCluster()
    stop = cluster.stop
    clients['one Redis'] = await connect({})
    clients['Redis Cluster'] = await connect({ REDIS_URL: cluster.url, REDIS_CLUSTER: 'true' })
  })
  afterAll(async () => {
    for (const client of Object.values(clients)) client.disconnect()
    await stop?.()
  })
  return clients
}

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

/** Default options of a consumer, for tests that do not depend on these options. */
export const testConsumer = {
  instance: 'test',
  sessionTimeoutMs: 6000,
  maxWaitMs: 50,
  maxFetchBytes: 1024 * 1024,
  partitionsConcurrently: 1,
  logger: silentLogger,
  onAssigned: () => undefined,
}
