/**
 * The state document: the current customer as one JSON document. A state document is the value of a
 * record in the state topic, a compacted changelog with one key for each customer. The hash of a
 * customer in Redis depends only on the customer's document. So Redis can be rebuilt from the
 * topic.
 */
import { type Static, Type } from '@sinclair/typebox'
import { decodeText } from './charset.ts'
import { Addresses, Customer, Vehicles } from './customer.ts'
import type { CustomersEvent, JsonObject } from './envelope.ts'
import { isRawNumber, parseJson } from './json.ts'
import { type KeyFault, readKey } from './record-key.ts'
import { failed, ok, type Result } from './result.ts'
import { readVersion, type VersionFault } from './version.ts'

/** Type of the ids of dealer and department. The sender may leave out the id or send null. */
const DealerId = Type.Optional(Type.Union([Type.String(), Type.Null()]))

export const CustomerState = Type.Object(
  {
    customerUuid: Type.String({ description: 'Also the key of the record.', minLength: 1 }),
    version: Type.Object(
      {
        timestamp: Type.Integer({ description: 'Unix milliseconds.', minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
        id: Type.String({ description: 'Id of the sender’s event.', minLength: 1 }),
      },
      {
        description:
          'Orders documents. The newer document has the greater timestamp or, if timestamps are equal, the greater id.',
      },
    ),
    dealerUuid: DealerId,
    departmentUuid: DealerId,
    customer: Customer,
    vehicles: Vehicles,
    addresses: Addresses,
    other: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), {
        description: 'Unknown fields that the event has beside the customer.',
      }),
    ),
    receivedAt: Type.Integer({ description: 'Time of receipt, Unix milliseconds.' }),
    source: Type.Object(
      {
        topic: Type.String(),
        partition: Type.Integer({ minimum: 0 }),
        offset: Type.String({ description: 'A decimal number, as text.', pattern: '^[0-9]+$' }),
      },
      { description: 'The raw record of the event.' },
    ),
  },
  { $id: 'CustomerState', description: 'The current state of a customer.' },
)
export type CustomerState = Static<typeof CustomerState>

/** Place and time of receipt of the raw record of an event. `receivedAt`: Unix milliseconds. */
export interface RecordPlace {
  readonly topic: string
  readonly partition: number
  readonly offset: string
  readonly receivedAt: number
}

const isGiven = (value: unknown): boolean => value !== null && value !== undefined

/**
 * Returns the state that a customers event describes. The state has `addresses` beside `customer`,
 * even if the event has `addresses` inside `customer`. If the event has addresses at both places,
 * the state also has addresses at both places.
 */
export const stateOf = (event: CustomersEvent, from: RecordPlace): Result<CustomerState, VersionFault> => {
  const version = readVersion(event.envelope)
  if (!version.ok) return version
  const { customer: delivered, vehicles, addresses: beside, ...other } = event.customerWithVehicles
  const { addresses: inside, ...rest } = delivered
  const isInside = !isGiven(beside) && 'addresses' in delivered
  const addresses = isInside ? inside : beside
  const { topic, partition, offset, receivedAt } = from
  const { dealeruuid: dealerUuid, departmentuuid: departmentUuid } = event.envelope
  const state = {
    customerUuid: event.customerUuid,
    version: version.value,
    ...(isGiven(dealerUuid) && { dealerUuid }),
    ...(isGiven(departmentUuid) && { departmentUuid }),
    customer: isInside ? rest : delivered,
    ...(isGiven(vehicles) && { vehicles }),
    ...(isGiven(addresses) && { addresses }),
    ...(Object.keys(other).length > 0 && { other }),
    receivedAt,
    source: { topic, partition, offset },
  }
  // The static types follow the sender's documentation. A value may differ from its type.
  return ok(state as CustomerState)
}

/** `not-a-state-document`: the value is JSON, but not a state document. */
export type StateFault = 'not-utf8' | 'not-json' | 'nested-too-deep' | 'not-a-state-document'

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawNumber(value)
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isOffset = (value: unknown): boolean => typeof value === 'string' && /^\d+$/.test(value)

/** Returns the name of the first invalid member. Undefined if all members are valid. */
const wrongMember = (value: JsonObject): string | undefined => {
  const { customerUuid, version, customer, receivedAt, source, other = {} } = value
  if (typeof customerUuid !== 'string' || customerUuid === '') return 'customerUuid'
  if (!isObject(version) || typeof version.timestamp !== 'number' || !readVersion(version).ok) return 'version'
  if (!isObject(customer) || customer.customerUuid !== customerUuid) return 'customer'
  if (!isCount(receivedAt)) return 'receivedAt'
  if (!isObject(other)) return 'other'
  const isPlace = isObject(source) && typeof source.topic === 'string' && isCount(source.partition)
  return isPlace && isOffset(source.offset) ? undefined : 'source'
}

/**
 * Reads the value of a record of the state topic. Unknown members are kept. A number that a double
 * cannot hold is an object of `JSON.rawJSON`, so it keeps its digits. A tombstone has no value, so
 * read it with {@link readStateRecord}.
 * @returns the document, or the {@link StateFault} that makes the value unusable.
 */
export const readState = (value: Uint8Array): Result<CustomerState, StateFault> => {
  let text: string
  try {
    text = decodeText(value)
  } catch {
    return failed('not-utf8', 'the value is not UTF-8')
  }
  let parsed: unknown
  try {
    parsed = parseJson(text)
  } catch (error) {
    return error instanceof RangeError
      ? failed('nested-too-deep', 'the JSON is nested too deep, and has a number that would be rounded')
      : failed('not-json', (error as Error).message)
  }
  if (!isObject(parsed)) return failed('not-a-state-document', 'the value is JSON, but not an object')
  const wrong = wrongMember(parsed)
  return wrong === undefined
    ? ok(parsed as CustomerState)
    : failed('not-a-state-document', `${wrong} is missing or invalid`)
}

/** The reasons why a record of the state topic is unusable. */
export type StateRecordFault =
  | StateFault
  | KeyFault
  /** The key is not the customerUuid of the document. */
  | 'wrong-key'

/** Content of a record of the state topic. */
export interface StateRecord {
  readonly customerUuid: string
  /** Null if the record is a tombstone: the customer was erased. */
  readonly state: CustomerState | null
}

/**
 * Reads a record of the state topic. Never throws.
 * @returns the document or tombstone, or the {@link StateRecordFault} that makes the record
 *   unusable.
 */
export const readStateRecord = (record: {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}): Result<StateRecord, StateRecordFault> => {
  const { value } = record
  const key = readKey(record.key)
  if (!key.ok) return key
  const customerUuid = key.value
  if (value === null) return ok({ customerUuid, state: null })
  const state = readState(value)
  if (!state.ok) return state
  return state.value.customerUuid === customerUuid
    ? ok({ customerUuid, state: state.value })
    : failed('wrong-key', 'the key is not the customerUuid of the document')
}

/**
 * Returns the text of a state document, which is the value of its record in the state topic.
 * @throws RangeError if the document is nested several thousand levels deep.
 */
export const writeState = (state: CustomerState): string => JSON.stringify(state)
