/** Checks the rights of a command that writes, and opens its producer. */

import { quarantineAuditDemand } from '@customer-stream/configuration'
import { createLogger, unlessAborted } from '@customer-stream/runtime'
import {
  attributed,
  checkTopics,
  createVerifiedProducer,
  createWriteCheck,
  fetchEnds,
  inspectTopics,
  type KafkaClient,
  type KafkaSettings,
  type TopicAdmin,
  type VerifiedProducer,
} from '@customer-stream/runtime/kafka'
import type { Audit } from './audit.ts'
import type { OpenQuarantine } from './open.ts'

/** Connected clients of Kafka. */
interface Clients {
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
}

const SEND_MS = 10_000
const METADATA_MAX_AGE_MS = 5000

/** The audit topic, and whether it exists. */
type AuditPlace = Pick<OpenQuarantine, 'auditTopic'> & { readonly audit: Pick<Audit, 'exists'> }

/**
 * Checks the settings of the audit topic. Creates the topic if it is missing and
 * `KAFKA_CREATE_TOPICS` is true.
 * @throws Error that names each problem. A topic that can lose entries is refused, because handled
 *   records would then count as open again.
 */
export const requireAudit = async (
  { admin }: Pick<Clients, 'admin'>,
  settings: KafkaSettings,
  { audit, auditTopic }: AuditPlace,
): Promise<void> => {
  const demand = quarantineAuditDemand(settings.KAFKA_TOPIC_PREFIX)
  if (audit.exists) {
    const { problems } = await inspectTopics(admin, settings, [demand])
    if (problems.length > 0)
      throw new Error(
        `The audit topic ${auditTopic} is not as it must be, so nothing was written:` +
          problems.map(({ text }) => `\n  - ${text}`).join(''),
      )
    return
  }
  if (!settings.KAFKA_CREATE_TOPICS)
    throw new Error(
      `Kafka has no topic ${auditTopic}, in which redrives and drops are recorded. Create it with ` +
        'customer-stream topics create, or set KAFKA_CREATE_TOPICS=true.',
    )
  await checkTopics(admin, settings, [demand], createLogger('quarantine', 'silent'))
}

/**
 * Opens a producer for these topics and the audit.
 * @throws Error if a topic or a right is missing. Nothing is written then.
 */
export const openWriter = async (
  clients: Clients,
  settings: KafkaSettings,
  quarantine: AuditPlace,
  topics: readonly string[],
  signal: AbortSignal,
): Promise<VerifiedProducer> => {
  const { kafka, admin } = clients
  await unlessAborted(requireAudit(clients, settings, quarantine), signal)
  const partitions = new Map<string, number>()
  const writeCheck = createWriteCheck(kafka)
  try {
    await unlessAborted(writeCheck.connect(), signal)
    // Check one topic after another, because kafkajs fails for all topics of a client if one topic
    // is missing.
    for (const topic of [...topics, quarantine.auditTopic]) {
      const ends = await unlessAborted(
        attributed(`write to topic ${topic}`, () => fetchEnds(admin, topic)),
        signal,
      )
      partitions.set(topic, ends.length)
      await unlessAborted(writeCheck.check(topic), signal)
    }
  } finally {
    await writeCheck.disconnect()
  }
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: METADATA_MAX_AGE_MS, produceTimeoutMs: SEND_MS })
  await producer.connect()
  await producer.setPartitions(partitions)
  return producer
}
