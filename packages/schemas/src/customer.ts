/**
 * The customer's snapshot as the vendor documents it, and its form as a Redis hash, there and back.
 *
 * The schemas are tolerant: every field may be missing or null, unknown fields are kept. They say what to expect, and {@link deviations} tells where a
 * delivered value differs; no event is refused for that.
 */
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { CustomersEvent, JsonObject } from './envelope.ts'
import { isRawNumber, parseJson } from './json.ts'
import { failed, ok, type Result } from './result.ts'
import { readVersion, type Version, type VersionFault } from './version.ts'

const Text = Type.Optional(Type.Union([Type.String(), Type.Null()]))
const Flag = Type.Optional(Type.Union([Type.Boolean(), Type.Null()]))
const Whole = Type.Optional(Type.Union([Type.Integer(), Type.Null()]))
const ListOf = <T extends TSchema>(item: T) => Type.Optional(Type.Union([Type.Array(item), Type.Null()]))

export const Email = Type.Object({ emailAddress: Text, label: Text, okToEmail: Flag, isPreferred: Flag, comments: Text })
export type Email = Static<typeof Email>

export const PhoneNumber = Type.Object({
  phoneNumber: Text,
  label: Text,
  okToCall: Flag,
  okToText: Flag,
  isPreferred: Flag,
  comments: Text,
})
export type PhoneNumber = Static<typeof PhoneNumber>

export const Address = Type.Object({
  uuid: Text,
  type: Text,
  addressType: Text,
  line1: Text,
  line2: Text,
  city: Text,
  state: Text,
  zip: Text,
  country: Text,
  isValid: Flag,
  isPreferred: Flag,
  updateTS: Text,
})
export type Address = Static<typeof Address>

export const Vehicle = Type.Object({
  id: Whole,
  vehicleUuid: Text,
  vehicleKey: Text,
  vin: Text,
  vehicleMake: Text,
  vehicleModel: Text,
  vehicleYear: Text,
  vehicleTrim: Text,
  vehicleEngine: Text,
  isValid: Flag,
  imageUrl: Text,
  brandId: Whole,
  licensePlate: Text,
  color: Text,
  estimatedMileage: Text,
})
export type Vehicle = Static<typeof Vehicle>

export const Customer = Type.Object({
  customerUuid: Type.String(),
  id: Whole,
  customerId: Text,
  customerKey: Text,
  firstName: Text,
  middleName: Text,
  lastName: Text,
  company: Text,
  isBusiness: Flag,
  preferredLocale: Text,
  preferredCommunication: Text,
  emails: ListOf(Email),
  phoneNumbers: ListOf(PhoneNumber),
  availability: Whole,
  bestTimeToContact: Type.Optional(Type.Union([Type.Object({ startTime: Text, endTime: Text }), Type.Null()])),
  addresses: ListOf(Address),
})
export type Customer = Static<typeof Customer>

/** Payload of a customers event. `addresses` may stand here or inside the customer. */
export const CustomersPayload = Type.Object({
  customerWithVehicles: Type.Object({ customer: Customer, vehicles: ListOf(Vehicle), addresses: ListOf(Address) }),
})
export type CustomersPayload = Static<typeof CustomersPayload>

/** Where a value differs from what the vendor documents, as JSON pointers with a sentence; empty when it conforms. For information only. */
export const deviations = (schema: TSchema, value: unknown): readonly { readonly path: string; readonly message: string }[] =>
  [...Value.Errors(schema, value)].map(({ path, message }) => ({ path, message }))

/** What the projector knows of an event beside its content. All times are Unix milliseconds. */
export interface Provenance {
  readonly topic: string
  readonly partition: number
  readonly offset: string
  /** The record's timestamp: when ingress received the event. */
  readonly receivedAt: number
  readonly appliedAt: number
  /** Number of the projection that writes it: `PROJECTION_VERSION` in `keys.ts`. */
  readonly projection: number
}

/** Fields of the hash that are ours. A customer's field never begins with one underscore there, so no payload can forge them. */
export const META = {
  eventId: '_eventId',
  eventTimestamp: '_eventTimestamp',
  receivedAt: '_receivedAt',
  appliedAt: '_appliedAt',
  source: '_source',
  projection: '_projection',
} as const

/** One customer as it is to be written: the whole hash, since an event is a snapshot. */
export interface CustomerHash {
  readonly customerUuid: string
  readonly version: Version
  /** Field and value in turn, as Redis' HSET takes them. Text without a UTF-8 form (a lone surrogate) is stored by Redis clients as U+FFFD. */
  readonly fieldsAndValues: readonly string[]
}

export type ProjectionFault = VersionFault | 'nested-too-deep' | 'too-many-fields'

/** Redis takes some million words in one command; a customer of more fields could never be written. */
const MAX_FIELDS = 100_000

/** Told by the envelope alone: a customer's field of such a name never takes its place. */
const envelopeFields: ReadonlySet<string> = new Set(['dealerUuid', 'departmentUuid'])

const escapeName = (name: string): string => (name.startsWith('_') ? `_${name}` : name)

