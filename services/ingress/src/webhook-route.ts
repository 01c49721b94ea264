import {
  type CustomersEvent,
  type OtherEvent,
  type ParseFault,
  parseEvent,
  QUARANTINE_HEADERS,
  RAW_HEADERS,
  type TopicNames,
} from '@customer-stream/schemas'

/** A record to be stored, before it is known when it was received. */
export interface RoutedRecord {
  readonly topic: string
  readonly key: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

/** Where a body goes, and what its sender is told once it is stored there. */
export interface Route {
  readonly record: RoutedRecord
  readonly answer: 'accepted' | { readonly problem: 'malformed-json' | 'unroutable'; readonly detail: string }
  readonly eventType: string
}

export interface DeliveredHeaders {
  readonly signature: string | undefined
  readonly traceparent: string | undefined
}

const traceparentForm = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const MAX_DETAIL_CHARACTERS = 200

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

/** With headers of at most 16 KiB this stays within the room that topics have beside the body: a longer key would be refused by Kafka for ever. */
const MAX_KEY_BYTES = 32 * 1024
const fitsKey = (value: string): boolean => Buffer.byteLength(value) <= MAX_KEY_BYTES
/** A key only says where a record lies, so that one without is better than none stored. */
const keyOf = (value: string | undefined): Buffer | null => (value === undefined || !fitsKey(value) ? null : Buffer.from(value))

const rawKey = (event: CustomersEvent | OtherEvent): string | undefined =>
  event.kind === 'customers' ? event.customerUuid : (text(event.envelope.dealeruuid) ?? text(event.envelope.id))

interface Unusable {
  readonly reason: ParseFault | 'customer-uuid-too-long'
  readonly detail: string
  readonly eventId?: string
}

const isMalformed = (reason: Unusable['reason']): boolean => reason === 'not-utf8' || reason === 'not-json'

const quarantine = ({ reason, detail, eventId }: Unusable, topics: TopicNames): Route => ({
  record: {
    topic: topics.quarantine,
    key: keyOf(eventId),
    headers: {
      [QUARANTINE_HEADERS.reason]: reason,
      [QUARANTINE_HEADERS.stage]: 'ingress',
      [QUARANTINE_HEADERS.detail]: detail.slice(0, MAX_DETAIL_CHARACTERS),
    },
  },
  answer: { problem: isMalformed(reason) ? 'malformed-json' : 'unroutable', detail: reason },
  eventType: 'unusable',
})

/** Decides by content alone where an authentic body is stored: its own topic, or quarantine with a reason. Nothing authentic is thrown away. */
export const routeBody = (body: Buffer, delivered: DeliveredHeaders, topics: TopicNames): Route => {
  const parsed = parseEvent(body)
  if (!parsed.ok) return quarantine(parsed, topics)
  const event = parsed.value
  // Without its key a customer's events would lose their partition.
  if (event.kind === 'customers' && !fitsKey(event.customerUuid)) {
    const detail = `customer.customerUuid has more than ${MAX_KEY_BYTES} bytes`
    return quarantine({ reason: 'customer-uuid-too-long', detail }, topics)
  }
  const { signature, traceparent } = delivered
  return {
    record: {
      topic: event.kind === 'customers' ? topics.customers : topics.other,
      key: keyOf(rawKey(event)),
      headers: {
        ...(signature !== undefined && { [RAW_HEADERS.signature]: signature }),
        ...(traceparent !== undefined && traceparentForm.test(traceparent) && { [RAW_HEADERS.traceparent]: traceparent }),
      },
    },
    answer: 'accepted',
    eventType: event.kind,
  }
}
