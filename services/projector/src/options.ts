/** Derives the options of each part from the settings of the process. */
import {
  defaultGroupId,
  indexesText,
  indexOptions,
  type ProjectorSettings,
  projectorTopics,
} from '@customer-stream/configuration'
import type { PartitionConsumerOptions } from '@customer-stream/runtime/kafka'

const CLIENT_ID = 'customer-stream-projector'

/** @param instance the id of this process in the consumer group. */
export const optionsOf = (settings: ProjectorSettings, instance: string) => {
  const topics = projectorTopics(settings)
  const { topic, quarantineTopic, stateTopic } = topics
  const groupId = settings.CONSUMER_GROUP_ID ?? defaultGroupId(settings)
  const indexes = indexOptions(settings)
  const backoff = { initialMs: 100, maxMs: settings.RETRY_MAX_PAUSE_MS }
  const sessionTimeoutMs = settings.CONSUMER_SESSION_TIMEOUT_MS
  return {
    topic,
    groupId,
    outputs: topics,
    kafka: { clientId: CLIENT_ID },
    writeCheck: { clientId: CLIENT_ID, requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS },
    producer: {
      metadataMaxAgeMs: settings.KAFKA_METADATA_MAX_AGE_MS,
      produceTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
    },
    // Only the state topic needs a fence, because its readers use the last record of a customer,
    // e.g. after a compaction.
    stateProducer: settings.KAFKA_STATE_FENCE ? { transactionalIdPrefix: groupId } : {},
    consumer: {
      groupId,
      instance,
      topic,
      sessionTimeoutMs,
      heartbeatIntervalMs: sessionTimeoutMs / 5,
      maxWaitMs: settings.CONSUMER_MAX_WAIT_MS,
      maxFetchBytes: settings.CONSUMER_FETCH_MAX_BYTES,
      // While one partition waits for an answer from Redis, other partitions are applied. Parallel
      // work helps only if Redis is on another machine.
      partitionsConcurrently: 4,
    } satisfies Partial<PartitionConsumerOptions>,
    store: {
      keyPrefix: settings.REDIS_KEY_PREFIX,
      topic,
      projection: settings.PROJECTION_VERSION,
      indexes: indexes ? indexesText(indexes) : '',
    },
    projection: {
      topic,
      quarantineTopic,
      stateTopic,
      startOver: settings.ON_CLUSTER_CHANGE === 'start-over',
      projection: settings.PROJECTION_VERSION,
      maxFutureMs: settings.MAX_FUTURE_MS,
      named: settings.QUARANTINE_RECORDS,
      chunkRecords: settings.CHUNK_RECORDS,
      chunkBytes: 2 * 1024 * 1024,
      lookaheadRecords: settings.LOOKAHEAD_RECORDS,
      indexes,
      backoff,
    },
    progress: { topic, groupId, instance, partitions: settings.KAFKA_PARTITIONS },
    kafkaCheck: { topic, timeoutMs: settings.READINESS_TIMEOUT_MS, doing: 'apply events' },
    watchdog: { topic, sessionTimeoutMs },
    startup: {
      topic,
      groupId,
      instance,
      backoff,
    },
    tasks: {
      instance,
      sessionTimeoutMs,
      positionCheckMs: settings.POSITION_CHECK_MS,
      topicCheckMs: settings.KAFKA_TOPIC_CHECK_MS,
    },
  }
}
