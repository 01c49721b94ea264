import { retryWithBackoff } from '../process/backoff.ts'
import type { Logger } from '../process/log.ts'
import type { KafkaSettings } from './client.ts'
import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'
import type { TopicAdmin } from './topic-admin.ts'

/** Requirements of a service on one topic. */
export interface TopicDemand {
  readonly topic: string
  /** Bytes of the largest record value that the topic must accept. */
  readonly maxValueBytes: number
  /** True if the service writes to the topic. The check then includes the right to write. */
  readonly writes?: boolean
  /**
   * Rejects if this user may not read the topic. Undefined if the service does not read the topic.
   */
  readonly readCheck?: () => Promise<unknown>
  /** Kind of the topic, which selects the expected retention. Default: `events`. */
  readonly kind?: 'events' | 'quarantine' | 'changelog'
  /**
   * Another topic of the demands. Both topics must have the same partition count, so that a key has
   * the same partition number in both topics.
   */
  readonly partitionsOf?: string
}

/** Error: a topic is missing or wrong. The service must not start, because a person must act. */
export class TopicError extends Error {
  override readonly name = 'TopicError'
}

/** State of the topics in Kafka. Each problem and each warning is a message for a person. */
export interface TopicFindings {
  /** Partition counts of existing topics, by name. */
  readonly partitions: ReadonlyMap<string, number>
  readonly missing: readonly TopicDemand[]
  /** Wrong settings, with which records could be lost, refused or not read. */
  readonly problems: readonly string[]
  /** Settings that work, but that a person should check. */
  readonly warnings: readonly string[]
}

/**
 * Bytes added to the maximum body size for key, headers and the batch's overhead. Otherwise Kafka
 * would refuse a body of exactly the maximum size.
 */
export const RECORD_OVERHEAD_BYTES = 64 * 1024

const CREATION_TIMEOUT_MS = 10_000

const FOREVER_MS = '9223372036854775807'

/**
 * Topic setting since Kafka 3.6: maximum time by which a record's timestamp may be ahead of the
 * broker's clock. Older versions have message.timestamp.difference.max.ms.
 */
const LIMIT_AHEAD = 'message.timestamp.after.max.ms'

/**
 * Values of compression.type that every reader can decode. Brokers recompress records with the
 * topic's codec. Snappy and lz4 need an extra library in many languages.
 */
const SAFE_CODECS: ReadonlySet<string | undefined> = new Set(['producer', 'uncompressed', 'gzip', 'zstd'])

const WEEK_MS = 7 * 24 * 60 * 60 * 1000

/**
 * Names of two settings of a compacted changelog, in milliseconds. `max.compaction.lag.ms` limits
 * the life of a key's older records. `delete.retention.ms` keeps a tombstone for subscribers that
 * were away.
 */
const MAX_COMPACTION_LAG = 'max.compaction.lag.ms'
const DELETE_RETENTION = 'delete.retention.ms'

/**
 * Small segments keep the topic small, because Kafka compacts only whole segments. A small topic
 * shortens the fill of a lost Redis. Kafka Streams uses the same size for its changelogs.
 */
const COMPACT_SOON = { 'segment.bytes': String(50 * 1024 * 1024), 'min.cleanable.dirty.ratio': '0.2' }

const retentionOf = (settings: KafkaSettings, { kind }: TopicDemand): { readonly name: string; readonly ms: number } =>
  kind === 'quarantine' && settings.KAFKA_QUARANTINE_RETENTION_MS !== undefined
    ? { name: 'KAFKA_QUARANTINE_RETENTION_MS', ms: settings.KAFKA_QUARANTINE_RETENTION_MS }
    : { name: 'KAFKA_RETENTION_MS', ms: settings.KAFKA_RETENTION_MS }

