/**
 * Compares customers events with the vendor's documentation. A difference names a field, and never
 * contains the value, which may be personal data.
 */
import type { TSchema } from '@sinclair/typebox'
import { CustomersPayload } from './customer.ts'
import { type CustomersEvent, Envelope } from './envelope.ts'
import { isRawNumber } from './json.ts'

/**
 * - `unknown-field`: the documentation lacks this field.
 * - `other-type`: the documentation names other JSON types for this field.
 * - `new-value`: the documentation lists the values of this field, and lacks this value.
 * - `large`: a text of more than 1,000 characters, or a list of more than 100 entries.
 */
export type DifferenceKind = 'unknown-field' | 'other-type' | 'new-value' | 'large'

export interface Difference {
  readonly kind: DifferenceKind
  /**
   * Path of the field, for example `customer.emails[].label` or `envelope.timestamp`. `*` stands
   * for a name that may be data.
   */
  readonly path: string
  /**
   * JSON type of the value: `string`, `integer`, `number`, `boolean`, `object`, `array` or `null`.
   */
  readonly type: string
}

const MAX_CHARACTERS = 1000
const MAX_ENTRIES = 100
/** Maximum number of differences of an event. The rest of the event is not compared. */
const MAX_DIFFERENCES = 100

/** The vendor's names have this form. Any other name may be data, e.g. an e-mail address. */
const FIELD_NAME = /^[A-Za-z][A-Za-z_]{0,49}$/

const ADDRESS_TYPES = new Set<unknown>(['COMMON', 'PRIMARY', 'BILLING', 'OTHER'])
/** The values that the vendor's documentation lists, by path. */
const documentedValues: ReadonlyMap<string, ReadonlySet<unknown>> = new Map([
  ['customer.preferredCommunication', new Set<unknown>(['text', 'phone', 'email'])],
  ['customer.addresses[].type', ADDRESS_TYPES],
  ['addresses[].type', ADDRESS_TYPES],
])

const typeOf = (value: unknown): string => {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (isRawNumber(value)) return /^-?\d+$/.test(value.rawJSON) ? 'integer' : 'number'
  return Number.isInteger(value) ? 'integer' : typeof value
}

const matches = (schema: TSchema, type: string): boolean =>
  schema.type === type || (schema.type === 'number' && type === 'integer')

/** Compares a value with its schema, then the members of the value with their schemas. */
const compare = (schema: TSchema, value: unknown, path: string, found: Difference[]): void => {
  if (found.length >= MAX_DIFFERENCES) return
  const type = typeOf(value)
  const report = (kind: DifferenceKind) => found.push({ kind, path, type })
  const alternatives: readonly TSchema[] = schema.anyOf ?? [schema]
  const match = alternatives.find((each) => matches(each, type))
  if (match === undefined) {
    report('other-type')
  } else if (typeof value === 'string') {
    if (value.length > MAX_CHARACTERS) report('large')
    if (documentedValues.get(path)?.has(value) === false) report('new-value')
  } else if (Array.isArray(value)) {
    if (value.length > MAX_ENTRIES) report('large')
    for (const entry of value.slice(0, MAX_ENTRIES)) compare(match.items, entry, `${path}[]`, found)
  } else if (type === 'object') {
    const prefix = path === '' ? '' : `${path}.`
    for (const [name, member] of Object.entries(value as object)) {
      const place = `${prefix}${FIELD_NAME.test(name) ? name : '*'}`
      if (Object.hasOwn(match.properties, name)) compare(match.properties[name], member, place, found)
      else if (found.length < MAX_DIFFERENCES) found.push({ kind: 'unknown-field', path: place, type: typeOf(member) })
    }
  }
}

/**
 * Returns the differences between an event and the vendor's documentation, at most 100. Empty if
 * there is none. A missing field is not a difference.
 */
export const differencesOf = ({ envelope, customerWithVehicles }: CustomersEvent): readonly Difference[] => {
  const found: Difference[] = []
  // Leave out the payload here, which is a text. The next line compares its parsed content.
  compare(Envelope, { ...envelope, payload: null }, 'envelope', found)
  compare(CustomersPayload.properties.customerWithVehicles, customerWithVehicles, '', found)
  return found
}

/** A difference, and the events in which it was found. */
export interface Drift extends Difference {
  /** Time of receipt of the first of these events, Unix milliseconds. */
  readonly first: number
  /** Time of receipt of the last of these events, Unix milliseconds. */
  readonly last: number
  /** Number of these events. The projector compares only a sample of all events. */
  readonly events: number
}

/** Returns the field of a difference in the hash of {@link driftKey}. */
export const driftField = ({ kind, path, type }: Difference): string => `${kind} ${type} ${path}`

/**
 * Returns the value of a difference in the hash of {@link driftKey}. The script merge-drift.lua
 * reads and writes the same form.
 */
export const driftValue = ({ first, last, events }: Pick<Drift, 'first' | 'last' | 'events'>): string =>
  `${first}/${last}/${events}`

const isKind = (text: string): text is DifferenceKind =>
  ['unknown-field', 'other-type', 'new-value', 'large'].includes(text)

/** Reads a field of the hash of {@link driftKey}. Undefined if the field is not a difference. */
export const readDrift = (field: string, value: string): Drift | undefined => {
  const [kind = '', type = '', path = ''] = field.split(' ')
  const [first, last, events] = value.split('/').map(Number)
  const isValid = isKind(kind) && [first, last, events].every(Number.isSafeInteger)
  return isValid ? { kind, type, path, first: first ?? 0, last: last ?? 0, events: events ?? 0 } : undefined
}
