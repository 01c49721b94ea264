/** The settings, the topics and the audit, which all `quarantine` commands need. */
import { loadSettings } from '@customer-stream/runtime'
import { kafkaRules, kafkaSettings, type PartitionEnds, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { quarantineAuditTopicName, topicNames } from '@customer-stream/schemas'
import { requireReadable } from '@customer-stream/verify'
import { type Audit, type AuditEntry, readAudit } from './audit.ts'

export const loadKafkaSettings = () => loadSettings(kafkaSettings, process.env, kafkaRules)

export interface OpenQuarantine {
  readonly topic: string
  readonly ends: readonly PartitionEnds[]
  readonly auditTopic: string
  readonly audit: Audit
}

/**
 * Fetches the ends of quarantine and reads the audit.
 * @throws if a topic cannot be read, or if there is no quarantine topic.
 */
export const openQuarantine = async (
  admin: TopicAdmin,
  prefix: string,
  signal: AbortSignal,
  onEntry?: (entry: AuditEntry) => void,
): Promise<OpenQuarantine> => {
  const topic = topicNames(prefix).quarantine
  const auditTopic = quarantineAuditTopicName(prefix)
  const ends = await requireReadable(admin, topic, signal)
  const options = { quarantineTopic: topic, auditTopic, signal, ...(onEntry && { onEntry }) }
  return { topic, ends, auditTopic, audit: await readAudit(admin, options) }
}
