import kafkajs, { type Admin } from 'kafkajs'
import { untilDone } from '../back-off.ts'
import type { Logger } from '../log.ts'
import type { KafkaSettings } from './client.ts'
import { errorType } from './error-type.ts'

/** What a service demands of one topic. */
export interface TopicDemand {
  readonly topic: string
  /** Bytes of the largest record value it must take. */
  readonly maxValueBytes: number
}

/** A topic is missing or wrong: a person must act, so the service must not start. */
export class TopicError extends Error {
  override readonly name = 'TopicError'
}

/** Room for key, headers and the batch's own overhead: a body of exactly the limit must fit, where Kafka's default of 1 MiB would refuse it. */
const RECORD_OVERHEAD_BYTES = 64 * 1024

const CREATION_TIMEOUT_MS = 10_000

const FOREVER_MS = '9223372036854775807'

const required = (settings: KafkaSettings, demand: TopicDemand) => ({
  'cleanup.policy': 'delete',
  'retention.ms': String(settings.KAFKA_RETENTION_MS),
  'retention.bytes': '-1',
  'max.message.bytes': String(demand.maxValueBytes + RECORD_OVERHEAD_BYTES),
  'min.insync.replicas': settings.KAFKA_REPLICATION_FACTOR >= 3 ? '2' : '1',
  // The record's timestamp is the time of receipt, by which the projector judges an event's own.
  'message.timestamp.type': 'CreateTime',
  // Kafka refuses records more than an hour ahead of its own clock: an ingress whose clock runs wrong must still be able to store.
  'message.timestamp.after.max.ms': FOREVER_MS,
  // A replica that lags behind must never become the leader: it would drop what was promised.
  'unclean.leader.election.enable': 'false',
})

const create = async (admin: Admin, settings: KafkaSettings, demands: readonly TopicDemand[]): Promise<void> => {
  // Resolves with false where another process created it first.
  await admin.createTopics({
    waitForLeaders: false,
    topics: demands.map((demand) => ({
      topic: demand.topic,
      numPartitions: settings.KAFKA_PARTITIONS,
      replicationFactor: settings.KAFKA_REPLICATION_FACTOR,
      configEntries: Object.entries(required(settings, demand)).map(([name, value]) => ({ name, value })),
    })),
  })
  // The broker that is asked may not have heard of them from the controller yet; kafkajs' own wait (waitForLeaders) takes that for an error. Whatever lasts
  // longer than this shows in what is asked next.
  const untilLed = async () => {
    const { topics } = await admin.fetchTopicMetadata({ topics: demands.map(({ topic }) => topic) })
    if (topics.some(({ partitions }) => partitions.some(({ leader }) => leader < 0))) throw new Error('a partition has no leader yet')
  }
  await untilDone(untilLed, {
    signal: AbortSignal.timeout(CREATION_TIMEOUT_MS),
    backOff: { initialMs: 50, maxMs: 500 },
    onFailure: () => {},
  })
}

const exists = async (admin: Admin, topic: string): Promise<boolean> => {
  try {
    await admin.fetchTopicMetadata({ topics: [topic] })
    return true
  } catch (error) {
    if (errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return false
    throw error
  }
}

const faultsOf = (
  settings: KafkaSettings,
  demand: TopicDemand,
  partitions: number,
  replicas: number,
  config: ReadonlyMap<string, string>,
): string[] => {
  const faults: string[] = []
  const say = (fault: string) => faults.push(`${demand.topic}: ${fault}`)
  if (partitions !== settings.KAFKA_PARTITIONS) say(`has ${partitions} partitions, KAFKA_PARTITIONS says ${settings.KAFKA_PARTITIONS}`)
  if (replicas < settings.KAFKA_REPLICATION_FACTOR) {
    say(
      `has ${replicas} replicas, KAFKA_REPLICATION_FACTOR says ${settings.KAFKA_REPLICATION_FACTOR}: a promise would be kept by fewer brokers than you think`,
    )
  }
  if (config.get('unclean.leader.election.enable') !== 'false') {
    say('unclean.leader.election.enable must be false: a replica that lags behind could become the leader and drop what was promised')
  }
  if (config.get('cleanup.policy') !== 'delete') {
    say(
      `cleanup.policy is ${config.get('cleanup.policy')}, must be delete: compaction keeps the highest offset, which need not be the newest event`,
    )
  }
  const retentionMs = Number(config.get('retention.ms'))
  const wantedMs = settings.KAFKA_RETENTION_MS
  if (retentionMs !== -1 && (wantedMs === -1 || retentionMs < wantedMs))
    say(`retention.ms is ${retentionMs}, KAFKA_RETENTION_MS says ${wantedMs}`)
  if (config.get('retention.bytes') !== '-1')
    say(`retention.bytes is ${config.get('retention.bytes')}, must be -1: records would go by size, whatever their age`)
  if (config.get('message.timestamp.type') !== 'CreateTime')
    say(`message.timestamp.type is ${config.get('message.timestamp.type')}, must be CreateTime`)
  const least = demand.maxValueBytes + RECORD_OVERHEAD_BYTES
  if (Number(config.get('max.message.bytes')) < least)
    say(`max.message.bytes is ${config.get('max.message.bytes')}, must be at least ${least}`)
  return faults
}

/**
 * Checks that the topics exist and are as they must be; creates missing ones where `KAFKA_CREATE_TOPICS` is true.
 * @returns the number of partitions by topic.
 * @throws TopicError naming every fault at once; any other error means that Kafka did not answer.
 */
export const checkTopics = async (
  admin: Admin,
  settings: KafkaSettings,
  demands: readonly TopicDemand[],
  logger: Logger,
): Promise<ReadonlyMap<string, number>> => {
  const missing: TopicDemand[] = []
  for (const demand of demands) if (!(await exists(admin, demand.topic))) missing.push(demand)
  if (missing.length > 0) {
    if (!settings.KAFKA_CREATE_TOPICS) {
      throw new TopicError(
        `Topics are missing: ${missing.map(({ topic }) => topic).join(', ')}. Create them, or set KAFKA_CREATE_TOPICS=true.`,
      )
    }
    await create(admin, settings, missing)
    logger.info({ topics: missing.map(({ topic }) => topic) }, 'created topics')
  }
  const topics = demands.map(({ topic }) => topic)
  const metadata = await admin.fetchTopicMetadata({ topics })
  const described = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name })),
  })
  const partitions = new Map(metadata.topics.map(({ name, partitions }) => [name, partitions.length]))
  const faults = demands.flatMap((demand) => {
    const entries = described.resources.find(({ resourceName }) => resourceName === demand.topic)?.configEntries ?? []
    const config = new Map(entries.map(({ configName, configValue }) => [configName, configValue]))
    const replicas = metadata.topics.find(({ name }) => name === demand.topic)?.partitions[0]?.replicas.length ?? 0
    if (config.get('message.timestamp.after.max.ms') !== FOREVER_MS) {
      logger.warn(
        { topic: demand.topic },
        'message.timestamp.after.max.ms is limited: an ingress whose clock runs ahead by more would store nothing',
      )
    }
    if (replicas >= 3 && Number(config.get('min.insync.replicas')) < 2) {
      logger.warn({ topic: demand.topic }, 'min.insync.replicas is 1: a promise is then kept by one broker alone while others are down')
    }
    return faultsOf(settings, demand, partitions.get(demand.topic) ?? 0, replicas, config)
  })
  if (faults.length > 0) throw new TopicError(`Topics are not as they must be:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
  return partitions
}
