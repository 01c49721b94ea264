import type { Admin } from 'kafkajs'
import type { Obstacles } from '../blocked.ts'
import type { Logger } from '../log.ts'
import type { KafkaSettings } from './client.ts'
import type { Diagnose } from './diagnosis.ts'
import { inspectTopics, type TopicDemand, topicProblem } from './topic-check.ts'
import type { WriteCheck } from './write-check.ts'

export interface TopicWatchOptions {
  readonly admin: Admin
  readonly writeCheck: WriteCheck
  readonly settings: KafkaSettings
  readonly demands: readonly TopicDemand[]
  readonly obstacles: Obstacles
  readonly diagnose: Diagnose
  readonly logger: Logger
  /** Called with the partition counts by topic, if no topic has fewer than configured. */
  readonly onPartitions: (partitions: ReadonlyMap<string, number>) => Promise<void>
}

/** Checks topics and rights again while the service runs: both can be changed at any time. It never ends the process. */
export interface TopicWatch {
  /** Never rejects: what it finds is reported as obstacles. */
  check(): Promise<void>
  /** Sentences about topics that work and yet need a look. */
  readonly warnings: readonly string[]
}

export const createTopicWatch = (options: TopicWatchOptions): TopicWatch => {
  const { admin, writeCheck, settings, demands, obstacles, diagnose, logger, onPartitions } = options
  let warnings: readonly string[] = []

  /** A failure to ask is reported by itself: an outage says nothing about what was found before. */
  const ask = async (task: string, doing: string, question: () => Promise<void>) => {
    try {
      await question()
      obstacles.report(task, undefined)
    } catch (error) {
      obstacles.report(task, diagnose(error, doing))
    }
  }

  const inspect = async () => {
    const findings = await inspectTopics(admin, settings, demands)
    const problem = topicProblem(findings)
    obstacles.report(
      'topics',
      problem === undefined
        ? undefined
        : { blocked: true, reason: 'topic', message: `${problem}\nThe service keeps running and checks again. Mend the topics.` },
    )
    for (const warning of findings.warnings) if (!warnings.includes(warning)) logger.warn(warning)
    warnings = findings.warnings
    const complete = demands.every(({ topic }) => (findings.partitions.get(topic) ?? 0) >= settings.KAFKA_PARTITIONS)
    if (complete) await onPartitions(findings.partitions)
  }

  return {
    check: async () => {
      await ask('topic check', 'check its topics', inspect)
      await ask('write check', 'connect', () => writeCheck.connect())
      const written = demands.filter(({ writes }) => writes)
      await Promise.all(written.map(({ topic }) => ask(`write to ${topic}`, `write to topic ${topic}`, () => writeCheck.check(topic))))
    },
    get warnings() {
      return warnings
    },
  }
}
