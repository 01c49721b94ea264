import { NotStoredError, type OutgoingRecord, type UnreadableBatch } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS, RAW_HEADERS } from '@customer-stream/schemas'
import { contentTypeOf, type Poison, type QuarantineReason } from './project.ts'

const MAX_DETAIL_CHARACTERS = 200

type Send = (records: readonly OutgoingRecord[]) => Promise<void>

/** Runs `instead` if the records are not stored for this reason. */
const orElse = async (sent: Promise<void>, kind: NotStoredError['kind'], instead: () => Promise<void>): Promise<void> => {
  try {
    await sent
  } catch (error) {
    if (!(error instanceof NotStoredError) || error.kind !== kind) throw error
    await instead()
  }
}

const withoutDetail = (record: OutgoingRecord): OutgoingRecord => {
  const { [QUARANTINE_HEADERS.detail]: _, ...headers } = record.headers ?? {}
  return { ...record, key: null, headers }
}

/** Keeps the place of a record whose bytes Kafka refuses: the topic that it came from still has them. */
const pointerTo = (record: OutgoingRecord): OutgoingRecord => {
  const detail = 'Kafka refuses these bytes in quarantine; the headers say where the record is'
  return { ...record, key: null, value: null, headers: { ...record.headers, [QUARANTINE_HEADERS.detail]: detail } }
}

/**
 * Sends records to quarantine (dead-letter topic). A record that Kafka refuses is sent without its key and detail, which may make it too large, and at last
 * without its value: a record that could not be quarantined would hold up its partition forever. If the partition of a key is not available, any other will do,
 * since the order of quarantine means nothing. Each attempt takes the next one. Rejects if that is not available either.
 */
export const sendToQuarantine = (send: Send, records: readonly OutgoingRecord[]): Promise<void> => {
  const sendEach = async (each: readonly OutgoingRecord[]) => {
    for (const record of each) {
      const smaller = () => orElse(send([withoutDetail(record)]), 'refused', () => send([pointerTo(record)]))
      await orElse(send([record]), 'refused', smaller)
    }
  }
  const sendAll = (all: readonly OutgoingRecord[]) => orElse(send(all), 'refused', () => sendEach(all))
  return orElse(sendAll(records), 'unavailable', () => sendAll(records.map((record) => ({ ...record, anyPartition: true }))))
}

/** The record that keeps a poison record's bytes, says why it is there and where it came from. */
export const quarantineRecord = (
  { record, reason, detail, id }: Poison,
  from: { topic: string; partition: number },
  quarantineTopic: string,
): OutgoingRecord => {
  const contentType = contentTypeOf(record)
  return {
    topic: quarantineTopic,
    key: id === undefined ? record.key : Buffer.from(id),
    value: record.value,
    // The time of receipt stays; the broker's own time of writing is of no use to who looks into it.
    timestamp: Number(record.timestamp),
    headers: {
      [QUARANTINE_HEADERS.reason]: reason,
      [QUARANTINE_HEADERS.stage]: 'projector',
      [QUARANTINE_HEADERS.detail]: detail.slice(0, MAX_DETAIL_CHARACTERS),
      [QUARANTINE_HEADERS.topic]: from.topic,
      [QUARANTINE_HEADERS.partition]: String(from.partition),
      [QUARANTINE_HEADERS.offset]: record.offset,
      ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
    },
  }
}

/** The record that says which offsets were passed over because their batch cannot be decoded. It has no value: there are no bytes to keep. */
export const unreadableRecord = (
  { offset, nextOffset, error }: UnreadableBatch,
  from: { topic: string; partition: number },
  quarantineTopic: string,
): OutgoingRecord => ({
  topic: quarantineTopic,
  key: null,
  value: null,
  timestamp: Date.now(),
  headers: {
    [QUARANTINE_HEADERS.reason]: 'unreadable-batch' satisfies QuarantineReason,
    [QUARANTINE_HEADERS.stage]: 'projector',
    [QUARANTINE_HEADERS.detail]: `offsets ${offset} to ${BigInt(nextOffset) - 1n}: ${error.message}`.slice(0, MAX_DETAIL_CHARACTERS),
    [QUARANTINE_HEADERS.topic]: from.topic,
    [QUARANTINE_HEADERS.partition]: String(from.partition),
    [QUARANTINE_HEADERS.offset]: offset,
  },
})
