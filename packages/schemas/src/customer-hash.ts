/** Converts a customer to a Redis hash, and a hash back to a customer. */
import type { TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { Customer, type Vehicle, Vehicles } from './customer.ts'
import type { CustomersEvent, JsonObject } from './envelope.ts'
import { isRawNumber, parseJson } from './json.ts'
import { failed, ok, type Result } from './result.ts'
import { type CustomerState, type RecordPlace, stateOf } from './state.ts'
import { readVersion, type Version, type VersionFault } from './version.ts'

/** Values that the hash has in addition to the customer's state. `appliedAt`: Unix milliseconds. */
export interface Projecting {
  readonly appliedAt: number
  /** `PROJECTION_VERSION` of the projector that writes the hash. */
  readonly projection: number
}

/**
 * Metadata fields of the hash. No payload can forge these fields. If a customer's field begins with
 * an underscore, its name in the hash is `__<name>` or `_<source>.<name>`.
 */
export const META = {
  eventId: '_eventId',
  eventTimestamp: '_eventTimestamp',
  receivedAt: '_receivedAt',
  appliedAt: '_appliedAt',
  source: '_source',
  projection: '_projection',
  index: '_index',
} as const

/**
 * The whole hash of one customer. An event is a snapshot, so the projector replaces the whole hash.
 */
export interface CustomerHash {
  readonly customerUuid: string
  readonly version: Version
  /**
   * Each field, followed by its value, as Redis' HSET needs them. Redis clients store a lone
   * surrogate, which has no UTF-8 form, as U+FFFD.
   */
  readonly fieldsAndValues: readonly string[]
}

export type ProjectionFault = VersionFault | 'nested-too-deep' | 'too-many-fields'

/**
 * Maximum fields of a customer. Redis accepts about a million arguments in one call, and each field
 * needs two arguments.
 */
const MAX_FIELDS = 100_000

/**
 * Names that only fields of the envelope may have in the hash. A customer's field with one of these
 * names gets another name, even if the envelope lacks the field.
 */
const envelopeFields: ReadonlySet<string> = new Set(['dealerUuid', 'departmentUuid'])

const escapeName = (name: string): string => (name.startsWith('_') ? `_${name}` : name)

/**
 * Returns the text of a value in the hash. Undefined for null and missing values, because the hash
 * has no fields for these values.
 */
const toText = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value
  if (value === null || value === undefined) return undefined
  return typeof value === 'object' && isRawNumber(value) ? value.rawJSON : JSON.stringify(value)
}

/** Returns each field, followed by its value, without the metadata. */
const fieldsAndValuesOf = (state: CustomerState): string[] => {
  const { dealerUuid, departmentUuid, customer, vehicles, addresses, other = {} } = state
  const list: string[] = []
  /** Index of each field in the list. */
  const places = new Map<string, number>()
  const add = (source: string, entries: JsonObject) => {
    const start = list.length
    for (const given of Object.keys(entries)) {
      const value = entries[given]
      const text = toText(value)
      if (text === undefined) continue
      // Use the form that Redis stores. Otherwise two names that are one field in Redis could count
      // as two fields.
      const name = given.toWellFormed()
      const field = escapeName(name)
      const first = places.get(field)
      const taken = (first !== undefined && first < start) || (source !== 'envelope' && envelopeFields.has(field))
      const key = taken ? `_${source}.${name}` : field
      const place = taken ? places.get(key) : first
      // If two names of one source become the same name, keep the later value, as Redis does.
      if (place !== undefined) list[place + 1] = text
      else places.set(key, list.push(key, text) - 2)
    }
  }
  add('envelope', { dealerUuid, departmentUuid })
  add('customerWithVehicles', { vehicles, addresses })
  add('customer', customer)
  add('customerWithVehicles', other)
  return list
}

/**
 * Converts a state document to a hash. The fields come from these sources, in this order: dealer
 * and department of the envelope; `vehicles` and `addresses`; all fields of `customer`; unknown
 * fields beside `customer`; the metadata. If two sources have a field of the same name, the first
 * source gets the name. The hash keeps the value of the later source as `_<source>.<name>`.
 * @returns the hash, or the reason why Redis can never store the customer.
 */
