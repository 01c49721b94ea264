/** Creates the parts that use topics: the history of a customer, the pipeline, and quarantine. */
import type { ReaderSettings } from '@customer-stream/configuration'
import { createDiagnose, isKafkaError, NotStoredError } from '@customer-stream/runtime/kafka'
import { createRedisDiagnose, type RedisClient } from '@customer-stream/runtime/redis'
import { quarantineAuditTopicName, topicNames } from '@customer-stream/schemas'
import { createReadEvents, type ReadEvents } from './customer-events.ts'
import type { ListDealers } from './dealers.ts'
import { KafkaUnavailableError, type ReaderKafka } from './kafka.ts'
import type { ReaderMetrics } from './metrics.ts'
import { askIngresses } from './pipeline/ingresses.ts'
import { createPipelineWatch, type PipelineWatch } from './pipeline/watch.ts'
import type { Positions } from './positions.ts'
import { createQuarantine, type Quarantine } from './quarantine/quarantine.ts'
import { createRedrive } from './quarantine/redrive.ts'
import { createTail } from './quarantine/tail.ts'
import { createTopicReader } from './topic-reader.ts'

export interface KafkaPartsDependencies {
  readonly settings: ReaderSettings
  readonly redis: RedisClient
  readonly positions: Positions
  readonly listDealers: ListDealers
  readonly kafka: Pick<ReaderKafka, 'ask' | 'open' | 'openAdmin'>
  readonly metrics: Pick<ReaderMetrics, 'setQuarantine'>
  /** Aborts when the process stops. */
  readonly stopping: AbortSignal
}

export interface KafkaParts {
  readonly pipeline: PipelineWatch
  readonly readEvents: ReadEvents
  readonly quarantine: Quarantine
  /** Closes the clients of redrives. */
  stopRedrives(): Promise<void>
}

/**
 * Creates a function that returns the message of a failed redrive. An error of Kafka gets a
 * diagnosis. The message of any other error is already a sentence for the operator.
 */
const createExplainRedrive = (settings: ReaderSettings) => {
  const diagnose = createDiagnose(settings, 'request')
  return (error: Error & { readonly code?: string }): string =>
    isKafkaError(error) || error instanceof NotStoredError || error.code !== undefined
      ? diagnose(error, 'redrive the record').message
      : error.message
}

export const createKafkaParts = (deps: KafkaPartsDependencies): KafkaParts => {
  const { settings, redis, positions, listDealers, kafka, metrics, stopping } = deps
  const { KAFKA_TOPIC_PREFIX: prefix, REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection } = settings
  const { customers: topic, quarantine: quarantineTopic } = topicNames(prefix)
  const [ofQuarantine, ofAudit] = [kafka.openAdmin(), kafka.openAdmin({ mayBeMissing: true })]
  const clients = {
    quarantine: ofQuarantine,
    audit: ofAudit,
    connect: () => Promise.all([ofQuarantine.connect(), ofAudit.connect()]),
  }
  const tail = createTail(clients, {
    topic: quarantineTopic,
    auditTopic: quarantineAuditTopicName(prefix),
    signal: stopping,
  })
  const [diagnoseKafka, diagnoseRedis] = [createDiagnose(settings), createRedisDiagnose(settings, redis)]
  const explain = (error: Error, doing: string): string => {
    const cause = error instanceof KafkaUnavailableError ? (error.cause as Error) : error
    const isOfKafka = error instanceof KafkaUnavailableError || isKafkaError(error)
    return (isOfKafka ? diagnoseKafka(cause, doing) : diagnoseRedis(cause)).message
  }
  const pipeline = createPipelineWatch(
    {
      redis,
      positions,
      listDealers,
      tail,
      metrics,
      admin: kafka.openAdmin(),
      ask: kafka.ask,
      explain,
      askIngresses: () => askIngresses(settings),
    },
    { topic, keyPrefix, projection },
  )
  const { redrive, stop: stopRedrives } = createRedrive(settings, kafka.open, stopping)
  const quarantine = createQuarantine({
    kafka,
    tail,
    reader: createTopicReader(kafka, quarantineTopic),
    explain: createExplainRedrive(settings),
    redrive,
  })
  return {
    pipeline,
    readEvents: createReadEvents(createTopicReader(kafka, topic), positions),
    quarantine,
    stopRedrives,
  }
}
