/**
 * Decides what a redrive does with a record of quarantine. The rules are the same as in the
 * services. The rules of the ingress select topic and key. The rules of the projector decide
 * whether the record can be applied.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import {
  declaredEncoding,
  decodeText,
  destinationOf,
  type Erasure,
  isErased,
  RAW_HEADERS,
  readBody,
  readRecord,
  readVersion,
  type TopicNames,
  traceContextOf,
  type Version,
} from '@customer-stream/schemas'
import { textsIn } from './names-customer.ts'
import { contentTypeOf, explanationOf, type QuarantinedRecord } from './record.ts'

export type Plan =
  | { readonly send: OutgoingRecord & { readonly value: Buffer } }
  /**
   * The record is not sent, because it would come back to quarantine or must not be copied. `why`
   * has no customer data.
   */
  | { readonly refused: string; readonly why: string }

export interface PlanOptions {
  readonly topics: TopicNames
  /** The projector's setting MAX_FUTURE_MS. */
  readonly maxFutureMs: number
  /** Charset of bodies that declare no charset and are not UTF-8. */
  readonly fallbackEncoding: string | undefined
  /** Returns the last erasure of a customer. */
  readonly erasureOf: (customerUuid: string) => Pick<Erasure, 'scope' | 'erasedAt'> | undefined
  /** True if the operator has selected the record by its place or by its reason. */
  readonly isNamed: boolean
}

const refuse = (refused: string, why = explanationOf(refused)): Plan => ({ refused, why })

const keptHeaders = (record: QuarantinedRecord, contentType: string | undefined): Record<string, string> => {
  const { [RAW_HEADERS.signature]: signature } = record.headers
  return {
    ...(signature !== undefined && { [RAW_HEADERS.signature]: signature }),
    ...traceContextOf(record.headers),
    ...(contentType !== undefined && { [RAW_HEADERS.contentType]: contentType }),
  }
}

/**
 * Returns true if an erasure of one of these customers covers the event. If the event has no
 * version, any erasure of one of these customers counts, because the event may be older than the
 * erasure.
 */
const isOfErased = (
  customerUuids: readonly string[],
  version: Version | undefined,
  erasureOf: PlanOptions['erasureOf'],
): boolean =>
  customerUuids.some((customerUuid) => {
    const erasure = erasureOf(customerUuid)
    return erasure !== undefined && (version === undefined || isErased(erasure, version))
  })

/** Returns the raw record with the original bytes and the original time of receipt. */
export const planRedrive = (record: QuarantinedRecord, options: PlanOptions): Plan => {
  const { topics, maxFutureMs, fallbackEncoding, erasureOf, isNamed } = options
  const { value, receivedAt, source } = record
  if (value === null) {
    const where = source === undefined ? 'its bytes are unknown' : `its bytes are in ${source}, if they still exist`
    return refuse('no-bytes', `Quarantine has no bytes of the record; ${where}.`)
  }
  if (record.reason === 'named-by-setting' && !isNamed)
    return refuse(
      'named-by-setting',
      'The record stopped a projector before. Name the record, or use --reason named-by-setting.',
    )
  const declared = contentTypeOf(record)
  const { parsed, contentType } = readBody(
    value,
    declared,
    declaredEncoding(declared) === undefined ? fallbackEncoding : undefined,
  )
  if (!parsed.ok) return refuse(parsed.reason)
  const destination = destinationOf(parsed.value, topics)
  if (!destination.ok) return refuse(destination.reason)
  const { topic, key } = destination.value
  const headers = keptHeaders(record, contentType)
  if (parsed.value.kind === 'customers') {
    const raw = { topic, partition: 0, offset: '0', timestamp: String(receivedAt), key, value, headers }
    const read = readRecord(raw, { maxFutureMs })
    if (!read.ok) return refuse(read.reason)
    if (isOfErased([read.value.customerUuid], read.value.version, erasureOf))
      return refuse('erased', 'The customer was erased, so no copy of the record may be made.')
  }
  const version = readVersion(parsed.value.envelope)
  const named = textsIn(decodeText(value, declaredEncoding(contentType)))
  if (isOfErased(named, version.ok ? version.value : undefined, erasureOf))
    return refuse('erased', 'The record names an erased customer, so no copy of the record may be made.')
  return { send: { topic, key, value, timestamp: receivedAt, headers } }
}