export const stateToHash = (
  state: CustomerState,
  { appliedAt, projection }: Projecting,
): Result<CustomerHash, 'nested-too-deep' | 'too-many-fields'> => {
  let fieldsAndValues: string[]
  try {
    fieldsAndValues = fieldsAndValuesOf(state)
  } catch (error) {
    if (error instanceof RangeError) return failed('nested-too-deep', 'a field is nested too deep to be stored')
    throw error
  }
  const count = fieldsAndValues.length / 2
  if (count > MAX_FIELDS) return failed('too-many-fields', `the customer has ${count} fields`)
  const { customerUuid, version, receivedAt, source } = state
  const set = (field: string, value: string) => fieldsAndValues.push(field, value)
  set(META.eventId, version.id)
  set(META.eventTimestamp, String(version.timestamp))
  set(META.receivedAt, String(receivedAt))
  set(META.appliedAt, String(appliedAt))
  set(META.source, `${source.topic}/${source.partition}/${source.offset}`)
  set(META.projection, String(projection))
  return ok({ customerUuid, version, fieldsAndValues })
}

/** @returns the hash of an event, or the reason why Redis can never store the customer. */
export const customerToHash = (
  event: CustomersEvent,
  from: RecordPlace & Projecting,
): Result<CustomerHash, ProjectionFault> => {
  const state = stateOf(event, from)
  return state.ok ? stateToHash(state.value, from) : state
}

/** A customer that was read from a hash in Redis. */
export interface StoredCustomer {
  /**
   * Documented fields whose text fits their documented type. Includes `addresses`, even if the
   * vendor sent `addresses` beside the customer.
   */
  readonly customer: Customer
  readonly vehicles?: Vehicle[]
  readonly dealerUuid?: string
  readonly departmentUuid?: string
  /**
   * Text of all other fields: unknown fields, and documented fields whose text does not fit their
   * documented type.
   */
  readonly other: Readonly<Record<string, string>>
  /**
   * Text of each field that has the same name as a field of an earlier source, see {@link
   * stateToHash}. The key is `<source>.<name>`. Example: `customer.addresses`, if the event also
   * has addresses beside the customer.
   */
  readonly shadowed: Readonly<Record<string, string>>
  readonly version: Version
  readonly receivedAt: number
  readonly appliedAt: number
  /** `topic/partition/offset` of the record. */
  readonly source: string
}

/** Reads the text of a field. Returns undefined if the text does not fit the field's type. */
type ReadText = (text: string) => unknown

const reading = (schema: TSchema): ReadText => {
  // A schema that accepts the empty text accepts every text.
  if (Value.Check(schema, '')) return (text) => text
  return (text) => {
    try {
      const value = parseJson(text)
      // A number or a flag must have its canonical form. Otherwise the original text of the value
      // would be lost.
      return Value.Check(schema, value) && value !== null && (typeof value === 'object' || String(value) === text)
        ? value
        : undefined
    } catch {
      return undefined
    }
  }
}

const documented: ReadonlyMap<string, ReadText> = new Map(
  Object.entries<TSchema>({ ...Customer.properties, vehicles: Vehicles }).map(([field, schema]) => [
    field,
    reading(schema),
  ]),
)
const metaFields: ReadonlySet<string> = new Set(Object.values(META))

/**
 * Converts a hash, as HGETALL returns it, back to a typed customer.
 * @returns the customer, or `not-a-customer` if the hash is empty or is from another program.
 */
export const customerFromHash = (hash: Readonly<Record<string, string>>): Result<StoredCustomer, 'not-a-customer'> => {
  const version = readVersion({ id: hash[META.eventId], timestamp: hash[META.eventTimestamp] })
  if (!version.ok || hash.customerUuid === undefined) return failed('not-a-customer', 'the hash has no customer')
  const customer: [string, unknown][] = []
  const other: [string, string][] = []
  const shadowed: [string, string][] = []
  let vehicles: Vehicle[] | undefined
  for (const [field, text] of Object.entries(hash)) {
    if (metaFields.has(field) || envelopeFields.has(field)) continue
    if (field.startsWith('_') && !field.startsWith('__')) {
      shadowed.push([field.slice(1), text])
      continue
    }
    const value = documented.get(field)?.(text)
    if (value === undefined) other.push([field.startsWith('_') ? field.slice(1) : field, text])
    else if (field === 'vehicles') vehicles = value as Vehicle[]
    else customer.push([field, value])
  }
  return ok({
    // `fromEntries` keeps a field named __proto__ as a field. An assignment would set the
    // prototype.
    customer: Object.fromEntries(customer) as Customer,
    ...(vehicles && { vehicles }),
    ...(hash.dealerUuid !== undefined && { dealerUuid: hash.dealerUuid }),
    ...(hash.departmentUuid !== undefined && { departmentUuid: hash.departmentUuid }),
    other: Object.fromEntries(other),
    shadowed: Object.fromEntries(shadowed),
    version: version.value,
    receivedAt: Number(hash[META.receivedAt]),
    appliedAt: Number(hash[META.appliedAt]),
    source: hash[META.source] ?? '',
  })
}
