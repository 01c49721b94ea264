import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS } from '@customer-stream/schemas'

export const REFUSED_BY_KAFKA = 'refused-by-kafka'
const MAX_DETAIL_CHARACTERS = 200

/**
 * Creates the quarantine record for a record that Kafka refuses. Leaves out the record's key and
 * headers, because they may have made the record too large.
 */
export const refusedRecord = (
  { topic, value, timestamp }: OutgoingRecord,
  error: Error,
  quarantineTopic: string,
): OutgoingRecord => ({
  topic: quarantineTopic,
  key: null,
  value,
  timestamp,
  headers: {
    [QUARANTINE_HEADERS.reason]: REFUSED_BY_KAFKA,
    [QUARANTINE_HEADERS.stage]: 'ingress',
    [QUARANTINE_HEADERS.detail]: error.message.slice(0, MAX_DETAIL_CHARACTERS),
    [QUARANTINE_HEADERS.topic]: topic,
  },
})
