/** Hides personal data from API keys without the scope `pii`. */
import type { ChangeDocument } from './customer-document.ts'

export const MASK = '***'

/**
 * Documented fields that identify no person, by the list or object that has them. Every other value
 * is masked, because the sender may add a field at any time. The types of these fields were checked
 * earlier. A field with another type is in `texts`, and all texts are masked.
 */
const SHOWN: Readonly<Record<string, ReadonlySet<string>>> = {
  customer: new Set([
    ...['customerUuid', 'id', 'customerId', 'customerKey', 'isBusiness', 'availability'],
    ...['preferredLocale', 'preferredCommunication'],
  ]),
  emails: new Set(['okToEmail', 'isPreferred']),
  phoneNumbers: new Set(['okToCall', 'okToText', 'isPreferred']),
  bestTimeToContact: new Set(),
  addresses: new Set(['uuid', 'country', 'isValid', 'isPreferred', 'updateTS']),
  vehicles: new Set([
    ...['id', 'vehicleUuid', 'vehicleKey', 'vehicleMake', 'vehicleModel', 'vehicleYear'],
    ...['isValid', 'brandId'],
  ]),
}

/** Members of the document that are masked, each with its part in `SHOWN`. */
const MASKED_MEMBERS = [
  ...['customer', 'vehicles', 'addresses'].map((part) => [part, part] as const),
  ...['texts', 'shadowed'].map((texts) => [texts, ''] as const),
]

/** Members of the customer whose own members are masked one by one. */
const PARTS: ReadonlySet<string> = new Set(['emails', 'phoneNumbers', 'bestTimeToContact'])

/**
 * Form of the sender's field names. A name of another form may be data, for example an e-mail
 * address under which the sender keeps a value. A name in `shadowed` begins with its part of the
 * event.
 */
const FIELD_NAME = /^(?:(?:envelope|customer|customerWithVehicles)\.)?[A-Za-z][A-Za-z_]{0,49}\d{0,2}$/

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** Masks the members of an object, or of each object in a list. */
const maskPart = (part: string, value: unknown): unknown => {
  if (Array.isArray(value)) return value.map((item) => maskPart(part, item))
  if (!isObject(value)) return MASK
  const masked: Record<string, unknown> = {}
  // The name __proto__ does not match FIELD_NAME, so the assignment sets no prototype.
  for (const [name, member] of Object.entries(value))
    masked[FIELD_NAME.test(name) ? name : MASK] = maskMember(part, name, member)
  return masked
}

const maskMember = (part: string, name: string, value: unknown): unknown => {
  if (value === null || SHOWN[part]?.has(name)) return value
  return part === 'customer' && PARTS.has(name) ? maskPart(name, value) : MASK
}

export const maskCustomer = <T extends ChangeDocument>(document: T): T => {
  const masked: Record<string, unknown> = { ...document }
  for (const [member, part] of MASKED_MEMBERS) if (member in masked) masked[member] = maskPart(part, masked[member])
  return masked as T
}
