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
const keyOf = (value: string | undefined): Buffer | null => (value === undefined ? null : Buffer.from(value))

const rawKey = (event: CustomersEvent | OtherEvent): string | undefined =>
  event.kind === 'customers' ? event.customerUuid : (text(event.envelope.dealeruuid) ?? text(event.envelope.id))

const isMalformed = (reason: ParseFault): boolean => reason === 'not-utf8' || reason === 'not-json'

/** Decides by content alone where an authentic body is stored: its own topic, or quarantine with a reason. Nothing authentic is thrown away. */
export const routeBody = (body: Buffer, delivered: DeliveredHeaders, topics: TopicNames): Route => {
  const parsed = parseEvent(body)
  if (!parsed.ok) {
    const { reason, detail, eventId } = parsed
    return {
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
    }
  }
  const event = parsed.value
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
