import { NotStoredError, type OutgoingRecord, type UnreadableBatch } from '@customer-stream/runtime/kafka'
import { contentTypeOf, QUARANTINE_HEADERS, RAW_HEADERS, traceContextOf } from '@customer-stream/schemas'
import type { Poison, QuarantineReason } from './project.ts'

const MAX_DETAIL_CHARACTERS = 200

type Send = (records: readonly OutgoingRecord[]) => Promise<void>

/** Runs `instead` if `sent` rejects with a NotStoredError of this kind. */
const orElse = async (
  sent: Promise<void>,
  kind: NotStoredError['kind'],
  instead: () => Promise<void>,
): Promise<void> => {
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

/**
 * Returns the record without its value. The headers name the original record, which has the value.
 */
const pointerTo = (record: OutgoingRecord): OutgoingRecord => {
  const detail = 'Kafka refuses these bytes in quarantine; the headers say where the record is'
  return { ...record, key: null, value: null, headers: { ...record.headers, [QUARANTINE_HEADERS.detail]: detail } }
}

/**
 * Sends records to quarantine (dead-letter topic). If Kafka refuses a record, the record may be too
 * large, so the second attempt has no key and no detail. The third attempt also leaves out the
 * value. Without these attempts the record would block its partition forever. If the partition of a
 * key is not available, another partition is used, because the order in quarantine has no meaning.
 * Rejects if the other partition is not available either.
 */
export const sendToQuarantine = (send: Send, records: readonly OutgoingRecord[]): Promise<void> => {
  const sendEach = async (each: readonly OutgoingRecord[]) => {
    for (const record of each) {
      const smaller = () => orElse(send([withoutDetail(record)]), 'refused', () => send([pointerTo(record)]))
      await orElse(send([record]), 'refused', smaller)
    }
  }
  const sendAll = (all: readonly OutgoingRecord[]) => orElse(send(all), 'refused', () => sendEach(all))
  return orElse(sendAll(records), 'unavailable', () =>
    sendAll(records.map((record) => ({ ...record, anyPartition: true }))),
  )
}

/** Creates the quarantine record of a poison record: its bytes, the reason, and its origin. */
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
    // Keep the time of receipt. The time of the copy would not help an operator.
    timestamp: Number(record.timestamp),
    headers: {
      [QUARANTINE_HEADERS.reason]: reason,
      [QUARANTINE_HEADERS.stage]: 'projector',
      [QUARANTINE_HEADERS.detail]: detail.slice(0, MAX_DETAIL_CHARACTERS),
      [QUARANTINE_HEADERS.topic]: from.topic,
      [QUARANTINE_HEADERS.partition]: String(from.partition),
      [QUARANTINE_HEADERS.offset]: record.offset,
      ...traceContextOf(record.headers),
      ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
    },
  }
}

/**
 * Creates the quarantine record of a batch that cannot be decoded. The record names the skipped
 * offsets. The record has no value, because the bytes of the batch are unknown.
 */
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
    [QUARANTINE_HEADERS.detail]: `offsets ${offset} to ${BigInt(nextOffset) - 1n}: ${error.message}`.slice(
      0,
      MAX_DETAIL_CHARACTERS,
    ),
    [QUARANTINE_HEADERS.topic]: from.topic,
    [QUARANTINE_HEADERS.partition]: String(from.partition),
    [QUARANTINE_HEADERS.offset]: offset,
  },
})
