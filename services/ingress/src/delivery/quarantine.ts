import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS, type QUARANTINE_REASONS, RAW_HEADERS, traceContextOf } from '@customer-stream/schemas'

export const REFUSED_BY_KAFKA = 'refused-by-kafka' satisfies keyof typeof QUARANTINE_REASONS
const MAX_DETAIL_CHARACTERS = 200
const MAX_CONTENT_TYPE_CHARACTERS = 200

/**
 * Creates the quarantine record for a record that Kafka refuses. Leaves out the record's key and
 * headers, because they may have made the record too large. Keeps the trace context, because it is
 * short. Keeps a short content type, because a reader needs it to decode the value.
 */
export const refusedRecord = (
  { topic, value, timestamp, headers }: OutgoingRecord,
  error: Error,
  quarantineTopic: string,
): OutgoingRecord => {
  const contentType = headers?.[RAW_HEADERS.contentType]
  return {
    topic: quarantineTopic,
    key: null,
    value,
    timestamp,
    headers: {
      [QUARANTINE_HEADERS.reason]: REFUSED_BY_KAFKA,
      [QUARANTINE_HEADERS.stage]: 'ingress',
      [QUARANTINE_HEADERS.detail]: error.message.slice(0, MAX_DETAIL_CHARACTERS),
      [QUARANTINE_HEADERS.topic]: topic,
      ...traceContextOf(headers),
      ...(contentType !== undefined &&
        contentType.length <= MAX_CONTENT_TYPE_CHARACTERS && { [RAW_HEADERS.contentType]: contentType }),
    },
  }
}
