/** Opens quarantine (the dead-letter topic) and its audit. */
import { type PartitionEnds, requireReadable, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { quarantineAuditTopicName, topicNames } from '@customer-stream/schemas'
import { type Audit, type AuditEntry, readAudit } from './audit.ts'

export interface OpenQuarantine {
  readonly topic: string
  readonly ends: readonly PartitionEnds[]
  readonly auditTopic: string
  readonly audit: Audit
}

/**
 * Fetches the ends of quarantine, in the order of partitions, and reads the audit.
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
  const ends = (await requireReadable(admin, topic, signal)).toSorted((a, b) => a.partition - b.partition)
  const options = { quarantineTopic: topic, auditTopic, signal, ...(onEntry && { onEntry }) }
  return { topic, ends, auditTopic, audit: await readAudit(admin, options) }
}
