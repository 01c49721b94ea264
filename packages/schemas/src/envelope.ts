/**
 * Parses events in the form in which the vendor delivers them. Only the fields that routing needs
 * are required: a `type`, and the customerUuid of a customers event. All other fields pass
 * unchanged, even if they are unknown or have an unexpected type. No function of this file throws.
 */
import { type Static, Type } from '@sinclair/typebox'
import { declaredEncoding, decodeText } from './charset.ts'
import { isRawNumber, mayRound, mayRoundWithin, parseJson } from './json.ts'
import { failed, ok, type Result } from './result.ts'

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Optional(Type.Union([schema, Type.Null()]))

/**
 * The six envelope keys as the vendor documents them. Legacy envelopes have `dataType` and
 * `eventType` instead of `type`.
 */
export const Envelope = Type.Object(
  {
    id: Type.Optional(Type.String({ description: 'Opaque id. Type and id together identify the event.' })),
    timestamp: Type.Optional(
      Type.Union([Type.Integer(), Type.String({ pattern: '^[0-9]+$' })], {
        description: 'Time of the change, Unix milliseconds.',
      }),
    ),
    dealeruuid: Nullable(Type.String()),
    departmentuuid: Nullable(Type.String()),
    type: Nullable(
      Type.String({ description: 'customers, appointments, service-orders, mpis, messages, or a future type.' }),
    ),
    dataType: Nullable(Type.String({ description: 'Legacy name of `type`.' })),
    eventType: Nullable(Type.String({ description: 'Legacy, `pointInTime`.' })),
    payload: Type.Optional(
      Type.Union([Type.String(), Type.Object({}), Type.Null()], {
        description: 'A string that contains JSON. An object is accepted too.',
      }),
    ),
  },
  { $id: 'Envelope' },
)
export type Envelope = Static<typeof Envelope>

/**
 * A JSON object of unknown shape. A key may be any string, even `__proto__`. Read the members with
 * `Object.entries`. An assignment of the member `__proto__` to another object would set the
 * prototype of that object.
 */
export type JsonObject = { readonly [key: string]: unknown }

/** An authentic event of type `customers`, with its payload parsed. */
export interface CustomersEvent {
  readonly kind: 'customers'
  readonly type: string
  readonly envelope: JsonObject
  readonly customerUuid: string
  /** `customerWithVehicles` of the payload; `customer.ts` has its schema. */
  readonly customerWithVehicles: JsonObject & { readonly customer: JsonObject }
}

/**
 * An event of any other type. Its payload is not parsed yet. Parse it with {@link parsePayload}.
 */
export interface OtherEvent {
  readonly kind: 'other'
  readonly type: string
  readonly envelope: JsonObject
}

export type ParseFault =
  /** The bytes are invalid in the declared charset, or in UTF-8 if no charset is declared. */
  | 'not-utf8'
  | 'not-json'
  | 'nested-too-deep'
  | 'not-an-object'
  | 'missing-type'
  | 'payload-not-json'
  | 'payload-not-an-object'
  | 'missing-customer'
  | 'missing-customer-uuid'
  | 'invalid-customer-uuid'

/**
 * A failed result has the event's id if the id is readable. This id is the key of the record in
 * quarantine.
 */
export type ParseResult =
  | { readonly ok: true; readonly value: CustomersEvent | OtherEvent }
  | (Failed<ParseFault> & { readonly eventId?: string })
type Failed<Reason extends string> = Extract<Result<never, Reason>, { ok: false }>

// A raw number is an object of JavaScript, but not of JSON.
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawNumber(value)
const asText = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

const parseText = <Fault extends ParseFault>(
  text: string,
  fault: Fault,
  rounds: boolean,
): Result<unknown, Fault | 'nested-too-deep'> => {
  try {
    return ok(parseJson(text, rounds))
  } catch (error) {
    if (error instanceof RangeError)
      return failed('nested-too-deep', 'the JSON is nested too deep, and has a number that would be rounded')
    return failed(fault, (error as Error).message)
  }
}

type PayloadResult = Result<JsonObject, 'payload-not-json' | 'payload-not-an-object' | 'nested-too-deep'>

const readPayload = (payload: unknown, mayRoundInside: boolean): PayloadResult => {
  let value = payload
  if (typeof payload === 'string') {
    const parsed = parseText(payload, 'payload-not-json', mayRoundInside && mayRound(payload))
    if (!parsed.ok) return parsed
    value = parsed.value
  }
  return isObject(value) ? ok(value) : failed('payload-not-an-object', 'the payload is not a JSON object')
}

/** Returns the payload as an object. The vendor sends a JSON string. An object is accepted too. */
export const parsePayload = (payload: unknown): PayloadResult => readPayload(payload, true)

const parseCustomers = (
  type: string,
  envelope: JsonObject,
  mayRoundInside: boolean,
): Result<CustomersEvent, ParseFault> => {
  const payload = readPayload(envelope.payload, mayRoundInside)
  if (!payload.ok) return payload
  const { customerWithVehicles } = payload.value
  if (!isObject(customerWithVehicles) || !isObject(customerWithVehicles.customer)) {
    return failed('missing-customer', 'the payload has no customerWithVehicles.customer')
  }
  const { customer } = customerWithVehicles
  const customerUuid = asText(customer.customerUuid)
  if (customerUuid === undefined)
    return failed('missing-customer-uuid', 'customer.customerUuid is missing, empty or not a string')
  // A lone surrogate has no UTF-8 form, so two different customers would share one key.
  if (!customerUuid.isWellFormed()) return failed('invalid-customer-uuid', 'customer.customerUuid has a lone surrogate')
  return ok({
    kind: 'customers',
    type,
    envelope,
    customerUuid,
    customerWithVehicles: { ...customerWithVehicles, customer },
  })
}

export interface ParseOptions {
  /**
   * Content type that declares the charset of the bytes (a record's header `content-type`).
   * Default: UTF-8.
   */
  readonly contentType?: string | undefined
  /**
   * If false, numbers that a double cannot hold are rounded, and the parse is faster. Use false if
   * you need only the ids and the type.
   */
  readonly exactNumbers?: boolean
}

/**
 * Parses the bytes of a request body or of a Kafka record. Never throws.
 * @returns the event, or the {@link ParseFault} that makes it unusable.
 */
export const parseEvent = (body: Uint8Array, { contentType, exactNumbers = true }: ParseOptions = {}): ParseResult => {
  const encoding = contentType === undefined ? undefined : declaredEncoding(contentType)
  let text: string
  try {
    text = decodeText(body, encoding)
  } catch {
    return failed('not-utf8', `the body is not ${encoding ?? 'UTF-8'}`)
  }
  const mayRoundInside = exactNumbers && mayRoundWithin(text)
  const parsed = parseText(text, 'not-json', mayRoundInside && mayRound(text))
  if (!parsed.ok) return parsed
  const envelope = parsed.value
  if (!isObject(envelope)) return failed('not-an-object', 'the body is JSON, but not an object')
  const type = asText(envelope.type) ?? asText(envelope.dataType)
  const result: Result<CustomersEvent | OtherEvent, ParseFault> =
    type === undefined
      ? failed('missing-type', 'neither type nor dataType is given')
      : type === 'customers'
        ? parseCustomers(type, envelope, mayRoundInside)
        : ok({ kind: 'other', type, envelope })
  const eventId = asText(envelope.id)
  return result.ok || eventId === undefined ? result : { ...result, eventId }
}
