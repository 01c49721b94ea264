import { NotStoredError, type OutgoingRecord } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS, RAW_HEADERS } from '@customer-stream/schemas'
import { contentTypeOf, type Poison } from './project.ts'

const MAX_DETAIL_CHARACTERS = 200

type Send = (records: readonly OutgoingRecord[]) => Promise<void>

/** Runs `instead` where Kafka refuses; an outage says nothing about the record, and is thrown on. */
const ifRefused = async (sent: Promise<void>, instead: () => Promise<void>): Promise<void> => {
  try {
    await sent
  } catch (error) {
    if (!(error instanceof NotStoredError) || error.kind !== 'refused') throw error
    await instead()
  }
}

/**
 * Sends records to quarantine. One that Kafka refuses goes without its key and detail, in case those make it too large: a record that could not even be
 * quarantined would hold up its partition for ever. Rejects in an outage, and while Kafka refuses the value itself.
 */
export const sendToQuarantine = (send: Send, records: readonly OutgoingRecord[]): Promise<void> =>
  ifRefused(send(records), async () => {
    for (const record of records) {
      const { [QUARANTINE_HEADERS.detail]: _, ...headers } = record.headers ?? {}
      await ifRefused(send([record]), () => send([{ ...record, key: null, headers }]))
    }
  })

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
