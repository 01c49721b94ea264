import kafkajs, { type KafkaConfig } from 'kafkajs'
import { createThrottledLog, type Logger } from '../process/log.ts'
import { currentTls } from '../process/tls.ts'
import { clientOf, type KafkaClient } from './kafka-client.ts'
import { patchKafkajs } from './patches/index.ts'
import { saslOf } from './sasl.ts'
import type { KafkaSettings } from './settings.ts'

patchKafkajs()

const levels = {
  // kafkajs logs each failed attempt as an error, even if kafkajs retries. The caller of kafkajs
  // logs the final error.
  [kafkajs.logLevel.ERROR]: 'warn',
  [kafkajs.logLevel.WARN]: 'info',
  [kafkajs.logLevel.INFO]: 'debug',
  [kafkajs.logLevel.DEBUG]: 'trace',
} as const

/**
 * Throttled log functions of each logger, by namespace and message. kafkajs logs one line for each
 * retry and connection. All clients of a logger share these functions, because in an outage all
 * clients fail together.
 */
const linesOf = new WeakMap<Logger, Map<string, (fields: object) => void>>()
const MAX_LINES = 100

const toPino = (logger: Logger): NonNullable<KafkaConfig['logCreator']> => {
  const lines = linesOf.get(logger) ?? new Map<string, (fields: object) => void>()
  linesOf.set(logger, lines)
  return () =>
    ({ level, namespace, log: { message, timestamp: _, logger: __, stack: ___, ...fields } }) => {
      const key = `${namespace} ${message}`
      // Use a low level. Messages such as "The group is rebalancing" occur at every deployment, and
      // do not mean a problem.
      const pinoLevel = levels[level as keyof typeof levels] ?? 'debug'
      const log = lines.get(key) ?? createThrottledLog((all) => logger[pinoLevel](all, message))
      if (lines.size >= MAX_LINES) lines.clear()
      lines.set(key, log)
      log({ kafkajs: namespace, ...fields })
    }
}

/**
 * Creates a client of kafkajs with the patches of this folder.
 * @param options.requestTimeoutMs overrides KAFKA_REQUEST_TIMEOUT_MS. A producer needs a shorter
 *   timeout, because the webhook's sender waits for the produce request.
 */
export const createKafka = (
  settings: KafkaSettings,
  { clientId, logger, requestTimeoutMs }: { clientId: string; logger: Logger; requestTimeoutMs?: number },
): KafkaClient => {
  const sasl = saslOf(settings)
  const kafka = new kafkajs.Kafka({
    clientId,
    brokers: [...settings.KAFKA_BROKERS],
    connectionTimeout: settings.KAFKA_CONNECTION_TIMEOUT_MS,
    authenticationTimeout: settings.KAFKA_CONNECTION_TIMEOUT_MS * 5,
    requestTimeout: requestTimeoutMs ?? settings.KAFKA_REQUEST_TIMEOUT_MS,
    ssl: settings.KAFKA_SSL && currentTls(settings, 'KAFKA_SSL'),
    ...(sasl && { sasl }),
    // These retries are for connections and metadata requests. With kafkajs' default a pause can
    // last 5 s. The client would then notice the end of an outage up to 5 s late.
    retry: { retries: 5, initialRetryTime: 200, maxRetryTime: 1000 },
    logLevel: kafkajs.logLevel.INFO,
    logCreator: toPino(logger),
  })
  return clientOf(kafka)
}
