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
import { createAdmin, type KafkaClient, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { encodingOf, erasuresTopicName, quarantineAuditTopicName, topicNames } from '@customer-stream/schemas'
import type { RedriveAnswer } from '../http/quarantine-document.ts'
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

interface Clients {
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
}

/** @param open opens a new client. After a failure, kafkajs' client fails for all its topics. */
export const createRedrive = (settings: ReaderSettings, open: () => KafkaClient, stopping: AbortSignal): Redrive => {
  const { KAFKA_TOPIC_PREFIX: prefix, MAX_FUTURE_MS: maxFutureMs, MYKAARMA_CHARSET: charset } = settings
  const topics = topicNames(prefix)
  const auditTopic = quarantineAuditTopicName(prefix)
  const fallbackEncoding = charset === undefined ? undefined : encodingOf(charset)

  const planOf = (record: QuarantinedRecord, erasures: Erasures | undefined) => {
    const erasureOf: PlanOptions['erasureOf'] = (customerUuid) => erasures?.of(customerUuid)
    return planRedrive(record, { topics, maxFutureMs, fallbackEncoding, erasureOf, isNamed: true })
  }

  /** Sends the record and writes its audit entry. */
  const send = async (
    clients: Clients,
    { record, tail, requestedBy, onUncertain }: RedriveRequest & { readonly requestedBy: string },
    erasures: Erasures | undefined,
  ): Promise<Redriven> => {
    let answer: Redriven = { outcome: 'redriven' }
    const refuse = (refused: string, why: string) => {
      answer = { outcome: 'refused', refused, why }
    }
    const opened = { auditTopic, audit: { exists: tail.hasAudit } }
    const producer = await openWriter(clients, settings, opened, [topics.customers, topics.other], stopping)
    try {
      const group = createGroup({
        producer,
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
      const plan = planOf(record, erasures)
      if ('refused' in plan) return { outcome: 'refused', ...plan }
      await group.add({ record, send: plan.send })
      await group.flush()
      return answer.outcome === 'redriven' ? { ...answer, topic: plan.send.topic } : answer
    } finally {
      await producer.disconnect()
    }
  }

  return async (request) => {
    const { record, requestedBy } = request
    const kafka = open()
    const admin = createAdmin(kafka)
    try {
      await admin.connect()
      const erasures = settings.KAFKA_ERASURES_TOPIC
        ? await unlessAborted(openErasures(admin, erasuresTopicName(prefix), stopping), stopping)
        : undefined
      const plan = planOf(record, erasures)
      if ('refused' in plan) return { outcome: 'refused', ...plan }
      if (requestedBy === undefined) return { outcome: 'would-redrive', topic: plan.send.topic }
      return await send({ kafka, admin }, { ...request, requestedBy }, erasures)
    } finally {
      await admin.disconnect()
    }
  }
}
