/**
 * Reads a raw record by the rules of docs/contracts.md. Uses no code of the projector and no
 * functions of @customer-stream/schemas. Otherwise a bug in shared code could give the projector
 * and the verifier the same wrong result.
 */

import { TextDecoder } from 'node:util'

/**
 * Version of an event. Events of one customer are ordered by timestamp, then by the bytes of the
 * id.
 */
export interface EventVersion {
  readonly timestamp: number
  readonly id: string
}

/**
 * An event that the projector must apply. `fields` are the fields that the hash must have, without
 * metadata that differs between copies of the event.
 */
export interface UsableEvent extends EventVersion {
  readonly customerUuid: string
  readonly fields: ReadonlyMap<string, string>
}

/** A document of the state topic. `fields` are the fields of the customer's hash. */
export interface StateDocument extends UsableEvent {
  readonly receivedAt: number
  /** `topic/partition/offset` of the raw record. */
  readonly source: string
}

/** Customer and version that an unusable record names. */
export interface Supersedable extends EventVersion {
  readonly customerUuid: string
}

export type Reading =
  | { readonly usable: true; readonly event: UsableEvent }
  | {
      readonly usable: false
      readonly reason: string
      /**
       * Set if an equal or newer usable event of the customer may supersede the record. The
       * projector then counts the record as stale or duplicate, and does not send it to quarantine.
       */
      readonly supersedable?: Supersedable
    }

type JsonObject = Readonly<Record<string, unknown>>

const JsonWithSource = JSON as typeof JSON & {
  rawJSON(text: string): unknown
  isRawJSON(value: unknown): value is { readonly rawJSON: string }
}

/**
 * Returns true if `JSON.parse` may round the number. The text of the number must then be kept.
 * `JSON.parse` may round a number with ≥ 16 characters before its exponent, or with an exponent of
 * ≥ 3 digits.
 */
const isLong = (number: string): boolean => /^-?[\d.]{16}|[eE][+-]?\d{3}/.test(number)
const mayHoldLong = (text: string): boolean => /[\d.]{16}|\d[eE][+-]?\d{3}/.test(text)

const keepLong = (_key: string, value: unknown, context?: { source?: string }): unknown =>
  typeof value === 'number' && isLong(context?.source ?? '') ? JsonWithSource.rawJSON(context?.source ?? '') : value

const parse = (text: string): unknown =>
  mayHoldLong(text) ? JSON.parse(text, keepLong as Parameters<typeof JSON.parse>[1]) : JSON.parse(text)

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !JsonWithSource.isRawJSON(value)
const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''

class UnusableError extends Error {
  readonly reason: string
  readonly supersedable: Supersedable | undefined
  constructor(reason: string, supersedable?: Supersedable) {
    super(reason)
    this.reason = reason
    this.supersedable = supersedable
  }
}

const parseOr = (reason: string, text: string): unknown => {
  try {
    return parse(text)
  } catch (error) {
    throw new UnusableError(error instanceof RangeError ? 'nested-too-deep' : reason)
  }
}

const textOf = (value: unknown): string => {
  if (typeof value === 'string') return value
  return JsonWithSource.isRawJSON(value) ? value.rawJSON : JSON.stringify(value)
}

const MAX_FIELDS = 100_000

/** Field names that are reserved for the envelope, even if the envelope lacks these fields. */
const ENVELOPE_NAMES = ['dealerUuid', 'departmentUuid']

/**
 * Returns the fields of the hash. If two sources have the same field name, the first source keeps
 * the name.
 */
const payloadFields = (envelope: JsonObject, content: JsonObject, customer: JsonObject): Map<string, string> => {
  const { customer: _, vehicles, addresses, ...neighbours } = content
  const sources: readonly (readonly [string, JsonObject])[] = [
    ['envelope', { dealerUuid: envelope.dealeruuid, departmentUuid: envelope.departmentuuid }],
    ['customerWithVehicles', { vehicles, addresses }],
    ['customer', customer],
    ['customerWithVehicles', neighbours],
  ]
  const fields = new Map<string, string>()
  const takenBy = new Map<string, string>()
  for (const [source, values] of sources) {
    for (const [given, value] of Object.entries(values)) {
      if (value === null || value === undefined) continue
      const name = given.toWellFormed()
      const field = name.startsWith('_') ? `_${name}` : name
      // Names that differ only in unpaired surrogates become equal in UTF-8. If both names are from
      // one source, Redis has the later value.
      const isTaken =
        (takenBy.get(field) ?? source) !== source || (source !== 'envelope' && ENVELOPE_NAMES.includes(field))
      if (!isTaken) takenBy.set(field, source)
      fields.set(isTaken ? `_${source}.${name}` : field, textOf(value))
    }
  }
  return fields
}

const versionOf = ({ id, timestamp }: JsonObject): EventVersion => {
  if (id === undefined || id === null || id === '') throw new UnusableError('missing-event-id')
  if (typeof id !== 'string' || !id.isWellFormed()) throw new UnusableError('invalid-event-id')
  const isNumeric =
    typeof timestamp === 'number' ||
    JsonWithSource.isRawJSON(timestamp) ||
    (typeof timestamp === 'string' && /^\d+$/.test(timestamp))
  const number = isNumeric ? Number(textOf(timestamp)) : Number.NaN
  if (!Number.isSafeInteger(number) || number < 1) throw new UnusableError('invalid-timestamp')
  return { id, timestamp: number }
}

/**
 * Returns a decoder for the charset that a content type declares. An unknown or missing charset
 * means UTF-8.
 */