const policyOf = (settings: KafkaSettings, demand: TopicDemand): Record<string, string> =>
  demand.kind === 'changelog'
    ? {
        'cleanup.policy': 'compact',
        [MAX_COMPACTION_LAG]: String(WEEK_MS),
        [DELETE_RETENTION]: String(WEEK_MS),
        ...COMPACT_SOON,
      }
    : {
        'cleanup.policy': 'delete',
        'retention.ms': String(retentionOf(settings, demand).ms),
        'retention.bytes': '-1',
      }

const required = (settings: KafkaSettings, demand: TopicDemand): Record<string, string> => ({
  ...policyOf(settings, demand),
  'compression.type': 'producer',
  'max.message.bytes': String(demand.maxValueBytes + RECORD_OVERHEAD_BYTES),
  'min.insync.replicas': settings.KAFKA_REPLICATION_FACTOR >= 3 ? '2' : '1',
  // With CreateTime, the record's timestamp is the time of receipt at the ingress. The projector
  // compares it with the event's own timestamp.
  'message.timestamp.type': 'CreateTime',
  // By default Kafka refuses records more than an hour ahead of its clock. An ingress with a wrong
  // clock must still be able to store records.
  [LIMIT_AHEAD]: FOREVER_MS,
  // If a replica that lags behind became the leader, acknowledged records would be lost.
  'unclean.leader.election.enable': 'false',
})

const create = async (
  admin: TopicAdmin,
  settings: KafkaSettings,
  { missing: demands, partitions }: TopicFindings,
): Promise<void> => {
  const createWith = (without?: string) =>
    admin.createTopics(
      demands.map((demand) => ({
        topic: demand.topic,
        partitions: partitions.get(demand.partitionsOf ?? '') ?? settings.KAFKA_PARTITIONS,
        replicationFactor: settings.KAFKA_REPLICATION_FACTOR,
        config: Object.fromEntries(Object.entries(required(settings, demand)).filter(([name]) => name !== without)),
      })),
    )
  const doing = `create topic ${demands.map(({ topic }) => topic).join(', ')}`
  await attributed(doing, () =>
    createWith().catch((error: Error) => {
      const errors = (error as { errors?: readonly unknown[] }).errors ?? [error]
      // A broker before Kafka 3.6 does not know the setting LIMIT_AHEAD, and needs none.
      if (errors.some((each) => errorType(each) === 'INVALID_CONFIG')) return createWith(LIMIT_AHEAD)
      throw error
    }),
  )
  // Wait here, because kafkajs' wait (waitForLeaders) fails if the broker does not know the new
  // topics yet. If the topics are still unknown after this wait, the next request reports the
  // problem.
  const untilLed = async () => {
    const topics = await admin.describeTopics(demands.map(({ topic }) => topic))
    if ([...topics.values()].some((described) => described.some(({ leader }) => leader < 0)))
      throw new Error('a partition has no leader yet')
  }
  await retryWithBackoff(untilLed, {
    signal: AbortSignal.timeout(CREATION_TIMEOUT_MS),
    backoff: { initialMs: 50, maxMs: 500 },
    onFailure: () => {},
  })
}