/** The text a value has in the hash; undefined for null or missing, which is no field. */
const toText = (value: unknown): string | undefined => {
  if (value === null || value === undefined) return undefined
  if (typeof value === 'string') return value
  return isRawNumber(value) ? value.rawJSON : JSON.stringify(value)
}

/**
 * The hash of an event: the dealer and department; `vehicles` and `addresses`; every field of `customer`; any unknown neighbour of the customer; our
 * metadata. Where two of these sources use one name, the first in this order takes it, and the other is kept as `_<source>.<name>`.
 * @returns the hash, or why the event can never be projected.
 */
export const customerToHash = (event: CustomersEvent, from: Provenance): Result<CustomerHash, ProjectionFault> => {
  const version = readVersion(event.envelope)
  if (!version.ok) return version
  const { customer, vehicles, addresses, ...neighbours } = event.customerWithVehicles
  const fields = new Map<string, string>()
  const takenBy = new Map<string, string>()
  const add = (source: string, entries: JsonObject) => {
    for (const [given, value] of Object.entries(entries)) {
      const text = toText(value)
      if (text === undefined) continue
      // As Redis stores it. Otherwise two names would be counted that are one field there.
      const name = given.toWellFormed()
      const field = escapeName(name)
      // Two names of one source may become one: as in Redis, the later value stays.
      const taken = (takenBy.get(field) ?? source) !== source || (source !== 'envelope' && envelopeFields.has(field))
      if (!taken) takenBy.set(field, source)
      fields.set(taken ? `_${source}.${name}` : field, text)
    }
  }
  try {
    add('envelope', { dealerUuid: event.envelope.dealeruuid, departmentUuid: event.envelope.departmentuuid })
    add('customerWithVehicles', { vehicles, addresses })
    add('customer', customer)
    add('customerWithVehicles', neighbours)
  } catch (error) {
    if (error instanceof RangeError) return failed('nested-too-deep', 'a field is nested too deep to be stored')
    throw error
  }
  if (fields.size > MAX_FIELDS) return failed('too-many-fields', `the customer has ${fields.size} fields`)
  const { timestamp, id } = version.value
  fields.set(META.eventId, id)
  fields.set(META.eventTimestamp, String(timestamp))
  fields.set(META.receivedAt, String(from.receivedAt))
  fields.set(META.appliedAt, String(from.appliedAt))
  fields.set(META.source, `${from.topic}/${from.partition}/${from.offset}`)
  fields.set(META.projection, String(from.projection))
  const fieldsAndValues: string[] = []
  for (const [field, value] of fields) fieldsAndValues.push(field, value)
  return ok({ customerUuid: event.customerUuid, version: version.value, fieldsAndValues })
}

/** A customer as read back from Redis. */
export interface StoredCustomer {
  /** The documented fields whose text fits their documented type, `addresses` among them wherever the vendor had put it. */
  readonly customer: Customer
  readonly vehicles?: Vehicle[]
  readonly dealerUuid?: string
  readonly departmentUuid?: string
  /** Every other field as the text it has in the hash: unknown ones, and documented ones whose text does not fit. Nothing is lost. */
  readonly other: Readonly<Record<string, string>>
  /** Fields whose name another source had taken, by `<source>.<name>`, e.g. `customer.addresses` when addresses came beside the customer too. */
  readonly shadowed: Readonly<Record<string, string>>
  readonly version: Version
  readonly receivedAt: number
  readonly appliedAt: number
  /** `topic/partition/offset` of the record. */
  readonly source: string
}

const fromText = (schema: TSchema, text: string): unknown => {
  if (Value.Check(schema, text)) return text
  try {
    const value = parseJson(text)
    // A number or a flag must be written in its one canonical way, else its text could not be got back.
    return Value.Check(schema, value) && value !== null && (typeof value === 'object' || String(value) === text) ? value : undefined
  } catch {
    return undefined
  }
}

const documented: ReadonlyMap<string, TSchema> = new Map(Object.entries(Customer.properties))
const metaFields: ReadonlySet<string> = new Set(Object.values(META))

/**
 * Turns a hash, as HGETALL gives it, back into a typed customer.
 * @returns the customer, or `not-a-customer` when the hash is empty or was not written by customer-stream.
 */
export const customerFromHash = (hash: Readonly<Record<string, string>>): Result<StoredCustomer, 'not-a-customer'> => {
  const version = readVersion({ id: hash[META.eventId], timestamp: hash[META.eventTimestamp] })
  if (!version.ok || hash.customerUuid === undefined) return failed('not-a-customer', 'the hash holds no customer')
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
    const schema = field === 'vehicles' ? ListOf(Vehicle) : documented.get(field)
    const value = schema && fromText(schema, text)
    if (value === undefined) other.push([field.startsWith('_') ? field.slice(1) : field, text])
    else if (field === 'vehicles') vehicles = value as Vehicle[]
    else customer.push([field, value])
  }
  return ok({
    // From entries, not by assignment: a field named __proto__ stays a field.
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