const decoderFor = (contentType: string | undefined, { 0: first, 1: second }: Uint8Array): TextDecoder => {
  const [, declared = 'utf-8'] = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(contentType ?? '') ?? []
  const label = /^(us-)?ascii$|^ansi_x3/i.test(declared) ? 'utf-8' : declared.replaceAll('_', '-')
  try {
    const { encoding } = new TextDecoder(label)
    return new TextDecoder(encoding === 'utf-16le' && first === 0xfe && second === 0xff ? 'utf-16be' : encoding, {
      fatal: true,
    })
  } catch {
    return new TextDecoder('utf-8', { fatal: true })
  }
}

const decode = (value: Uint8Array, contentType: string | undefined): string => {
  try {
    return decoderFor(contentType, value).decode(value)
  } catch {
    throw new UnusableError('not-utf8')
  }
}

const readUsable = (value: Uint8Array, { receivedAt, maxFutureMs, contentType }: ReadEventOptions): UsableEvent => {
  const text = decode(value, contentType)
  const envelope = parseOr('not-json', text)
  if (!isObject(envelope)) throw new UnusableError('not-an-object')
  const type = isText(envelope.type) ? envelope.type : envelope.dataType
  if (!isText(type)) throw new UnusableError('missing-type')
  if (type !== 'customers') throw new UnusableError('not-a-customers-event')
  const payload =
    typeof envelope.payload === 'string' ? parseOr('payload-not-json', envelope.payload) : envelope.payload
  if (!isObject(payload)) throw new UnusableError('payload-not-an-object')
  const content = payload.customerWithVehicles
  if (!isObject(content) || !isObject(content.customer)) throw new UnusableError('missing-customer')
  const { customerUuid } = content.customer
  if (!isText(customerUuid)) throw new UnusableError('missing-customer-uuid')
  if (!customerUuid.isWellFormed()) throw new UnusableError('invalid-customer-uuid')
  const version = versionOf(envelope)
  if (version.timestamp - receivedAt > maxFutureMs) throw new UnusableError('too-far-in-future')
  const fields = payloadFields(envelope, content, content.customer)
  if (fields.size > MAX_FIELDS) throw new UnusableError('too-many-fields', { customerUuid, ...version })
  fields.set('_eventId', version.id)
  fields.set('_eventTimestamp', String(version.timestamp))
  return { customerUuid, ...version, fields }
}

/**
 * Reads the value of a record of the state topic.
 * @returns undefined if the value is not a state document of this customer.
 */
export const readStateDocument = (value: Uint8Array, key: string): StateDocument | undefined => {
  try {
    const document = parse(decode(value, undefined))
    if (!isObject(document) || !isObject(document.version) || !isObject(document.customer)) return undefined
    const { customerUuid, dealerUuid, departmentUuid, customer, vehicles, addresses, other, source } = document
    if (customerUuid !== key || customer.customerUuid !== key || !isObject(source)) return undefined
    const version = versionOf(document.version)
    const envelope = { dealeruuid: dealerUuid, departmentuuid: departmentUuid }
    const beside = isObject(other) ? other : {}
    const fields = payloadFields(envelope, { ...beside, customer, vehicles, addresses }, customer)
    fields.set('_eventId', version.id)
    fields.set('_eventTimestamp', String(version.timestamp))
    const { topic, partition, offset } = source
    const { receivedAt } = document
    if (typeof topic !== 'string' || typeof offset !== 'string') return undefined
    if (typeof partition !== 'number' || typeof receivedAt !== 'number') return undefined
    return {
      customerUuid: key,
      ...version,
      fields,
      receivedAt,
      source: `${topic}/${partition}/${offset}`,
    }
  } catch (error) {
    if (error instanceof UnusableError || error instanceof RangeError || error instanceof SyntaxError) return undefined
    throw error
  }
}

/** Applies the section "Unusable events that are superseded" of docs/contracts.md. */
const readSupersedable = (
  value: Uint8Array,
  { key, receivedAt, maxFutureMs, contentType }: ReadEventOptions,
): Supersedable | undefined => {
  const customerUuid = Buffer.from(key ?? '').toString('latin1')
  const isPlain = (text: string) => /^[ -~]+$/.test(text) && !/["\\]/.test(text)
  if (!isPlain(customerUuid) || contentType !== undefined) return undefined
  try {
    const envelope = JSON.parse(Buffer.from(value).toString('latin1'))
    if (!isObject(envelope) || envelope.type !== 'customers' || typeof envelope.payload !== 'string') return undefined
    const version = versionOf(envelope)
    const [, ...afterName] = envelope.payload.split('"customerUuid"')
    const isSure =
      afterName.length > 0 &&
      afterName.every((rest) => rest.startsWith(`:"${customerUuid}"`)) &&
      !envelope.payload.includes('\\u00') &&
      isPlain(version.id) &&
      version.timestamp - receivedAt <= maxFutureMs
    return isSure ? { customerUuid, ...version } : undefined
  } catch {
    return undefined
  }
}

export interface ReadEventOptions {
  /** Key of the record. */
  readonly key?: Uint8Array | null
  /** Timestamp of the record in Unix milliseconds. */
  readonly receivedAt: number
  readonly maxFutureMs: number
  /** Header `content-type` of the record. */
  readonly contentType?: string | undefined
}

/** Reads one record of the raw topic. */
export const readEvent = (value: Uint8Array | null, options: ReadEventOptions): Reading => {
  try {
    return { usable: true, event: readUsable(value ?? new Uint8Array(), options) }
  } catch (error) {
    // The limit of nesting depends on the engine's stack, so the projector's limit may be a few
    // levels higher or lower.
    if (!(error instanceof RangeError || error instanceof UnusableError)) throw error
    const [reason, read] = error instanceof UnusableError ? [error.reason, error.supersedable] : ['nested-too-deep']
    const supersedable = read ?? (value && readSupersedable(value, options))
    return { usable: false, reason, ...(supersedable && { supersedable }) }
  }
}
