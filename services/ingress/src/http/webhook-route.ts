import {
  type CustomersEvent,
  declaredEncoding,
  type OtherEvent,
  otherPayloads,
  type ParseFault,
  parseEvent,
  QUARANTINE_HEADERS,
  RAW_HEADERS,
  type TopicNames,
} from '@customer-stream/schemas'

/** Record to store, without its time of receipt. */
export interface RoutedRecord {
  readonly topic: string
  readonly key: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

/** Destination of a body, and the answer after the body is stored. */
export interface Route {
  readonly record: RoutedRecord
  readonly answer: 'accepted' | { readonly problem: 'malformed-json' | 'unroutable'; readonly detail: string }
  readonly eventType: (typeof EVENT_TYPES)[number]
  readonly suspicion?: Suspicion
}

/** Reason why a valid event will probably never be applied. */
export interface Suspicion {
  /**
   * `old-timestamp`: the timestamp is before 2001-09-09, perhaps because its unit is seconds. Other
   * events of the customer are then newer. `type-spelling`: the type is similar to a known type.
   */
  readonly what: (typeof SUSPICIONS)[number]
  readonly eventId: string | undefined
  /** The suspicious timestamp or type. */
  readonly value: string
}

export const EVENT_TYPES = ['customers', 'other', 'unusable'] as const
export const SUSPICIONS = ['old-timestamp', 'type-spelling'] as const

export interface Delivered {
  readonly signature: string | undefined
  readonly traceparent: string | undefined
  readonly contentType: string | undefined
  /** Charset that the signature proves. Undefined if the signature is over the raw bytes. */
  readonly encoding: string | undefined
}

export interface RouteOptions {
  readonly topics: TopicNames
  readonly fallbackEncoding: string | undefined
}

const traceparentForm = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const isUsual = /^(?:text\/plain|application\/json)(?:\s*;\s*charset=utf-?8)?$/i
const MAX_DETAIL_CHARACTERS = 200
const comparable = (type: string): string => type.toLowerCase().replaceAll(/[\s_-]/g, '')

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

/**
 * A topic allows RECORD_OVERHEAD_BYTES for key and headers. The headers have at most 16 KiB. Kafka
 * would refuse a record with a longer key forever.
 */
const MAX_KEY_BYTES = 32 * 1024
const fitsKey = (value: string): boolean => Buffer.byteLength(value) <= MAX_KEY_BYTES
/**
 * Returns the key, or null if the key is too long. A key only selects the partition, so a record
 * without a key is better than a lost record.
 */
const keyOf = (value: string | undefined): Buffer | null =>
  value === undefined || !fitsKey(value) ? null : Buffer.from(value)

const rawKey = (event: CustomersEvent | OtherEvent): string | undefined =>
  event.kind === 'customers' ? event.customerUuid : (text(event.envelope.dealeruuid) ?? text(event.envelope.id))

export const KEY_TOO_LONG = 'customer-uuid-too-long'

interface Unusable {
  readonly reason: ParseFault | typeof KEY_TOO_LONG
  readonly detail: string
  readonly eventId?: string
}

const isMalformed = (reason: Unusable['reason']): boolean => reason === 'not-utf8' || reason === 'not-json'

/** 2001-09-09 in Unix milliseconds. The unit of a smaller timestamp is probably seconds. */
const OLDEST_PLAUSIBLE_MS = 1e12
/** Types of the vendor's documentation in lower case, without blanks and hyphens. */
const knownTypes = new Map(['customers', ...Object.keys(otherPayloads)].map((type) => [comparable(type), type]))

const suspicionOf = ({ type, envelope }: CustomersEvent | OtherEvent): Suspicion | undefined => {
  const eventId = text(envelope.id)?.slice(0, MAX_DETAIL_CHARACTERS)
  if ((knownTypes.get(comparable(type)) ?? type) !== type)
    return { what: 'type-spelling', eventId, value: type.slice(0, MAX_DETAIL_CHARACTERS) }
  const timestamp = Number(envelope.timestamp)
  return timestamp < OLDEST_PLAUSIBLE_MS ? { what: 'old-timestamp', eventId, value: String(timestamp) } : undefined
}

/** Returns the content type. Undefined for the documented content types in UTF-8. */
const contentTypeToKeep = ({ contentType, encoding }: Delivered): string | undefined => {
  const proved = encoding ?? declaredEncoding(contentType)
  if (proved !== declaredEncoding(contentType)) return proved === 'utf-8' ? undefined : `text/plain; charset=${proved}`
  return contentType === undefined || isUsual.test(contentType) ? undefined : contentType
}

/** Parses a body. Returns the event, and the content type that was used to decode the body. */
const read = (body: Buffer, delivered: Delivered, fallback: string | undefined) => {
  const parseAs = (contentType: string | undefined) => ({
    contentType,
    parsed: parseEvent(body, { contentType, exactNumbers: false }),
  })
  const first = parseAs(contentTypeToKeep(delivered))
  const isUndeclared = (delivered.encoding ?? declaredEncoding(delivered.contentType)) === undefined
  const isOtherCharset = !first.parsed.ok && first.parsed.reason === 'not-utf8' && isUndeclared
  return isOtherCharset && fallback !== undefined ? parseAs(`text/plain; charset=${fallback}`) : first
}

const quarantine = (
  { reason, detail, eventId }: Unusable,
  contentType: string | undefined,
  topics: TopicNames,
): Route => ({
  record: {
    topic: topics.quarantine,
    key: keyOf(eventId),
    headers: {
      [QUARANTINE_HEADERS.reason]: reason,
      [QUARANTINE_HEADERS.stage]: 'ingress',
      [QUARANTINE_HEADERS.detail]: detail.slice(0, MAX_DETAIL_CHARACTERS),
      ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
    },
  },
  answer: { problem: isMalformed(reason) ? 'malformed-json' : 'unroutable', detail: reason },
  eventType: 'unusable',
})

/** Chooses the topic of an authentic body. Unusable bodies go to quarantine with a reason. */
export const routeBody = (body: Buffer, delivered: Delivered, { topics, fallbackEncoding }: RouteOptions): Route => {
  const { contentType, parsed } = read(body, delivered, fallbackEncoding)
  if (!parsed.ok) return quarantine(parsed, contentType, topics)
  const event = parsed.value
  // Quarantine this event, because without a key the customer's events would go to different
  // partitions.
  if (event.kind === 'customers' && !fitsKey(event.customerUuid)) {
    const detail = `customer.customerUuid has more than ${MAX_KEY_BYTES} bytes`
    return quarantine({ reason: KEY_TOO_LONG, detail }, contentType, topics)
  }
  const { signature, traceparent } = delivered
  const suspicion = suspicionOf(event)
  return {
    record: {
      topic: event.kind === 'customers' ? topics.customers : topics.other,
      key: keyOf(rawKey(event)),
      headers: {
        ...(signature !== undefined && { [RAW_HEADERS.signature]: signature }),
        ...(traceparent !== undefined &&
          traceparentForm.test(traceparent) && { [RAW_HEADERS.traceparent]: traceparent }),
        ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
      },
    },
    answer: 'accepted',
    eventType: event.kind,
    ...(suspicion && { suspicion }),
  }
}
