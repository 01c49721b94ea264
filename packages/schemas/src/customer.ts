/**
 * The customer snapshot as the vendor documents it.
 *
 * The schemas are tolerant. Each field may be missing or null, and unknown fields are kept. An
 * event with a value that differs from its schema is not refused. {@link deviations} lists such
 * values.
 */
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { RawNumber } from './json.ts'

const Text = Type.Optional(Type.Union([Type.String(), Type.Null()]))
const Flag = Type.Optional(Type.Union([Type.Boolean(), Type.Null()]))
/**
 * An integer. `parseEvent` and `readState` return a {@link RawNumber} if a double cannot hold the
 * integer.
 */
const Whole = Type.Optional(Type.Union([Type.Unsafe<number | RawNumber>(Type.Integer()), Type.Null()]))
const ListOf = <T extends TSchema>(item: T) => Type.Optional(Type.Union([Type.Array(item), Type.Null()]))

export const Email = Type.Object({
  emailAddress: Text,
  label: Text,
  okToEmail: Flag,
  isPreferred: Flag,
  comments: Text,
})
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

export const Vehicles = ListOf(Vehicle)
export const Addresses = ListOf(Address)

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
  addresses: Addresses,
})
export type Customer = Static<typeof Customer>

/** Payload of a customers event. The vendor puts `addresses` beside `customer` or inside it. */
export const CustomersPayload = Type.Object({
  customerWithVehicles: Type.Object({ customer: Customer, vehicles: Vehicles, addresses: Addresses }),
})
export type CustomersPayload = Static<typeof CustomersPayload>

/**
 * Lists the places at which a value differs from the vendor's documentation. A difference is no
 * reason to refuse an event.
 * @returns JSON pointers, each with a sentence. Empty if the value conforms.
 */
export const deviations = (
  schema: TSchema,
  value: unknown,
): readonly { readonly path: string; readonly message: string }[] =>
  [...Value.Errors(schema, value)].map(({ path, message }) => ({ path, message }))
