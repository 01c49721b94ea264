/**
 * Rules for the settings of topics: the settings of a new topic, and the problems of an existing
 * topic.
 */
import type { KafkaSettings } from './settings.ts'

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
  /**
   * Rejects if Kafka gives this user no fence for the topic. Undefined if the service has no fence.
   */
  readonly fenceCheck?: () => Promise<unknown>
  /** Kind of the topic, which selects the expected retention. Default: `events`. */
  readonly kind?: 'events' | 'quarantine' | 'changelog' | 'audit'
  /**
   * Name of another required topic. Both topics must have the same partition count, so that a key
   * has the same partition number in both topics.
   */
  readonly partitionsOf?: string
}

/** A problem or a warning about one topic. */
export interface TopicFinding {
  readonly topic: string
  /** Describes the problem for a person. The text does not repeat the name of the topic. */
  readonly text: string
  /**
   * Setting of the topic that corrects the problem. Undefined if no setting corrects the problem.
   */
  readonly correction?: { readonly name: string; readonly value: string }
}

/** Returns a problem or a warning as one line. */
export const findingLine = ({ topic, text }: TopicFinding): string => `${topic}: ${text}`

/**
 * Bytes added to the maximum body size for key, headers and the batch's overhead. Otherwise Kafka
 * would refuse a body of exactly the maximum size.
 */
export const RECORD_OVERHEAD_BYTES = 64 * 1024

export const FOREVER_MS = '9223372036854775807'

/**
 * Topic settings since Kafka 3.6: maximum time by which a record's timestamp may be ahead of the
 * broker's clock, or behind it.
 */
export const TIMESTAMP_LIMITS = ['message.timestamp.after.max.ms', 'message.timestamp.before.max.ms'] as const

/**
 * Values of compression.type that every reader can decode. Brokers recompress records with the
 * topic's codec. Snappy and lz4 need an extra library in many languages.
 */
const SAFE_CODECS: ReadonlySet<string | undefined> = new Set(['producer', 'uncompressed', 'gzip', 'zstd'])

const WEEK_MS = 7 * 24 * 60 * 60 * 1000

/**
 * Names of two settings of a compacted changelog, in milliseconds. `max.compaction.lag.ms` limits
 * the life of a key's older records. `delete.retention.ms` keeps a tombstone for subscribers that
 * were stopped.
 */
const MAX_COMPACTION_LAG = 'max.compaction.lag.ms'
const DELETE_RETENTION = 'delete.retention.ms'

/**
 * Small segments keep the topic small, because Kafka compacts only whole segments. If the topic is
 * small, a Redis that lost its data is filled faster. Kafka Streams uses the same size for its
 * changelogs.
 */
const COMPACT_SOON = { 'segment.bytes': String(50 * 1024 * 1024), 'min.cleanable.dirty.ratio': '0.2' }

/**
 * Minimum retention in milliseconds. -1 means no limit. `says` begins a sentence about this
 * minimum.
 */
const retentionOf = (
  settings: KafkaSettings,
  { kind }: TopicDemand,
): { readonly says: string; readonly ms: number } => {
  if (kind === 'audit') return { says: 'an audit needs', ms: -1 }
  return kind === 'quarantine' && settings.KAFKA_QUARANTINE_RETENTION_MS !== undefined
    ? { says: 'KAFKA_QUARANTINE_RETENTION_MS says', ms: settings.KAFKA_QUARANTINE_RETENTION_MS }
    : { says: 'KAFKA_RETENTION_MS says', ms: settings.KAFKA_RETENTION_MS }
}

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

/** Returns the settings with which a topic must be created. */
export const requiredConfig = (settings: KafkaSettings, demand: TopicDemand): Record<string, string> => ({
  ...policyOf(settings, demand),
  'compression.type': 'producer',
  'max.message.bytes': String(demand.maxValueBytes + RECORD_OVERHEAD_BYTES),
  'min.insync.replicas': settings.KAFKA_REPLICATION_FACTOR >= 3 ? '2' : '1',
  // With CreateTime, the record's timestamp is the time of receipt at the ingress. The projector
  // compares this time with the event's own timestamp.
  'message.timestamp.type': 'CreateTime',
  // By default Kafka refuses records whose timestamp is more than an hour ahead of its clock. An
  // ingress with a wrong clock must still be able to store records. Events from the spool, redriven
  // events and documents have old timestamps. Some brokers refuse old timestamps by default.
  ...Object.fromEntries(TIMESTAMP_LIMITS.map((name) => [name, FOREVER_MS])),
  // If a replica that lags behind became the leader, acknowledged records would be lost.
  'unclean.leader.election.enable': 'false',
})

/** Called with a problem. `setting` names the topic's setting that corrects the problem. */
type AddProblem = (text: string, setting?: string) => void

