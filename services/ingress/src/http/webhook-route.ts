import {
  type CustomersEvent,
  declaredEncoding,
  destinationOf,
  type KEY_TOO_LONG,
  type OtherEvent,
  otherPayloads,
  type ParseFault,
  QUARANTINE_HEADERS,
  RAW_HEADERS,
  readBody,
  recordKey,
  type TopicNames,
  type TraceContext,
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
   * `old-timestamp`: the timestamp is before 2001-09-09, perhaps because its unit is seconds. Any
   * other event of the customer then counts as newer, so this event is not applied.
   * `type-spelling`: the type is similar to a known type.
   */
  readonly what: (typeof SUSPICIONS)[number]
  readonly eventId: string | undefined
  /**
   * The suspicious timestamp or type. Not named `value`, because the log redacts each field with
   * this name.
   */
  readonly given: string
}

export const EVENT_TYPES = ['customers', 'other', 'unusable'] as const
export const SUSPICIONS = ['old-timestamp', 'type-spelling'] as const

export interface Delivered {
  readonly signature: string | undefined
  /** Trace context for the record. */
  readonly trace: TraceContext | undefined
  readonly contentType: string | undefined
  /** Charset that the signature proves. Undefined if the signature is over the raw bytes. */
  readonly encoding: string | undefined
}

export interface RouteOptions {
  readonly topics: TopicNames
  readonly fallbackEncoding: string | undefined
}

const isUsual = /^(?:text\/plain|application\/json)(?:\s*;\s*charset=utf-?8)?$/i
const MAX_DETAIL_CHARACTERS = 200
const comparable = (type: string): string => type.toLowerCase().replaceAll(/[\s_-]/g, '')

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

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
    return { what: 'type-spelling', eventId, given: type.slice(0, MAX_DETAIL_CHARACTERS) }
  // JavaScript cannot convert every object to a number. For example, {"toString": ""} throws.
  const timestamp = typeof envelope.timestamp === 'object' ? Number.NaN : Number(envelope.timestamp)
  return timestamp < OLDEST_PLAUSIBLE_MS ? { what: 'old-timestamp', eventId, given: String(timestamp) } : undefined
}

/**
 * Returns the content type to store with the record. Undefined for the documented content types in
 * UTF-8, because readers need no header for them.
 */
const contentTypeToKeep = ({ contentType, encoding }: Delivered): string | undefined => {
  const proved = encoding ?? declaredEncoding(contentType)
  if (proved !== declaredEncoding(contentType)) return proved === 'utf-8' ? undefined : `text/plain; charset=${proved}`
  return contentType === undefined || isUsual.test(contentType) ? undefined : contentType
}

/** Parses a body. Returns the event, and the content type that was used to decode the body. */
const read = (body: Buffer, delivered: Delivered, fallback: string | undefined) => {
  const isUndeclared = (delivered.encoding ?? declaredEncoding(delivered.contentType)) === undefined
  return readBody(body, contentTypeToKeep(delivered), isUndeclared ? fallback : undefined)
}

const quarantine = (
  { reason, detail, eventId }: Unusable,
  contentType: string | undefined,
  { trace }: Delivered,
  topics: TopicNames,
): Route => ({
  record: {
    topic: topics.quarantine,
    key: recordKey(eventId),
    headers: {
      [QUARANTINE_HEADERS.reason]: reason,
      [QUARANTINE_HEADERS.stage]: 'ingress',
      [QUARANTINE_HEADERS.detail]: detail.slice(0, MAX_DETAIL_CHARACTERS),
      ...trace,
      ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
    },
  },
  answer: { problem: isMalformed(reason) ? 'malformed-json' : 'unroutable', detail: reason },
  eventType: 'unusable',
})

/** Chooses the topic of an authentic body. Unusable bodies go to quarantine with a reason. */
export const routeBody = (body: Buffer, delivered: Delivered, { topics, fallbackEncoding }: RouteOptions): Route => {
  const { contentType, parsed } = read(body, delivered, fallbackEncoding)
  if (!parsed.ok) return quarantine(parsed, contentType, delivered, topics)
  const event = parsed.value
  const destination = destinationOf(event, topics)
  if (!destination.ok) return quarantine(destination, contentType, delivered, topics)
  const { signature, trace } = delivered
  const suspicion = suspicionOf(event)
  return {
    record: {
      ...destination.value,
      headers: {
        ...(signature !== undefined && { [RAW_HEADERS.signature]: signature }),
        ...trace,
        ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
      },
    },
    answer: 'accepted',
    eventType: event.kind,
    ...(suspicion && { suspicion }),
  }
}
