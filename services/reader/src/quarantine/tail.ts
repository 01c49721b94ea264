/**
 * Keeps in memory the facts about the newest records of quarantine (the dead-letter topic), without
 * their bytes, and about the actions of operators. Each refresh reads only new records and entries.
 */
import {
  type Action,
  type AuditEntry,
  createEntries,
  originOf,
  type Place,
  type QuarantinedRecord,
  readEntry,
  readQuarantined,
} from '@customer-stream/quarantine'
import {
  attributed,
  createPartitionReader,
  errorType,
  partsOf,
  readTopicIdentity,
  readWatermarks,
  type TopicAdmin,
  type Watermarks,
} from '@customer-stream/runtime/kafka'
import { type AuditHistory, createHistory, readEntries } from './audit-history.ts'

/** Maximum number of records in memory, about 400 bytes each. */
const MAX_RECORDS = 20_000

export interface RecordFacts
  extends Pick<QuarantinedRecord, 'partition' | 'offset' | 'receivedAt' | 'reason' | 'stage' | 'source'> {
  /** Null if quarantine has no bytes of the record. */
  readonly bytes: number | null
  /** Name of the original, which all copies of the record share. */
  readonly origin: string | undefined
}

export interface Tail {
  readonly topicId: string | null
  readonly hasAudit: boolean
  readonly watermarks: ReadonlyMap<number, Watermarks>
  /** The newest first. */
  readonly records: readonly RecordFacts[]
  /** True if quarantine has older records. */
  readonly isCut: boolean
  actionFor(record: Pick<RecordFacts, 'partition' | 'offset' | 'origin'>): Action | undefined
  /** Reads the entries of the audit about one record, the oldest first. */
  entriesOf(place: Place): Promise<readonly AuditEntry[]>
}

/** The records and the audit of one quarantine topic. */
interface State {
  readonly topicId: string | null
  readonly entries: ReturnType<typeof createEntries>
  auditId: string | undefined
  history: AuditHistory
  records: readonly RecordFacts[]
  /** Next offset to read, by partition. */
  readonly next: Map<number, bigint>
  readonly nextOfAudit: Map<number, bigint>
  isCut: boolean
}

/**
 * Returns the id of the audit, empty on brokers before Kafka 2.8. Undefined if there is no audit,
 * because nothing was redriven or dropped yet.
 */
