/**
 * The document that the reader returns. Redis has the text of each field, but not its type. So a
 * member has its documented type if its text fits this type. Otherwise it stays a text.
 */
import {
  Addresses,
  Customer,
  CustomerState,
  customerFromHash,
  type StoredCustomer,
  stateToHash,
  Vehicles,
} from '@customer-stream/schemas'
import { type Static, Type } from '@sinclair/typebox'

const { customerUuid, version, dealerUuid, departmentUuid, receivedAt, source } = CustomerState.properties
const Texts = (description: string) => Type.Optional(Type.Record(Type.String(), Type.String(), { description }))

export const CustomerDocument = Type.Object(
  {
    customerUuid,
    version,
    dealerUuid,
    departmentUuid,
    customer: Type.Omit(Customer, ['addresses'], { description: 'The documented fields, with their types.' }),
    vehicles: Vehicles,
    addresses: Addresses,
    texts: Texts(
      'All other fields, as text: fields that the sender does not document, and fields whose text does not fit ' +
        'their documented type.',
    ),
    shadowed: Texts(
      'Fields whose name another part of the event already uses, as text. The name here is `<part>.<field>`.',
    ),
    receivedAt,
    appliedAt: Type.Integer({ description: 'Time at which Redis got the customer, Unix milliseconds.' }),
    source,
  },
  { description: 'The current state of a customer, as Redis has it.' },
)
export type CustomerDocument = Static<typeof CustomerDocument>

export const ChangeDocument = Type.Omit(CustomerDocument, ['appliedAt'], {
  description: 'The state of a customer after a change. The members are those of a customer, without `appliedAt`.',
})
export type ChangeDocument = Static<typeof ChangeDocument>

const place = /^([\w.-]+)\/(\d+)\/(\d+)$/

const unlessEmpty = <T extends object>(name: string, value: T) =>
  Object.keys(value).length > 0 ? { [name]: value } : {}

/** Returns undefined if the metadata of the hash is damaged. */
export const customerDocument = (stored: StoredCustomer): CustomerDocument | undefined => {
  const { customer, vehicles, dealerUuid: dealer, departmentUuid: department, other, shadowed } = stored
  const { addresses, ...documented } = customer
  const [, topic, partition, offset] = place.exec(stored.source) ?? []
  const areTimes = [stored.receivedAt, stored.appliedAt].every(Number.isSafeInteger)
  if (topic === undefined || offset === undefined || !areTimes) return undefined
  return {
    customerUuid: customer.customerUuid,
    version: stored.version,
    ...(dealer !== undefined && { dealerUuid: dealer }),
    ...(department !== undefined && { departmentUuid: department }),
    customer: documented,
    ...(vehicles && { vehicles }),
    ...(addresses && { addresses }),
    ...unlessEmpty('texts', other),
    ...unlessEmpty('shadowed', shadowed),
    receivedAt: stored.receivedAt,
    appliedAt: stored.appliedAt,
    source: { topic, partition: Number(partition), offset },
  }
}

/**
 * Returns the document that the reader would return if Redis had this state. Undefined if Redis
 * cannot store this state.
 */
export const stateDocument = (state: CustomerState): ChangeDocument | undefined => {
  const hash = stateToHash(state, { appliedAt: 0, projection: 0 })
  if (!hash.ok) return undefined
  const { fieldsAndValues } = hash.value
  const fields = fieldsAndValues.flatMap((name, i) => (i % 2 === 0 ? [[name, fieldsAndValues[i + 1]]] : []))
  const stored = customerFromHash(Object.fromEntries(fields))
  const document = stored.ok ? customerDocument(stored.value) : undefined
  if (document === undefined) return undefined
  const { appliedAt: _, ...change } = document
  return change
}
