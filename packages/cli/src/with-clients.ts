/**
 * Settings and clients of the commands that examine a running system. If Kafka or Redis refuses a
 * request, the error message names the address, and the missing right or the setting to check.
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
  quotaDelay,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import {
  connectRedis,
  createRedis,
  createRedisDiagnose,
  isRedisError,
  type RedisClient,
  type RedisSettings,
  redisRules,
  redisSettings,
} from '@customer-stream/runtime/redis'
import { PROJECTION_VERSION } from '@customer-stream/schemas'
import { requireReachable } from '@customer-stream/verify/reachable'
import { interruption, printNotice, reportFailure } from './interruption.ts'

const DISCONNECT_MS = 500

export const clientSettings = {
  ...kafkaSettings,
  ...redisSettings,
  PROJECTION_VERSION: integer({
    default: PROJECTION_VERSION,
    minimum: 1,
    maximum: 1_000_000,
    description: 'Number of the projection to examine.',
  }),
  MAX_FUTURE_MS: projectorSettings.MAX_FUTURE_MS,
  ADMIN_TOKEN: projectorSettings.ADMIN_TOKEN,
}

type ClientSettings = Loaded<typeof clientSettings>

export const clientRules = [...kafkaRules, ...redisRules]

/** @throws SettingsError with all problems. */
export const loadClientSettings = (): ClientSettings => loadSettings(clientSettings, process.env, clientRules)

export interface Clients {
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  readonly redis: RedisClient
}

/**
 * Returns a message about the error. The message names the address, and the missing right or the
 * setting to check.
 */
export const explainKafka = (error: unknown, settings: KafkaSettings): string =>
  createDiagnose(settings, 'command')(error as Error, 'read Kafka').message

/** A Redis client, with the settings that the message about an error names. */
interface RedisAccess {
  readonly redis: RedisClient
  readonly settings: RedisSettings
}

/**
 * Replaces an error of Kafka or Redis by an error that names the address, and the missing right or
 * the setting to check.
 */
export const explained = (error: unknown, settings: KafkaSettings, access?: RedisAccess): unknown => {
  if (isKafkaError(error)) return new Error(explainKafka(error, settings))
  if (access === undefined || !isRedisError(error)) return error
  return new Error(createRedisDiagnose(access.settings, access.redis, 'command')(error).message)
}

/**
 * Disconnects. Waits at most 0.5 s, because kafkajs would wait for the replies of a hanging broker.
 */
const disconnect = (admin: TopicAdmin) => Promise.race([admin.disconnect(), sleep(DISCONNECT_MS)])

/**
 * Connects. Limits the wait to the time of two requests, which is enough to ask two brokers.
 * Without this limit, if Kafka accepts connections but never answers, kafkajs would try for a
 * minute.
 */
export const connectKafka = (
  admin: Pick<TopicAdmin, 'connect'>,
  { KAFKA_BROKERS, KAFKA_REQUEST_TIMEOUT_MS }: Pick<KafkaSettings, 'KAFKA_BROKERS' | 'KAFKA_REQUEST_TIMEOUT_MS'>,
): Promise<void> => {
  const limitMs = 2 * KAFKA_REQUEST_TIMEOUT_MS
  const silence = Promise.withResolvers<never>()
  const message =
    `Kafka at ${KAFKA_BROKERS.join(', ')} accepts connections, but did not answer within ${limitMs / 1000} s. ` +
    'Check that KAFKA_BROKERS has the addresses of brokers, and look at their logs.'
  const timer = setTimeout(() => silence.reject(new Error(message)), limitMs)
  return Promise.race([admin.connect(), silence.promise]).finally(() => clearTimeout(timer))
}

const QUOTA_CHECK_MS = 1000

/**
 * Prints the first delay that a quota of Kafka causes. Without this text the operator would not
 * know why a command is slow.
 */
export const reportQuota = (command: string): NodeJS.Timeout => {
  const timer = setInterval(() => {
    const delay = quotaDelay()
    if (delay === undefined) return
    clearInterval(timer)
    printNotice(`${command}: ${delay}`)
  }, QUOTA_CHECK_MS).unref()
  return timer
}

export type KafkaClients = Pick<Clients, 'kafka' | 'admin'>

/**
 * Runs the work with connected clients of Kafka. Returns the exit code of the work, or 1 if it
 * fails.
 * @param access client of Redis. If given, this client is also connected.
 */
export const withKafka = async (
  command: string,
  settings: KafkaSettings,
  work: (clients: KafkaClients) => Promise<number>,
  access?: RedisAccess,
): Promise<number> => {
  const clientId = `customer-stream-${command.replaceAll(' ', '-')}`
  const kafka = createKafka(settings, { clientId, logger: createLogger(command, 'silent') })
  const admin = createAdmin(kafka, { isPatient: true })
  const { signal } = interruption
  const quotaTimer = reportQuota(command)
  try {
    await unlessAborted(requireReachable({ KAFKA_BROKERS: settings.KAFKA_BROKERS, ...access?.settings }), signal)
    await unlessAborted(Promise.all([connectKafka(admin, settings), access && connectRedis(access.redis)]), signal)
    return await work({ kafka, admin })
  } catch (error) {
    return reportFailure(command, explained(error, settings, access))
  } finally {
    clearInterval(quotaTimer)
    access?.redis.disconnect()
    await disconnect(admin)
  }
}

/** Runs the work with connected clients of Kafka and Redis. Returns the exit code. */
export const withClients = (
  command: string,
  settings: ClientSettings,
  work: (clients: Clients) => Promise<number>,
): Promise<number> => {
  const redis = createRedis(settings, createLogger(command, 'silent'))
  return withKafka(command, settings, (clients) => work({ ...clients, redis }), { redis, settings })
}