const findChangelogProblems = (config: ReadonlyMap<string, string>, addProblem: AddProblem): void => {
  const policy = config.get('cleanup.policy')
  if (policy !== 'compact')
    addProblem(
      `cleanup.policy is ${policy}, must be compact: otherwise Kafka would not keep the last record of each customer`,
      'cleanup.policy',
    )
  const lag = Number(config.get(MAX_COMPACTION_LAG))
  if (lag > WEEK_MS)
    addProblem(
      `${MAX_COMPACTION_LAG} is ${lag}, must be at most ${WEEK_MS}: otherwise the topic would keep an erased ` +
        'customer too long',
      MAX_COMPACTION_LAG,
    )
  const retention = Number(config.get(DELETE_RETENTION))
  if (retention < WEEK_MS)
    addProblem(
      `${DELETE_RETENTION} is ${retention}, must be at least ${WEEK_MS}: otherwise a subscriber that was stopped ` +
        'could keep an erased customer',
      DELETE_RETENTION,
    )
}

const findPolicyProblems = (
  settings: KafkaSettings,
  demand: TopicDemand,
  config: ReadonlyMap<string, string>,
  addProblem: AddProblem,
): void => {
  if (demand.kind === 'changelog') {
    findChangelogProblems(config, addProblem)
    return
  }
  const policy = config.get('cleanup.policy')
  if (policy !== 'delete')
    addProblem(
      `cleanup.policy is ${policy}, must be delete: compaction keeps the record with the highest offset, which is ` +
        'not always the newest event',
      'cleanup.policy',
    )
  const retentionMs = Number(config.get('retention.ms'))
  const wanted = retentionOf(settings, demand)
  if (retentionMs !== -1 && (wanted.ms === -1 || retentionMs < wanted.ms))
    addProblem(`retention.ms is ${retentionMs}, ${wanted.says} ${wanted.ms}`, 'retention.ms')
  if (config.get('retention.bytes') !== '-1')
    addProblem(
      `retention.bytes is ${config.get('retention.bytes')}, must be -1: otherwise Kafka would delete records by size`,
      'retention.bytes',
    )
}

const findReplicaProblems = (
  settings: KafkaSettings,
  { kind }: TopicDemand,
  replicas: readonly number[],
  config: ReadonlyMap<string, string>,
  addProblem: AddProblem,
): void => {
  // An audit has few records, and no other topic depends on its partitions.
  if (kind !== 'audit' && replicas.length < settings.KAFKA_PARTITIONS)
    addProblem(`has ${replicas.length} partitions, KAFKA_PARTITIONS says ${settings.KAFKA_PARTITIONS}`)
  const fewest = Math.min(...replicas)
  if (fewest < settings.KAFKA_REPLICATION_FACTOR)
    addProblem(
      `has ${fewest} replicas in partition ${replicas.indexOf(fewest)}, KAFKA_REPLICATION_FACTOR says ` +
        `${settings.KAFKA_REPLICATION_FACTOR}: acknowledged events would be on too few brokers`,
    )
  const inSync = Number(config.get('min.insync.replicas'))
  if (inSync > fewest)
    addProblem(
      `min.insync.replicas is ${inSync}, and a partition has ${fewest} replicas: Kafka would store nothing`,
      // Give no correction if a partition has too few replicas. The required value could be greater
      // than the number of replicas.
      fewest < settings.KAFKA_REPLICATION_FACTOR ? undefined : 'min.insync.replicas',
    )
}

/** Returns a function that adds findings to a list. */
export const collect =
  (findings: TopicFinding[], settings: KafkaSettings, demand: TopicDemand): AddProblem =>
  (text, name) => {
    const value = requiredConfig(settings, demand)[name ?? '']
    const correction = name !== undefined && value !== undefined ? { correction: { name, value } } : {}
    findings.push({ topic: demand.topic, text, ...correction })
  }

/** Returns wrong settings. With these settings, records could be lost, refused or not read. */
export const problemsOf = (
  settings: KafkaSettings,
  demand: TopicDemand,
  replicas: readonly number[],
  config: ReadonlyMap<string, string>,
): TopicFinding[] => {
  const problems: TopicFinding[] = []
  const addProblem = collect(problems, settings, demand)
  findReplicaProblems(settings, demand, replicas, config, addProblem)
  if (config.get('unclean.leader.election.enable') !== 'false')
    addProblem(
      'unclean.leader.election.enable must be false: otherwise a replica that lags behind could become the leader, ' +
        'and acknowledged records would be lost',
      'unclean.leader.election.enable',
    )
  const codec = config.get('compression.type')
  if (!SAFE_CODECS.has(codec))
    addProblem(
      `compression.type is ${codec}, must be producer, uncompressed, gzip or zstd: not every reader knows ${codec}`,
      'compression.type',
    )
  findPolicyProblems(settings, demand, config, addProblem)
  const type = config.get('message.timestamp.type')
  if (type !== 'CreateTime')
    addProblem(`message.timestamp.type is ${type}, must be CreateTime`, 'message.timestamp.type')
  const least = demand.maxValueBytes + RECORD_OVERHEAD_BYTES
  if (Number(config.get('max.message.bytes')) < least)
    addProblem(
      `max.message.bytes is ${config.get('max.message.bytes')}, must be at least ${least}`,
      'max.message.bytes',
    )
  return problems
}
