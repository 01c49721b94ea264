import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS } from '@customer-stream/schemas'

const REASON = 'refused-by-kafka'
const MAX_DETAIL_CHARACTERS = 200

/** The record that keeps the bytes of one that Kafka refuses, without its key and headers: they may be what made it too large. */
export const refusedRecord = ({ topic, value, timestamp }: OutgoingRecord, error: Error, quarantineTopic: string): OutgoingRecord => ({
  topic: quarantineTopic,
  key: null,
  value,
  timestamp,
  headers: {
    [QUARANTINE_HEADERS.reason]: REASON,
    [QUARANTINE_HEADERS.stage]: 'ingress',
    [QUARANTINE_HEADERS.detail]: error.message.slice(0, MAX_DETAIL_CHARACTERS),
    [QUARANTINE_HEADERS.topic]: topic,
  },
})
