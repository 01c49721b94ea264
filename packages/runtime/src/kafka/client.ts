import kafkajs, { type Admin, type Kafka, type KafkaConfig, type SASLOptions } from 'kafkajs'
import type { Logger } from '../log.ts'
import type { Loaded } from '../settings.ts'
import { patchBrokerConnect } from './broker-connect-patch.ts'
import { patchClock } from './clock-patch.ts'
import { patchConnection } from './connection-patch.ts'
import { patchCoordinatorSearch } from './coordinator-patch.ts'
import { patchFetch } from './fetch-patch.ts'
import { patchIsolation } from './isolation-patch.ts'
import { patchLogin } from './login-patch.ts'
import { patchMetadata } from './metadata-patch.ts'
import { patchMissingLeader } from './missing-leader-patch.ts'
import { patchProduceConnection } from './produce-connection-patch.ts'
import { patchRequestQueue } from './request-queue-patch.ts'
import type { kafkaSettings } from './settings.ts'
import { adminWithCluster } from './topic-identity.ts'

export type { Admin, Kafka }
export type KafkaSettings = Loaded<typeof kafkaSettings>

patchRequestQueue()
patchClock()
patchBrokerConnect()
patchConnection()
// The innermost of the two patches of the same function: it does not see refreshes of metadata.
patchIsolation()
patchMissingLeader()
patchCoordinatorSearch()
patchLogin()
patchMetadata()
patchProduceConnection()
patchFetch()

const levels = {
  // Each is one attempt, which kafkajs or its caller repeats, also while a group forms at a healthy start. An error is logged by the caller.
  [kafkajs.logLevel.ERROR]: 'warn',
  [kafkajs.logLevel.WARN]: 'info',
  [kafkajs.logLevel.INFO]: 'debug',
  [kafkajs.logLevel.DEBUG]: 'trace',
} as const

/** kafkajs logs an error per retry and connection; the same message is passed on once in this time. */
const REPEATS_HELD_BACK_MS = 10_000

const toPino = (logger: Logger): NonNullable<KafkaConfig['logCreator']> => {
  const lastLogged = new Map<string, number>()
  return () =>
    ({ level, namespace, log: { message, timestamp: _, logger: __, stack: ___, ...fields } }) => {
      const key = `${namespace} ${message}`
      const now = performance.now()
      if (now - (lastLogged.get(key) ?? -REPEATS_HELD_BACK_MS) < REPEATS_HELD_BACK_MS) return
      if (lastLogged.size >= 100) lastLogged.clear()
      lastLogged.set(key, now)
      // "The group is rebalancing" and the like are events of every deployment, not trouble; what matters of them is in our own log and metrics.
      logger[levels[level as keyof typeof levels] ?? 'debug']({ kafkajs: namespace, ...fields }, message)
    }
}

const tlsOf = (settings: KafkaSettings): Exclude<KafkaConfig['ssl'], undefined> =>
  settings.KAFKA_SSL && { ca: settings.KAFKA_SSL_CA, cert: settings.KAFKA_SSL_CERT, key: settings.KAFKA_SSL_KEY }

const saslOf = (settings: KafkaSettings): SASLOptions | undefined => {
  const mechanism = settings.KAFKA_SASL_MECHANISM
  if (mechanism === 'none') return undefined
  return { mechanism, username: settings.KAFKA_SASL_USERNAME ?? '', password: settings.KAFKA_SASL_PASSWORD ?? '' } as SASLOptions
}

/** A kafkajs client with our guards. A producer gives up on a request earlier than the setting says: its sender waits. */
export const createKafka = (
  settings: KafkaSettings,
  { clientId, logger, requestTimeoutMs }: { clientId: string; logger: Logger; requestTimeoutMs?: number },
): Kafka => {
  const sasl = saslOf(settings)
  return new kafkajs.Kafka({
    clientId,
    brokers: [...settings.KAFKA_BROKERS],
    connectionTimeout: settings.KAFKA_CONNECTION_TIMEOUT_MS,
    authenticationTimeout: settings.KAFKA_CONNECTION_TIMEOUT_MS * 5,
    requestTimeout: requestTimeoutMs ?? settings.KAFKA_REQUEST_TIMEOUT_MS,
    ssl: tlsOf(settings),
    ...(sasl && { sasl }),
    // Retries of connecting, and of asking for brokers and leaders. kafkajs' own pauses grow to five seconds, by which an outage would last longer.
    retry: { retries: 5, initialRetryTime: 200, maxRetryTime: 1000 },
    logLevel: kafkajs.logLevel.INFO,
    logCreator: toPino(logger),
  })
}

/** An admin client, for asking and creating. Its callers retry by themselves: kafkajs' five retries would only delay the error. */
export const createAdmin = (kafka: Kafka): Admin =>
  adminWithCluster(kafka, { retry: { retries: 1, initialRetryTime: 100, maxRetryTime: 1000 } })
