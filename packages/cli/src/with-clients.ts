/**
 * Settings and clients of the commands that examine a running system. If Kafka or Redis refuses a
 * request, the error message names the address and the right or setting.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { projectorSettings } from '@customer-stream/configuration'
import { createLogger, integer, type Loaded, loadSettings, unlessAborted } from '@customer-stream/runtime'
import {
  createAdmin,
  createDiagnose,
  createKafka,
  isKafkaError,
  type KafkaClient,
  type KafkaSettings,
  kafkaRules,
  kafkaSettings,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import {
  connectRedis,
  createRedis,
  createRedisDiagnose,
  isRedisError,
  type RedisClient,
  redisRules,
  redisSettings,
} from '@customer-stream/runtime/redis'
import { PROJECTION_VERSION } from '@customer-stream/schemas'
import { requireReachable } from '@customer-stream/verify/reachable'
import { interruption, sayWhy } from './interruption.ts'

const LEAVE_KAFKA_MS = 500

const clientSettings = {
  ...kafkaSettings,
  ...redisSettings,
  PROJECTION_VERSION: integer({
    default: PROJECTION_VERSION,
    minimum: 1,
    maximum: 1_000_000,
    description: 'Number of the projection to examine.',
  }),
  MAX_FUTURE_MS: projectorSettings.MAX_FUTURE_MS,
}

type ClientSettings = Loaded<typeof clientSettings>

/** @throws SettingsError with all problems. */
export const loadClientSettings = (): ClientSettings =>
  loadSettings(clientSettings, process.env, [...kafkaRules, ...redisRules])

export interface Clients {
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  readonly redis: RedisClient
}

/** Returns a message about the error, with the address and the right or setting. */
export const explainKafka = (error: unknown, settings: KafkaSettings): string =>
  createDiagnose(settings, 'command')(error as Error, 'read Kafka').message

/** Replaces an error of Kafka or Redis by an error with the address and the right or setting. */
export const explained = (error: unknown, settings: ClientSettings, redis: RedisClient): unknown => {
  if (isKafkaError(error)) return new Error(explainKafka(error, settings))
  return isRedisError(error) ? new Error(createRedisDiagnose(settings, redis, 'command')(error).message) : error
}

/**
 * Disconnects. Waits only briefly, because kafkajs would wait for the replies of a hanging broker.
 */
const leave = (admin: TopicAdmin) => Promise.race([admin.disconnect(), sleep(LEAVE_KAFKA_MS)])

/**
 * Runs the work with connected clients. Ends the process with the exit code that `work` returns.
 */
export const withClients = async (
  command: string,
  settings: ClientSettings,
  work: (clients: Clients) => Promise<number>,
): Promise<never> => {
  const logger = createLogger(command, 'silent')
  const kafka = createKafka(settings, { clientId: `customer-stream-${command}`, logger })
  const admin = createAdmin(kafka, { isPatient: true })
  const redis = createRedis(settings, logger)
  const { signal } = interruption
  let exitCode = 1
  try {
    await unlessAborted(requireReachable(settings), signal)
    await unlessAborted(Promise.all([admin.connect(), connectRedis(redis)]), signal)
    exitCode = await work({ kafka, admin, redis })
  } catch (error) {
    exitCode = sayWhy(command, explained(error, settings, redis))
  } finally {
    redis.disconnect()
    await leave(admin)
  }
  process.exit(exitCode)
}

export type KafkaClients = Pick<Clients, 'kafka' | 'admin'>

/** Runs the work with clients of Kafka alone, for a command that does not use Redis. */
export const withKafka = async (
  command: string,
  settings: KafkaSettings,
  work: (clients: KafkaClients) => Promise<number>,
): Promise<never> => {
  const kafka = createKafka(settings, {
    clientId: `customer-stream-${command.replaceAll(' ', '-')}`,
    logger: createLogger(command, 'silent'),
  })
  const admin = createAdmin(kafka, { isPatient: true })
  const { signal } = interruption
  let exitCode = 1
  try {
    await unlessAborted(requireReachable({ KAFKA_BROKERS: settings.KAFKA_BROKERS }), signal)
    await unlessAborted(admin.connect(), signal)
    exitCode = await work({ kafka, admin })
  } catch (error) {
    exitCode = sayWhy(command, isKafkaError(error) ? new Error(explainKafka(error, settings)) : error)
  } finally {
    await leave(admin)
  }
  process.exit(exitCode)
}