/** Returns the replica count of each partition, or undefined if the topic does not exist. */
const replicaCounts = async (admin: TopicAdmin, topic: string): Promise<readonly number[] | undefined> => {
  try {
    const topics = await attributed(`describe topic ${topic}`, () => admin.describeTopics([topic]))
    return topics.get(topic)?.map(({ replicas }) => replicas.length)
  } catch (error) {
    if (errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined
    throw error
  }
}

const configOf = (admin: TopicAdmin, topic: string): Promise<ReadonlyMap<string, string>> =>
  attributed(`read the settings of topic ${topic}`, () => admin.describeTopicConfig(topic))

const changelogProblemsOf = (config: ReadonlyMap<string, string>): string[] => {
  const problems: string[] = []
  const policy = config.get('cleanup.policy')
  if (policy !== 'compact')
    problems.push(`cleanup.policy is ${policy}, must be compact: the topic keeps the last record of each customer`)
  const lag = Number(config.get(MAX_COMPACTION_LAG))
  if (lag > WEEK_MS)
    problems.push(`${MAX_COMPACTION_LAG} is ${lag}, must be at most ${WEEK_MS}: an erased customer stays for so long`)
  const retention = Number(config.get(DELETE_RETENTION))
  if (retention < WEEK_MS)
    problems.push(
      `${DELETE_RETENTION} is ${retention}, must be at least ${WEEK_MS}: a subscriber that was away would keep an ` +
        'erased customer',
    )
  return problems
}

const policyProblemsOf = (
  settings: KafkaSettings,
  demand: TopicDemand,
  config: ReadonlyMap<string, string>,
): string[] => {
  if (demand.kind === 'changelog') return changelogProblemsOf(config)
  const problems: string[] = []
  const policy = config.get('cleanup.policy')
  if (policy !== 'delete') {
    problems.push(
      `cleanup.policy is ${policy}, must be delete: compaction keeps the highest offset, which need not be the ` +
        'newest event',
    )
  }
  const retentionMs = Number(config.get('retention.ms'))
  const wanted = retentionOf(settings, demand)
  if (retentionMs !== -1 && (wanted.ms === -1 || retentionMs < wanted.ms))
    problems.push(`retention.ms is ${retentionMs}, ${wanted.name} says ${wanted.ms}`)
  if (config.get('retention.bytes') !== '-1') {
    problems.push(`retention.bytes is ${config.get('retention.bytes')}, must be -1: Kafka would delete records by size`)
  }
  return problems
}

const problemsOf = (
  settings: KafkaSettings,
  demand: TopicDemand,
  replicas: readonly number[],
  config: ReadonlyMap<string, string>,
): string[] => {
  const problems: string[] = []
  const say = (problem: string) => problems.push(`${demand.topic}: ${problem}`)
  if (replicas.length < settings.KAFKA_PARTITIONS)
    say(`has ${replicas.length} partitions, KAFKA_PARTITIONS says ${settings.KAFKA_PARTITIONS}`)
  const fewest = Math.min(...replicas)
  if (fewest < settings.KAFKA_REPLICATION_FACTOR) {
    say(
      `has ${fewest} replicas in partition ${replicas.indexOf(fewest)}, KAFKA_REPLICATION_FACTOR says ` +
        `${settings.KAFKA_REPLICATION_FACTOR}: acknowledged events would be on too few brokers`,
    )
  }
  const inSync = Number(config.get('min.insync.replicas'))
  if (inSync > fewest)
    say(`min.insync.replicas is ${inSync}, and a partition has ${fewest} replicas: Kafka would store nothing`)
  if (config.get('unclean.leader.election.enable') !== 'false') {
    say(
      'unclean.leader.election.enable must be false: a replica that lags behind could become the leader and ' +
        'lose acknowledged records',
    )
  }
  const codec = config.get('compression.type')
  if (!SAFE_CODECS.has(codec))
    say(`compression.type is ${codec}, must be producer, uncompressed, gzip or zstd: not every reader knows ${codec}`)
  problems.push(...policyProblemsOf(settings, demand, config).map((problem) => `${demand.topic}: ${problem}`))
  if (config.get('message.timestamp.type') !== 'CreateTime')
    say(`message.timestamp.type is ${config.get('message.timestamp.type')}, must be CreateTime`)
  const least = demand.maxValueBytes + RECORD_OVERHEAD_BYTES
  if (Number(config.get('max.message.bytes')) < least)
    say(`max.message.bytes is ${config.get('max.message.bytes')}, must be at least ${least}`)
  return problems
}

const warningsOf = (
  settings: KafkaSettings,
  { topic, kind, writes = false }: TopicDemand,
  replicas: readonly number[],
  config: ReadonlyMap<string, string>,
): string[] => {
  const warnings: string[] = []
  const warn = (warning: string) => warnings.push(`${topic}: ${warning}`)
  if (replicas.length > settings.KAFKA_PARTITIONS) {
    warn(
      `has ${replicas.length} partitions, KAFKA_PARTITIONS says ${settings.KAFKA_PARTITIONS}: new events of a ` +
        'customer may be in another partition than the old ones, and versions decide. Set ' +
        `KAFKA_PARTITIONS=${replicas.length}`,
    )
  }
  const limits = [config.get(LIMIT_AHEAD) ?? config.get('message.timestamp.difference.max.ms')]
  // A document has the timestamp of its event. An erasure has the timestamp of another producer.
  const refused =
    kind === 'changelog'
      ? 'the projector could not publish the events of an ingress whose clock runs ahead by more, and would wait'
      : 'an ingress whose clock runs ahead by more would store nothing'
  if ((writes || kind !== 'changelog') && limits.some((limit) => limit !== undefined && limit !== FOREVER_MS))
    warn(`${LIMIT_AHEAD} is limited: ${refused}. Set it to ${FOREVER_MS}`)
  if (Math.min(...replicas) >= 3 && Number(config.get('min.insync.replicas')) < 2)
    warn('min.insync.replicas is 1: while other brokers are down, an acknowledged event is on one broker only')
  return warnings
}

/** Compares the topics with the demands. Rejects if Kafka does not answer. */
export const inspectTopics = async (
  admin: TopicAdmin,
  settings: KafkaSettings,
  demands: readonly TopicDemand[],
): Promise<TopicFindings> => {
  const partitions = new Map<string, number>()
  const missing: TopicDemand[] = []
  const problems: string[] = []
  const warnings: string[] = []
  for (const demand of demands) {
    const replicas = await replicaCounts(admin, demand.topic)
    if (replicas === undefined) {
      missing.push(demand)
      continue
    }
    partitions.set(demand.topic, replicas.length)
    const config = await configOf(admin, demand.topic)
    problems.push(...problemsOf(settings, demand, replicas, config))
    warnings.push(...warningsOf(settings, demand, replicas, config))
  }
  for (const { topic, partitionsOf } of demands) {
    const [own, other] = [partitions.get(topic), partitions.get(partitionsOf ?? '')]
    if (own !== undefined && other !== undefined && own !== other)
      problems.push(
        `${topic}: has ${own} partitions, ${partitionsOf} has ${other}: they must be equal, so that the records of ` +
          'a customer are in the partition with the number of its events',
      )
  }
  return { partitions, missing, problems, warnings }
}

/** Returns all missing topics and problems as one text, or undefined if there are none. */
export const topicProblem = ({ missing, problems }: TopicFindings): string | undefined => {
  const lines = [
    ...missing.map(({ topic }) => `${topic}: is missing. Create it, or restart with KAFKA_CREATE_TOPICS=true`),
    ...problems,
  ]
  return lines.length === 0
    ? undefined
    : `Topics are not as they must be:\n${lines.map((line) => `  - ${line}`).join('\n')}`
}

/**
 * Checks that the topics exist and meet the demands. Creates missing topics if
 * `KAFKA_CREATE_TOPICS` is true.
 * @throws TopicError that names every problem. Any other error means that Kafka did not answer.
 */
export const checkTopics = async (
  admin: TopicAdmin,
  settings: KafkaSettings,
  demands: readonly TopicDemand[],
  logger: Logger,
): Promise<TopicFindings> => {
  let findings = await inspectTopics(admin, settings, demands)
  if (findings.missing.length > 0) {
    const topics = findings.missing.map(({ topic }) => topic)
    if (!settings.KAFKA_CREATE_TOPICS)
      throw new TopicError(`Topics are missing: ${topics.join(', ')}. Create them, or set KAFKA_CREATE_TOPICS=true.`)
    await create(admin, settings, findings)
    logger.info({ event: 'topics-created', topics }, 'created topics')
    findings = await inspectTopics(admin, settings, demands)
    if (findings.missing.length > 0) throw new Error('the broker does not know the new topics yet')
  }
  const problem = topicProblem(findings)
  if (problem) throw new TopicError(problem)
  return findings
}
