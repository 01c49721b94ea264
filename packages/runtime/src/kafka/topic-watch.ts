import type { Obstacles } from '../process/blocked.ts'
import type { Logger } from '../process/log.ts'
import type { Diagnose } from './diagnosis.ts'
import type { KafkaSettings } from './settings.ts'
import type { TopicAdmin } from './topic-admin.ts'
import { checkTopics, inspectTopics, type TopicFindings, topicProblem } from './topic-check.ts'
import { findingLine, type TopicDemand } from './topic-rules.ts'
import type { WriteCheck } from './write-check.ts'

export interface TopicWatchOptions {
  readonly admin: TopicAdmin
  readonly writeCheck: WriteCheck
  readonly settings: KafkaSettings
  readonly demands: readonly TopicDemand[]
  readonly obstacles: Obstacles
  readonly diagnose: Diagnose
  readonly logger: Logger
  /** Called with the partition counts if each topic has at least KAFKA_PARTITIONS partitions. */
  readonly onPartitions: (partitions: ReadonlyMap<string, number>) => Promise<void>
}

/** Checks topics and rights at start and while the service runs. */
export interface TopicWatch {
  /**
   * Checks the topics, and creates missing topics if KAFKA_CREATE_TOPICS is true. Rejects with a
   * TopicError if a topic is wrong, and with another error if Kafka does not answer.
   */
  start(): Promise<void>
  /** Checks the rights. Reports a missing right as an obstacle. Never rejects. */
  checkRights(): Promise<void>
  /**
   * Checks the topics and the rights. Reports wrong topics and missing rights as
   * obstacles. Never rejects.
   */
  check(): Promise<void>
  /**
   * Warnings about topics that work but that a person should check. Each warning is one sentence.
   */
  readonly warnings: readonly string[]
}

export const createTopicWatch = (options: TopicWatchOptions): TopicWatch => {
  const { admin, writeCheck, settings, demands, obstacles, diagnose, logger, onPartitions } = options
  let warnings: readonly string[] = []

  /**
   * Asks Kafka. If Kafka does not answer, reports the outage as a separate obstacle, so that the
   * problems of earlier checks stay.
   */
  const ask = async (task: string, doing: string, question: () => Promise<unknown>) => {
    try {
      await question()
      obstacles.report(task, undefined)
    } catch (error) {
      obstacles.report(task, diagnose(error, doing))
    }
  }

  const adopt = async (findings: TopicFindings) => {
    const problem = topicProblem(findings)
    obstacles.report(
      'topics',
      problem === undefined
        ? undefined
        : {
            blocked: true,
            reason: 'topic',
            message: `${problem}\nThe service keeps running and checks again. Correct the topics.`,
          },
    )
    const found = findings.warnings.map(findingLine)
    for (const warning of found) if (!warnings.includes(warning)) logger.warn(warning)
    warnings = found
    const complete = demands.every(({ topic }) => (findings.partitions.get(topic) ?? 0) >= settings.KAFKA_PARTITIONS)
    if (complete) await onPartitions(findings.partitions)
  }
  const checkRights = async () => {
    const reads = demands.map(async ({ topic, readCheck }) => {
      if (readCheck) await ask(`read ${topic}`, `read topic ${topic}`, readCheck)
    })
    const fences = demands.map(async ({ topic, fenceCheck }) => {
      if (fenceCheck) await ask(`fence ${topic}`, `fence topic ${topic}`, fenceCheck)
    })
    await ask('write check', 'connect', () => writeCheck.connect())
    const written = demands.map(async ({ topic, writes }) => {
      if (writes) await ask(`write to ${topic}`, `write to topic ${topic}`, () => writeCheck.check(topic))
    })
    await Promise.all([...reads, ...fences, ...written])
  }

  return {
    start: async () => adopt(await checkTopics(admin, settings, demands, logger)),
    checkRights,
    check: async () => {
      await ask('topic check', 'check its topics', async () => adopt(await inspectTopics(admin, settings, demands)))
      await checkRights()
    },
    get warnings() {
      return warnings
    },
  }
}
