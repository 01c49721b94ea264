/** A record of quarantine (dead-letter topic) with the meaning of its headers. */
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS, QUARANTINE_REASONS, RAW_HEADERS } from '@customer-stream/schemas'

/** Place of a record in quarantine. */
export interface Place {
  readonly partition: number
  readonly offset: string
}

export interface QuarantinedRecord extends Place {
  /** Time of receipt at the ingress, Unix milliseconds. */
  readonly receivedAt: number
  /** Name of the reason, perhaps unknown to this version. Empty if the header is missing. */
  readonly reason: string
  /** The service that wrote the record. Empty if the header is missing. */
  readonly stage: string
  /**
   * Place of the original record: `topic/partition/offset`. A record that Kafka refused has no
   * offset. The place is then only the name of its topic.
   */
  readonly source: string | undefined
  /** customerUuid or event id, if known. */
  readonly key: Buffer | null
  /** Null if quarantine has no bytes of the record. */
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

const textOf = (value: Buffer | string | (Buffer | string)[] | undefined): string =>
  String((Array.isArray(value) ? value[0] : value) ?? '')

export const placeOf = ({ partition, offset }: Place): string => `${partition}/${offset}`

/**
 * Reads `PARTITION/OFFSET`.
 * @throws Error that says what is wrong with the text.
 */
export const readPlace = (text: string): Place => {
  const [, partition, offset] = /^(\d{1,9})\/(\d{1,18})$/.exec(text) ?? []
  if (partition === undefined || offset === undefined)
    throw new Error(`"${text}" is not a place in quarantine; expected PARTITION/OFFSET, e.g. 3/17`)
  return { partition: Number(partition), offset: String(BigInt(offset)) }
}

export const readQuarantined = (
  { offset, timestamp, key, value, headers = {} }: FetchedRecord,
  partition: number,
): QuarantinedRecord => {
  const texts = Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, textOf(header)]))
  const { topic, partition: rawPartition, offset: rawOffset } = QUARANTINE_HEADERS
  const source = [texts[topic], texts[rawPartition], texts[rawOffset]].filter(Boolean).join('/')
  return {
    partition,
    offset,
    receivedAt: Number(timestamp),
    reason: texts[QUARANTINE_HEADERS.reason] ?? '',
    stage: texts[QUARANTINE_HEADERS.stage] ?? '',
    source: source === '' ? undefined : source,
    key,
    value,
    headers: texts,
  }
}

/**
 * Returns the name of the original record: its place and its time of receipt. A projector that
 * reads the original again makes another copy, which has the same name. If a raw topic was created
 * again, the time distinguishes its records from the records of the earlier topic. Undefined if the
 * headers do not name the place.
 */
export const originOf = ({ headers, receivedAt }: Pick<QuarantinedRecord, 'headers' | 'receivedAt'>) => {
  const { topic, partition, offset } = QUARANTINE_HEADERS
  const place = [headers[topic], headers[partition], headers[offset]]
  return place.every(Boolean) ? `${place.join('/')}@${receivedAt}` : undefined
}

/** Returns the content type of the value. Undefined if the value is in UTF-8. */
export const contentTypeOf = ({ headers }: Pick<QuarantinedRecord, 'headers'>): string | undefined =>
  headers[RAW_HEADERS.contentType]

/** Returns a sentence about the reason, as plain text. */
export const explanationOf = (reason: string): string =>
  Object.hasOwn(QUARANTINE_REASONS, reason)
    ? `The record ${QUARANTINE_REASONS[reason as keyof typeof QUARANTINE_REASONS]}.`.replaceAll('`', '')
    : 'This version does not know the reason. A newer service may have written the record.'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Returns the key as text. Undefined if the record has no key, or if the key is not UTF-8. */
export const keyTextOf = ({ key }: Pick<QuarantinedRecord, 'key'>): string | undefined => {
  if (key === null) return undefined
  try {
    return utf8.decode(key)
  } catch {
    return undefined
  }
}
