/**
 * The audit topic of quarantine: one record for each quarantined record that an operator has
 * redriven or dropped. Kafka cannot delete single records, so these entries show which records of
 * quarantine need no more work. No entry has data of a customer.
 */
import {
  attributed,
  errorType,
  type OutgoingRecord,
  readTopic,
  readTopicIdentity,
  requireReadable,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { originOf, type Place, type QuarantinedRecord } from './record.ts'

export type Action = 'redriven' | 'dropped'

export interface AuditEntry extends Place {
  /**
   * Id of the quarantine topic. Null if the brokers have no topic ids. Entries of an earlier topic
   * with the same name are ignored, because the offsets of the earlier topic belong to other
   * records.
   */
  readonly topicId: string | null
  readonly action: Action
  /**
   * Name of the original record, from {@link originOf}. An entry also applies to all other copies
   * of this original.
   */
  readonly origin?: string
  /** Unix milliseconds. */
  readonly at: number
  readonly requestedBy: string
  /** Reason for which the record was dropped. */
  readonly note?: string
  /** The topic to which the record was sent. */
  readonly sentTo?: string
}

/** Maximum number of characters of each text of an entry. */
export const MAX_AUDIT_TEXT = 1000

type AuditedRecord = Pick<QuarantinedRecord, 'partition' | 'offset' | 'headers' | 'receivedAt'>

/** The audit's entries about records of the current quarantine topic. */
export interface Audit {
  /** Null if the brokers have no topic ids. */
  readonly topicId: string | null
  /** False if there is no audit topic, so no record was handled before. */
  readonly exists: boolean
  /**
   * Returns the action that has handled this record or another copy of its original. Undefined if
   * no operator has handled the record.
   */
  actionFor(record: AuditedRecord): Action | undefined
}

const isText = (value: unknown): value is string => typeof value === 'string'

/** Returns the entry, or undefined if the value is not an entry. */
export const readEntry = (value: Buffer | null): AuditEntry | undefined => {
  let entry: Partial<Record<keyof AuditEntry, unknown>> | null
  try {
    entry = JSON.parse(value?.toString() ?? 'null')
  } catch {
    return undefined
  }
  if (typeof entry !== 'object' || entry === null) return undefined
  const { topicId, partition, offset, action, origin, at, requestedBy } = entry
  const isValid =
    (topicId === null || isText(topicId)) &&
    Number.isSafeInteger(partition) &&
    isText(offset) &&
    /^\d+$/.test(offset) &&
    (action === 'redriven' || action === 'dropped') &&
    (origin === undefined || isText(origin)) &&
    Number.isSafeInteger(at) &&
    isText(requestedBy)
  return isValid ? (entry as AuditEntry) : undefined
}

export const entryRecord = (topic: string, entry: AuditEntry): OutgoingRecord => ({
  topic,
  key: Buffer.from(`${entry.partition}/${entry.offset}`),
  value: Buffer.from(JSON.stringify(entry)),
  timestamp: entry.at,
})

const exists = (admin: TopicAdmin, topic: string): Promise<boolean> =>
  attributed(`read topic ${topic}`, async () => {
    try {
      await admin.describeTopics([topic])
      return true
    } catch (error) {
      if (errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return false
      throw error
    }
  })

export interface ReadAuditOptions {
  readonly quarantineTopic: string
  readonly auditTopic: string
  readonly signal: AbortSignal
  /** Called with each entry about a record of the current quarantine topic. */
  readonly onEntry?: (entry: AuditEntry) => void
}

/** Collects the entries about the quarantine topic with this id. */
export const createEntries = (topicId: string | null) => {
  const byPlace = new Map<number, Map<number, Action>>()
  const byOrigin = new Map<string, Action>()
  const actionAt = ({ partition, offset }: Place, origin: string | undefined): Action | undefined =>
    byPlace.get(partition)?.get(Number(offset)) ?? byOrigin.get(origin ?? '')
  return {
    /** Returns false if the entry belongs to an earlier quarantine topic. */
    add: ({ topicId: of, partition, offset, action, origin }: AuditEntry): boolean => {
      if (of !== topicId) return false
      const ofPartition = byPlace.get(partition) ?? new Map<number, Action>()
      byPlace.set(partition, ofPartition.set(Number(offset), action))
      if (origin !== undefined) byOrigin.set(origin, action)
      return true
    },
    actionFor: (record: AuditedRecord): Action | undefined => actionAt(record, originOf(record)),
    actionAt,
  }
}

/** Reads the audit. Needs about 200 bytes of memory for each handled record. */
export const readAudit = async (
  admin: TopicAdmin,
  { quarantineTopic, auditTopic, signal, onEntry }: ReadAuditOptions,
): Promise<Audit> => {
  const identity = await attributed(`read topic ${quarantineTopic}`, () => readTopicIdentity(admin, quarantineTopic))
  const topicId = identity.topicId ?? null
  const entries = createEntries(topicId)
  const isThere = await exists(admin, auditTopic)
  if (isThere) {
    const ends = await requireReadable(admin, auditTopic, signal)
    const note = (entry: AuditEntry | undefined) => {
      if (entry && entries.add(entry)) onEntry?.(entry)
    }
    await readTopic(admin, auditTopic, ({ value }) => note(readEntry(value)), { ends, signal })
  }
  return { topicId, exists: isThere, actionFor: entries.actionFor }
}
