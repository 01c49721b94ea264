/** Derives the options of each part from the settings of the process. */
import type { PartitionConsumerOptions } from '@customer-stream/runtime/kafka'
import { erasuresTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import { defaultGroupId, type ProjectorSettings } from './config.ts'

const CLIENT_ID = 'customer-stream-projector'

/** @param instance the id of this process in the consumer group. */
export const optionsOf = (settings: ProjectorSettings, instance: string) => {
  const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
  const topic = topics.customers
  const stateTopic = settings.KAFKA_STATE_TOPIC ? stateTopicName(settings.KAFKA_TOPIC_PREFIX) : undefined
  const erasuresTopic = settings.KAFKA_ERASURES_TOPIC ? erasuresTopicName(settings.KAFKA_TOPIC_PREFIX) : undefined
  const groupId = settings.CONSUMER_GROUP_ID ?? defaultGroupId(settings)
  const backoff = { initialMs: 100, maxMs: settings.RETRY_MAX_PAUSE_MS }
  const sessionTimeoutMs = settings.CONSUMER_SESSION_TIMEOUT_MS
  return {
    topic,
    groupId,
    outputs: {
      ...{ topic, quarantineTopic: topics.quarantine, stateTopic, erasuresTopic },
      maxValueBytes: settings.MAX_BODY_BYTES,
    },
    kafka: { clientId: CLIENT_ID },
    writeCheck: { clientId: CLIENT_ID, requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS },
    producer: {
      metadataMaxAgeMs: settings.KAFKA_METADATA_MAX_AGE_MS,
      produceTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
    },
    consumer: {
      groupId,
      instance,
      topic,
      sessionTimeoutMs,
      heartbeatIntervalMs: sessionTimeoutMs / 5,
      maxWaitMs: settings.CONSUMER_MAX_WAIT_MS,
      maxFetchBytes: settings.CONSUMER_FETCH_MAX_BYTES,
      // While one partition waits for an answer of Redis, other partitions are applied. Parallel
      // work helps only if Redis is on another machine.
      partitionsConcurrently: 4,
    } satisfies Partial<PartitionConsumerOptions>,
    store: { keyPrefix: settings.REDIS_KEY_PREFIX, topic, projection: settings.PROJECTION_VERSION },
    projection: {
      topic,
      quarantineTopic: topics.quarantine,
      stateTopic,
      startOver: settings.ON_CLUSTER_CHANGE === 'start-over',
      projection: settings.PROJECTION_VERSION,
      maxFutureMs: settings.MAX_FUTURE_MS,
      named: settings.QUARANTINE_RECORDS,
      chunkRecords: settings.CHUNK_RECORDS,
      chunkBytes: 2 * 1024 * 1024,
      lookaheadRecords: settings.LOOKAHEAD_RECORDS,
      backoff,
    },
    progress: { topic, groupId, instance, partitions: settings.KAFKA_PARTITIONS },
    kafkaCheck: { topic, timeoutMs: settings.READINESS_TIMEOUT_MS, doing: 'apply events' },
    watchdog: { topic, sessionTimeoutMs },
    startup: { host: settings.HOST, port: settings.ADMIN_PORT, topic, groupId, instance, backoff },
    tasks: {
      instance,
      sessionTimeoutMs,
      positionCheckMs: settings.POSITION_CHECK_MS,
      topicCheckMs: settings.KAFKA_TOPIC_CHECK_MS,
    },
  }
}
