import { retryWithBackoff } from '../process/backoff.ts'
import type { Logger } from '../process/log.ts'
import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'
import type { KafkaSettings } from './settings.ts'
import type { NewTopic, TopicAdmin } from './topic-admin.ts'
import {
  findingLine,
  problemsOf,
  requiredConfig,
  TIMESTAMP_LIMITS,
  type TopicDemand,
  type TopicFinding,
} from './topic-rules.ts'
import { warningsOf } from './topic-warnings.ts'

/** Error: a topic is missing or wrong. The service must not start, because a person must act. */
export class TopicError extends Error {
  override readonly name = 'TopicError'
}

/** State of the topics in Kafka. */
export interface TopicFindings {
  /** Partition counts of existing topics, by name. */
  readonly partitions: ReadonlyMap<string, number>
  readonly missing: readonly TopicDemand[]
  /** Wrong settings. With these settings, records could be lost, refused or not read. */
  readonly problems: readonly TopicFinding[]
  /** Settings that work, but that a person should check. */
  readonly warnings: readonly TopicFinding[]
}

const CREATION_TIMEOUT_MS = 10_000

/** Returns the missing topics, with the settings that they must have. */
export const topicsToCreate = (settings: KafkaSettings, { missing, partitions }: TopicFindings): NewTopic[] =>
  missing.map((demand) => ({
    topic: demand.topic,
    partitions: partitions.get(demand.partitionsOf ?? '') ?? settings.KAFKA_PARTITIONS,
    replicationFactor: settings.KAFKA_REPLICATION_FACTOR,
    config: requiredConfig(settings, demand),
  }))

/** Creates the missing topics. Resolves when each of their partitions has a leader. */
export const createMissingTopics = async (
  admin: TopicAdmin,
  settings: KafkaSettings,
  findings: TopicFindings,
): Promise<void> => {
  const topics = topicsToCreate(settings, findings)
  const names = topics.map(({ topic }) => topic)
  const createWithout = (unknown: readonly string[]) =>
    admin.createTopics(
      topics.map((topic) => ({
        ...topic,
        config: Object.fromEntries(Object.entries(topic.config).filter(([name]) => !unknown.includes(name))),
      })),
    )
  const doing = `create topic ${names.join(', ')}`
  await attributed(doing, () =>
    createWithout([]).catch((error: Error) => {
      const errors = (error as { errors?: readonly unknown[] }).errors ?? [error]
      // A broker before Kafka 3.6 does not know these settings, and has no such limits.
      if (errors.some((each) => errorType(each) === 'INVALID_CONFIG')) return createWithout(TIMESTAMP_LIMITS)
      throw error
    }),
  )
  // Wait here, because kafkajs' wait (waitForLeaders) fails if the broker does not know the new
  // topics yet. If the topics are still unknown after this wait, the next request reports the
  // problem.
  const untilLed = async () => {
    const described = await admin.describeTopics(names)
    if ([...described.values()].some((partitions) => partitions.some(({ leader }) => leader < 0)))
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

/**
 * Compares the topics with the requirements. Rejects if Kafka does not answer.
 * @param onDenied called if this user may not describe a topic. The comparison then continues with
 *   the other topics. Without this function the promise rejects.
 */
export const inspectTopics = async (
  admin: TopicAdmin,
  settings: KafkaSettings,
  demands: readonly TopicDemand[],
  onDenied?: (topic: string, error: unknown) => void,
): Promise<TopicFindings> => {
  const partitions = new Map<string, number>()
  const missing: TopicDemand[] = []
  const problems: TopicFinding[] = []
  const warnings: TopicFinding[] = []
  for (const demand of demands) {
    try {
      const replicas = await replicaCounts(admin, demand.topic)
      if (replicas === undefined) {
        missing.push(demand)
        continue
      }
      partitions.set(demand.topic, replicas.length)
      const config = await configOf(admin, demand.topic)
      problems.push(...problemsOf(settings, demand, replicas, config))
      warnings.push(...warningsOf(settings, demand, replicas, config))
    } catch (error) {
      if (onDenied === undefined || errorType(error) !== 'TOPIC_AUTHORIZATION_FAILED') throw error
      onDenied(demand.topic, error)
    }
  }
  for (const { topic, partitionsOf } of demands) {
    const [own, other] = [partitions.get(topic), partitions.get(partitionsOf ?? '')]
    if (own !== undefined && other !== undefined && own !== other) {
      const text =
        `has ${own} partitions, but ${partitionsOf} has ${other}. Both topics must have the same number of ` +
        'partitions. Otherwise a customer would have different partition numbers in the two topics'
      problems.push({ topic, text })
    }
  }
  return { partitions, missing, problems, warnings }
}

/** Returns all missing topics and problems as one text, or undefined if there are none. */
export const topicProblem = ({ missing, problems }: TopicFindings): string | undefined => {
  const lines = [
    ...missing.map(({ topic }) => `${topic}: is missing. Create it, or restart with KAFKA_CREATE_TOPICS=true`),
    ...problems.map(findingLine),
  ]
  return lines.length === 0
    ? undefined
    : `Topics are not as they must be:\n${lines.map((line) => `  - ${line}`).join('\n')}`
}

/**
 * Checks that the topics exist and meet the requirements. Creates missing topics if
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
    await createMissingTopics(admin, settings, findings)
    logger.info({ event: 'topics-created', topics }, 'created topics')
    findings = await inspectTopics(admin, settings, demands)
    if (findings.missing.length > 0) throw new Error('the broker does not know the new topics yet')
  }
  const problem = topicProblem(findings)
  if (problem) throw new TopicError(problem)
  return findings
}