const auditIdOf = (admin: TopicAdmin, topic: string): Promise<string | undefined> =>
  readTopicIdentity(admin, topic).then(
    ({ topicId = '' }) => topicId,
    (error: Error) => {
      if (errorType(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return undefined
      throw error
    },
  )

/** @returns whether there is an audit. */
const readAudit = async (admin: TopicAdmin, topic: string, current: State, signal: AbortSignal): Promise<boolean> => {
  const auditId = await auditIdOf(admin, topic)
  if (auditId !== current.auditId) {
    // An audit that was created again has other entries at the same places. The earlier entries
    // still say which records need no more work.
    current.auditId = auditId
    current.history = createHistory()
    current.nextOfAudit.clear()
  }
  if (auditId === undefined) return false
  const reader = createPartitionReader(admin, topic)
  for (const [partition, { low, stable }] of await readWatermarks(admin, topic)) {
    const start = current.nextOfAudit.get(partition) ?? BigInt(low)
    const range = { topic, partition, start, end: BigInt(stable) }
    for await (const part of partsOf(reader, range, { signal, onUnreadable: () => {} })) {
      for (const { offset, value } of part) {
        const entry = readEntry(value)
        if (entry && current.entries.add(entry)) current.history.add(entry, partition, offset)
      }
      // If the next part cannot be read, the next refresh begins there.
      const last = part.at(-1)
      if (last) current.nextOfAudit.set(partition, BigInt(last.offset) + 1n)
    }
    current.nextOfAudit.set(partition, BigInt(stable))
  }
  return true
}

const newState = (topicId: string | null): State => ({
  topicId,
  entries: createEntries(topicId),
  auditId: undefined,
  history: createHistory(),
  records: [],
  next: new Map(),
  nextOfAudit: new Map(),
  isCut: false,
})

export const factsOf = (record: QuarantinedRecord): RecordFacts => {
  const { partition, offset, receivedAt, reason, stage, source, value } = record
  return {
    partition,
    offset,
    receivedAt,
    reason,
    stage,
    source,
    bytes: value?.length ?? null,
    origin: originOf(record),
  }
}

export const newestFirst = (
  a: Pick<RecordFacts, 'receivedAt' | 'partition' | 'offset'>,
  b: Pick<RecordFacts, 'receivedAt' | 'partition' | 'offset'>,
): number => b.receivedAt - a.receivedAt || a.partition - b.partition || Number(BigInt(b.offset) - BigInt(a.offset))

export interface TailOptions {
  readonly topic: string
  readonly auditTopic: string
  /** Ends a refresh when the process stops. */
  readonly signal: AbortSignal
}

/** @param admin opens a client that is connected. Each topic needs its own client. */
export const createTail = (
  admin: { readonly quarantine: TopicAdmin; readonly audit: TopicAdmin; readonly connect: () => Promise<unknown> },
  { topic, auditTopic, signal }: TailOptions,
) => {
  let state: State | undefined
  let running: Promise<Tail> | undefined

  const readNew = async (current: State, marks: ReadonlyMap<number, Watermarks>): Promise<readonly RecordFacts[]> => {
    const reader = createPartitionReader(admin.quarantine, topic)
    const most = BigInt(Math.ceil(MAX_RECORDS / Math.max(1, marks.size)))
    const added: RecordFacts[] = []
    const next = new Map<number, bigint>()
    for (const [partition, { low, stable }] of marks) {
      const [oldest, end] = [BigInt(low), BigInt(stable)]
      const from = current.next.get(partition) ?? oldest
      const start = end - from > most ? end - most : from > oldest ? from : oldest
      if (start > from) current.isCut = true
      const range = { topic, partition, start, end }
      // A batch that cannot be read is skipped. The operator's command names the batch.
      for await (const part of partsOf(reader, range, { signal, onUnreadable: () => {} }))
        added.push(...part.map((record) => factsOf(readQuarantined(record, partition))))
      next.set(partition, end)
    }
    // If a partition cannot be read, the next refresh reads all of these records again.
    for (const [partition, end] of next) current.next.set(partition, end)
    return added
  }

  const readQuarantine = async () => {
    const topicId = (await readTopicIdentity(admin.quarantine, topic)).topicId ?? null
    const marks = await readWatermarks(admin.quarantine, topic)
    // A topic that was created again has other records at the same offsets.
    const current = state?.topicId === topicId ? state : newState(topicId)
    state = current
    return { current, marks, added: await readNew(current, marks) }
  }

  const refresh = async (): Promise<Tail> => {
    await admin.connect()
    const { current, marks, added } = await attributed(`read topic ${topic}`, readQuarantine)
    const kept = current.records.filter(({ partition, offset }) => {
      const low = marks.get(partition)?.low
      return low === undefined || BigInt(offset) >= BigInt(low)
    })
    const sorted = added.length === 0 ? kept : [...added, ...kept].sort(newestFirst)
    if (sorted.length > MAX_RECORDS) current.isCut = true
    current.records = sorted.slice(0, MAX_RECORDS)
    const hasAudit = await attributed(`read topic ${auditTopic}`, () =>
      readAudit(admin.audit, auditTopic, current, signal),
    )
    const { topicId, entries, history, records, isCut } = current
    return {
      topicId,
      hasAudit,
      watermarks: marks,
      records,
      isCut,
      actionFor: ({ partition, offset, origin }) => entries.actionAt({ partition, offset }, origin),
      entriesOf: (place) =>
        attributed(`read topic ${auditTopic}`, () => readEntries(admin.audit, auditTopic, history.of(place), signal)),
    }
  }

  const join = (): Promise<Tail> => {
    running ??= refresh().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    /** Reads the new entries. A call during another refresh gets the result of that refresh. */
    refresh: join,
    /**
     * Reads the new entries. The read begins after the call, so the result has all entries that
     * were written before the call.
     */
    refreshAgain: async (): Promise<Tail> => {
      await running?.catch(() => undefined)
      return join()
    },
  }
}

export type QuarantineTail = ReturnType<typeof createTail>
