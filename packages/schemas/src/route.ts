/**
 * Topic and key of an event in the raw topics. The ingress routes request bodies by these rules,
 * and the command `quarantine redrive` routes the bytes of quarantined records.
 */
import { type CustomersEvent, type OtherEvent, type ParseResult, parseEvent } from './envelope.ts'
import { failed, ok, type Result } from './result.ts'
import type { TopicNames } from './topics.ts'

export const KEY_TOO_LONG = 'customer-uuid-too-long'

/**
 * Maximum bytes of a key. Kafka would refuse each attempt to store a record with a longer key. A
 * topic has room for 64 KiB of key and headers, and the headers have at most 16 KiB.
 */
const MAX_KEY_BYTES = 32 * 1024
const fitsKey = (value: string): boolean => Buffer.byteLength(value) <= MAX_KEY_BYTES

/**
 * Returns the key, or null if the key is too long. A key only selects the partition, so a record
 * without a key is better than a lost record.
 */
export const recordKey = (value: string | undefined): Buffer | null =>
  value === undefined || !fitsKey(value) ? null : Buffer.from(value)

const asText = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

export interface Destination {
  readonly topic: string
  readonly key: Buffer | null
}

/**
 * Chooses the topic and the key of an event. Fails if the customerUuid is too long for a key.
 * Without a key the customer's events would go to different partitions.
 */
export const destinationOf = (
  event: CustomersEvent | OtherEvent,
  topics: TopicNames,
): Result<Destination, typeof KEY_TOO_LONG> => {
  if (event.kind === 'other') {
    const { dealeruuid, id } = event.envelope
    return ok({ topic: topics.other, key: recordKey(asText(dealeruuid) ?? asText(id)) })
  }
  if (!fitsKey(event.customerUuid))
    return failed(KEY_TOO_LONG, `customer.customerUuid has more than ${MAX_KEY_BYTES} bytes`)
  return ok({ topic: topics.customers, key: recordKey(event.customerUuid) })
}

export interface ReadBody {
  readonly parsed: ParseResult
  /**
   * Content type by which the body was decoded. The raw record must have this content type as a
   * header.
   */
  readonly contentType: string | undefined
}

/**
 * Parses a body. If the body is not in the charset of its content type, decodes it by the fallback
 * charset.
 * @param contentType undefined for a body in UTF-8.
 * @param fallbackEncoding undefined if the sender has declared the charset.
 */
export const readBody = (
  body: Uint8Array,
  contentType: string | undefined,
  fallbackEncoding: string | undefined,
): ReadBody => {
  const parseAs = (type: string | undefined): ReadBody => ({
    contentType: type,
    parsed: parseEvent(body, { contentType: type, exactNumbers: false }),
  })
  const first = parseAs(contentType)
  const isOtherCharset = !first.parsed.ok && first.parsed.reason === 'not-utf8'
  return isOtherCharset && fallbackEncoding !== undefined ? parseAs(`text/plain; charset=${fallbackEncoding}`) : first
}
