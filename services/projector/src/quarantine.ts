import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS } from '@customer-stream/schemas'
import type { Poison } from './project.ts'

const MAX_DETAIL_CHARACTERS = 200

/** The record that keeps a poison record's bytes, says why it is there and where it came from. */
export const quarantineRecord = (
  { record, reason, detail, id }: Poison,
  from: { topic: string; partition: number },
  quarantineTopic: string,
): OutgoingRecord => ({
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
  },
})
