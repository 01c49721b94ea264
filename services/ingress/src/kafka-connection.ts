/** Connects the ingress to Kafka, checks topics and rights, and detects outages. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type IngressSettings, ingressDemands } from '@customer-stream/configuration'
import { type Diagnosis, type Logger, type Obstacles, retryWithBackoff } from '@customer-stream/runtime'
import {
  BLOCKED_BACKOFF,
  createAdmin,
  createKafka,
  createKafkaCheck,
  createTopicWatch,
  createWriteCheck,
  type Diagnose,
  TopicError,
} from '@customer-stream/runtime/kafka'
import type { TopicNames } from '@customer-stream/schemas'
import type { Delivery } from './delivery/delivery.ts'

export interface KafkaConnectionDependencies {
  readonly settings: IngressSettings
  readonly topics: TopicNames
  readonly delivery: Pick<Delivery, 'publishers' | 'spool'>
  readonly obstacles: Obstacles
  readonly diagnose: Diagnose
  readonly logger: Logger
}

export interface KafkaConnection {
  /**
   * Connects to Kafka. Retries until the connection succeeds or the signal aborts. Until then
   * requests get 503, or their records go to the spool.
   * @throws TopicError if a topic is wrong. The process must then end.
   */
  start(signal: AbortSignal): Promise<void>
  /** True if the numbers of partitions of all topics are known. */
  readonly partitionsKnown: boolean
  /** True after the first check of topics and rights. */
  readonly topicsChecked: boolean
  /** Checks topics and rights again, if they were checked before. */
  checkTopics(): Promise<void>
  /**
   * Warnings about topics that work but should be checked by a person. Each warning is one
   * sentence.
   */
  readonly warnings: readonly string[]
  /** Returns the reason why no broker answers. Undefined if a broker answers. Never rejects. */
  outage(): Promise<Diagnosis | undefined>
  /**
   * Disconnects. Waits only briefly, because kafkajs would wait for the replies of a hanging
   * broker. If the process ends without a disconnect, no record is lost.
   */
  disconnect(): Promise<unknown>
}

const CLIENT_ID = 'customer-stream-ingress'
const MAX_DISCONNECT_MS = 250

export const createKafkaConnection = (deps: KafkaConnectionDependencies): KafkaConnection => {
  const { settings, topics, delivery, obstacles, diagnose, logger } = deps
  const { publishers, spool } = delivery
  let partitionsKnown = false
  let topicsChecked = false
  // The admin client has no short timeout, because the creation of topics takes longer than a
  // produce request.
  const admin = createAdmin(createKafka(settings, { clientId: `${CLIENT_ID}-admin`, logger }))
  // This client does not log, because kafkajs would log each write check as an error.
  const writeCheck = createWriteCheck(
    createKafka(settings, {
      clientId: CLIENT_ID,
      logger: logger.child({}, { level: 'silent' }),
      requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
    }),
  )
  const topicWatch = createTopicWatch({
    admin,
    writeCheck,
    settings,
    obstacles,
    diagnose,
    logger,
    demands: ingressDemands(settings),
    onPartitions: publishers.setPartitions,
  })
  const outage = createKafkaCheck({
    admin,
    diagnose,
    topic: topics.customers,
    timeoutMs: settings.READINESS_TIMEOUT_MS,
    doing: spool
      ? 'send events to Kafka, and keeps them in the spool while the spool has room'
      : 'store events, which get 503',
  })
  const connect = async () => {
    await Promise.all([admin.connect(), publishers.connect()])
    await topicWatch.start()
    partitionsKnown = true
  }

  return {
    start: async (signal) => {
      const backoff = { initialMs: 100, maxMs: settings.RETRY_MAX_PAUSE_MS }
      const connected = await retryWithBackoff(connect, {
        signal,
        backoff: () => (obstacles.without('spool').blocked ? BLOCKED_BACKOFF : backoff),
        onFailure: (error) => {
          if (error instanceof TopicError) throw error
          obstacles.report('start', diagnose(error, 'connect and check its topics'))
        },
      })
      if (!connected) return
      obstacles.report('start', undefined)
      await topicWatch.checkRights()
      topicsChecked = true
      logger.info({ event: 'ready', topics: Object.values(topics) }, 'ready')
    },
    get partitionsKnown() {
      return partitionsKnown
    },
    get topicsChecked() {
      return topicsChecked
    },
    checkTopics: async () => {
      if (topicsChecked) await topicWatch.check()
    },
    get warnings() {
      return topicWatch.warnings
    },
    outage,
    disconnect: () => {
      const clients = [admin, writeCheck, publishers].map((client) => client.disconnect())
      return Promise.race([Promise.allSettled(clients), sleep(MAX_DISCONNECT_MS)])
    },
  }
}
