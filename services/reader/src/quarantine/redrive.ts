/** Redrives one record of quarantine (the dead-letter topic), by the rules of the command. */
import type { ReaderSettings } from '@customer-stream/configuration'
import {
  createGroup,
  type Erasures,
  openErasures,
  openWriter,
  type PlanOptions,
  planRedrive,
  type QuarantinedRecord,
} from '@customer-stream/quarantine'
import { unlessAborted } from '@customer-stream/runtime'
import {
  createAdmin,
  type KafkaClient,
  type OutgoingRecord,
  type TopicAdmin,
  type VerifiedProducer,
} from '@customer-stream/runtime/kafka'
import { encodingOf, erasuresTopicName, quarantineAuditTopicName, topicNames } from '@customer-stream/schemas'
import type { RedriveAnswer } from '../http/quarantine-document.ts'
import { keepOpen } from '../keep-open.ts'
import type { Tail } from './tail.ts'

export interface RedriveRequest {
  readonly record: QuarantinedRecord
  readonly tail: Pick<Tail, 'topicId' | 'hasAudit'>
  /** Name for the audit. Undefined for a dry run, which writes nothing. */
  readonly requestedBy: string | undefined
  /** Called if the record may be stored, although the redrive fails. */
  readonly onUncertain: (sentence: string) => void
}

export type Redriven = Omit<RedriveAnswer, 'id'>
export type Redrive = (request: RedriveRequest) => Promise<Redriven>

/** Clients of Kafka and the known erasures, which several redrives use one after another. */
interface Session {
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  /** Undefined if erasures are switched off. */
  readonly erasures: Erasures | undefined
  /** Undefined until a record is sent. */
  producer: VerifiedProducer | undefined
}

/**
 * Maximum age of a session. Rights, settings and partition counts of topics are read at the start
 * of a session, so a change applies after this time.
 */
const SESSION_MS = 30_000

/**
 * @param open opens a new client. A failure ends a session and its client, because a kafkajs client
 *   that could not get the metadata of one topic fails for all its topics.
 * @returns the redrive, and a function that closes its clients.
 */
export const createRedrive = (
  settings: ReaderSettings,
  open: () => KafkaClient,
  stopping: AbortSignal,
): { readonly redrive: Redrive; readonly stop: () => Promise<void> } => {
  const { KAFKA_TOPIC_PREFIX: prefix, MAX_FUTURE_MS: maxFutureMs, MYKAARMA_CHARSET: charset } = settings
  const topics = topicNames(prefix)
  const auditTopic = quarantineAuditTopicName(prefix)
  const fallbackEncoding = charset === undefined ? undefined : encodingOf(charset)

  const openSession = async (): Promise<Session> => {
    const kafka = open()
    const admin = createAdmin(kafka)
    try {
      await admin.connect()
      const erasures = settings.KAFKA_ERASURES_TOPIC
        ? await unlessAborted(openErasures(admin, erasuresTopicName(prefix), stopping), stopping)
        : undefined
      return { kafka, admin, erasures, producer: undefined }
    } catch (error) {
      await admin.disconnect()
      throw error
    }
  }

  const sessions = keepOpen({
    open: openSession,
    refresh: async ({ erasures }: Session) => erasures?.refresh(),
    close: ({ admin, producer }) => Promise.allSettled([admin.disconnect(), producer?.disconnect()]),
    maxAgeMs: SESSION_MS,
  })

  const planOf = (record: QuarantinedRecord, erasures: Erasures | undefined) => {
    const erasureOf: PlanOptions['erasureOf'] = (customerUuid) => erasures?.of(customerUuid)
    return planRedrive(record, { topics, maxFutureMs, fallbackEncoding, erasureOf, isNamed: true })
  }

  const producerOf = async (session: Session, { hasAudit }: RedriveRequest['tail']): Promise<VerifiedProducer> => {
    if (session.producer !== undefined && hasAudit) return session.producer
    await session.producer?.disconnect()
    const opened = { auditTopic, audit: { exists: hasAudit } }
    session.producer = await openWriter(session, settings, opened, [topics.customers, topics.other], stopping)
    return session.producer
  }

  /** Sends the record and writes its audit entry. */
  const send = async (
    session: Session,
    planned: OutgoingRecord,
    { record, tail, requestedBy, onUncertain }: RedriveRequest & { readonly requestedBy: string },
  ): Promise<Redriven> => {
    const { erasures } = session
    let answer: Redriven = { outcome: 'redriven' }
    const refuse = (refused: string, why: string) => {
      answer = { outcome: 'refused', refused, why }
    }
    const group = createGroup({
      producer: await producerOf(session, tail),
      requestedBy,
      auditTopic,
      action: 'redriven',
      signal: stopping,
      rate: 1000,
      audit: { topicId: tail.topicId },
      // The customer may have been erased since the plan was made.
      recheck: async (waiting) => {
        await erasures?.refresh()
        const plan = planOf(record, erasures)
        if (!('refused' in plan)) return waiting
        refuse(plan.refused, plan.why)
        return []
      },
      onRefused: (_, why) => refuse('refused-by-kafka', `Kafka refused the record: ${why}.`),
      onUnaudited: () => onUncertain('The record was sent, but may have no audit entry.'),
      onUnacknowledged: () => onUncertain('Kafka did not acknowledge the record, but may have stored it.'),
    })
    await group.add({ record, send: planned })
    await group.flush()
    return answer.outcome === 'redriven' ? { ...answer, topic: planned.topic } : answer
  }

  return {
    redrive: (request) =>
      sessions.use(async (session) => {
        const { record, requestedBy } = request
        const plan = planOf(record, session.erasures)
        if ('refused' in plan) return { outcome: 'refused', ...plan }
        if (requestedBy === undefined) return { outcome: 'would-redrive', topic: plan.send.topic }
        return send(session, plan.send, { ...request, requestedBy })
      }),
    stop: sessions.stop,
  }
}
