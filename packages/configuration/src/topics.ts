/**
 * Requirements of the ingress, the projector and the commands for the topics in Kafka. Each service
 * checks its own requirements at its start. `customer-stream topics` checks all requirements
 * without a service.
 */
import type { TopicDemand } from '@customer-stream/runtime/kafka'
import { erasuresTopicName, quarantineAuditTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import type { IngressSettings } from './ingress.ts'
import type { ProjectorSettings } from './projector.ts'

/**
 * The largest state document has at most this many bytes for each byte of its event. A document
 * writes numbers below 1e21 without an exponent. So `1e20,` (5 bytes) becomes 22 bytes, 4.4 times
 * as many. A byte of another charset becomes at most 3 bytes. A document has the customerUuid
 * twice. The record overhead of the topic has room for the second copy, because a key has at most
 * 32 KiB.
 */
const DOCUMENT_GROWTH = 5

/**
 * An erasure has two texts of 1000 code points. JSON needs up to 12 bytes per code point: 2 × 1000
 * × 12 = 24,000 bytes.
 */
const MAX_ERASURE_BYTES = 32 * 1024

/**
 * An entry of the audit has two texts of 1000 UTF-16 code units. JSON needs up to 6 bytes per code
 * unit: 2 × 1000 × 6 = 12,000 bytes.
 */
const MAX_AUDIT_BYTES = 16 * 1024

export const ingressDemands = ({
  KAFKA_TOPIC_PREFIX,
  MAX_BODY_BYTES,
}: Pick<IngressSettings, 'KAFKA_TOPIC_PREFIX' | 'MAX_BODY_BYTES'>): TopicDemand[] => {
  const topics = topicNames(KAFKA_TOPIC_PREFIX)
  return Object.values(topics).map((topic) => ({
    topic,
    maxValueBytes: MAX_BODY_BYTES,
    writes: true,
    kind: topic === topics.quarantine ? 'quarantine' : 'events',
  }))
}

export interface ProjectorTopics {
  /** The topic that the projector reads. */
  readonly topic: string
  readonly quarantineTopic: string
  /** Undefined if the state topic is switched off. */
  readonly stateTopic: string | undefined
  /** Undefined if erasures are switched off. */
  readonly erasuresTopic: string | undefined
  /** Bytes of the largest record in `topic`. */
  readonly maxValueBytes: number
}

type TopicSettings = Pick<
  ProjectorSettings,
  'KAFKA_TOPIC_PREFIX' | 'KAFKA_STATE_TOPIC' | 'KAFKA_ERASURES_TOPIC' | 'MAX_BODY_BYTES'
>

export const projectorTopics = (settings: TopicSettings): ProjectorTopics => {
  const { KAFKA_TOPIC_PREFIX: prefix } = settings
  const { customers, quarantine } = topicNames(prefix)
  return {
    topic: customers,
    quarantineTopic: quarantine,
    stateTopic: settings.KAFKA_STATE_TOPIC ? stateTopicName(prefix) : undefined,
    erasuresTopic: settings.KAFKA_ERASURES_TOPIC ? erasuresTopicName(prefix) : undefined,
    maxValueBytes: settings.MAX_BODY_BYTES,
  }
}

/** Returns the bytes of the largest state document. */
export const maxDocumentBytes = ({ maxValueBytes }: Pick<ProjectorTopics, 'maxValueBytes'>): number =>
  DOCUMENT_GROWTH * maxValueBytes

export const projectorDemands = (topics: ProjectorTopics): TopicDemand[] => {
  const { topic, quarantineTopic, stateTopic, erasuresTopic, maxValueBytes } = topics
  const changelog = { kind: 'changelog', partitionsOf: topic } as const
  const demands: TopicDemand[] = [
    { topic, maxValueBytes },
    { topic: quarantineTopic, maxValueBytes, writes: true, kind: 'quarantine' },
  ]
  if (stateTopic !== undefined)
    demands.push({ topic: stateTopic, maxValueBytes: maxDocumentBytes(topics), writes: true, ...changelog })
  if (erasuresTopic !== undefined)
    demands.push({ topic: erasuresTopic, maxValueBytes: MAX_ERASURE_BYTES, ...changelog })
  return demands
}

/**
 * Returns the requirements on the audit topic. The commands `customer-stream quarantine redrive`
 * and `customer-stream quarantine drop` write to it. No service needs this topic.
 */
export const quarantineAuditDemand = (prefix: string): TopicDemand => ({
  topic: quarantineAuditTopicName(prefix),
  maxValueBytes: MAX_AUDIT_BYTES,
  writes: true,
  kind: 'audit',
})

/**
 * Returns the requirements of ingress, projector and commands, one for each topic. On a topic that
 * ingress and projector use, both have the same requirements.
 */
export const allDemands = (settings: TopicSettings): TopicDemand[] => {
  const demands = ingressDemands(settings)
  const known = new Set(demands.map(({ topic }) => topic))
  return [
    ...demands,
    ...projectorDemands(projectorTopics(settings)).filter(({ topic }) => !known.has(topic)),
    quarantineAuditDemand(settings.KAFKA_TOPIC_PREFIX),
  ]
}
