import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type Difference, differencesOf, driftField, driftValue, readDrift } from './drift.ts'
import { parseEvent } from './envelope.ts'

const SAMPLE = new URL('./fixtures/customers.derived-as-delivered.json', import.meta.url)

interface Payload {
  customerWithVehicles: { customer: Record<string, unknown>; vehicles: unknown; addresses: unknown }
}
/**
 * Changes the vendor's sample, and returns its differences from the documentation as `kind type
 * path`.
 */
const differences = (
  change: (customerWithVehicles: Payload['customerWithVehicles'], envelope: Record<string, unknown>) => unknown,
) => {
  const envelope = JSON.parse(readFileSync(SAMPLE, 'utf8')) as Record<string, unknown>
  const payload = JSON.parse(envelope.payload as string) as Payload
  change(payload.customerWithVehicles, envelope)
  const parsed = parseEvent(Buffer.from(JSON.stringify({ ...envelope, payload: JSON.stringify(payload) })))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('not a customers event')
  return differencesOf(parsed.value).map(driftField)
}

it('the vendor’s sample has no differences', () => {
  expect(differences(() => undefined)).toEqual([])
})

it.each<[string, Parameters<typeof differences>[0], readonly string[]]>([
  ['an unknown field', ({ customer }) => (customer.vip = true), ['unknown-field boolean customer.vip']],
  [
    'an unknown object, as one difference',
    ({ customer }) => (customer.loyalty = { level: 'gold', since: 3 }),
    ['unknown-field object customer.loyalty'],
  ],
  ['an unknown field of the envelope', (_, event) => (event.region = 'us'), ['unknown-field string envelope.region']],
  [
    'a number in place of a text',
    ({ customer }) => (customer.firstName = 3),
    ['other-type integer customer.firstName'],
  ],
  ['a text in place of a list', (sent) => (sent.vehicles = 'none'), ['other-type string vehicles']],
  ['a fraction in place of an integer', ({ customer }) => (customer.id = 1.5), ['other-type number customer.id']],
  [
    'a list entry that is not an object',
    ({ customer }) => (customer.emails = [7]),
    ['other-type integer customer.emails[]'],
  ],
  [
    'a value that the documentation does not list',
    ({ customer }) => (customer.preferredCommunication = 'fax'),
    ['new-value string customer.preferredCommunication'],
  ],
  [
    'an address beside the customer',
    (sent) => (sent.addresses = [{ type: 'HOME' }]),
    ['new-value string addresses[].type'],
  ],
  ['a long text', ({ customer }) => (customer.company = 'x'.repeat(1001)), ['large string customer.company']],
  [
    'a long list',
    (sent) => (sent.vehicles = Array.from({ length: 101 }, () => ({ vin: 'V' }))),
    ['large array vehicles'],
  ],
  [
    'a name that may be data',
    ({ customer }) => (customer['ann@example.com'] = 1),
    ['unknown-field integer customer.*'],
  ],
  ['missing, null and 64-bit fields', ({ customer }) => Object.assign(customer, { id: null, emails: null }), []],
])('exactly the expected differences are found in an event with %s', (_, change, expected) => {
  expect(differences(change)).toEqual(expected)
})

it('an integer that a double cannot hold is not a difference', () => {
  const body = `{"type":"customers","payload":{"customerWithVehicles":{"customer":
    {"customerUuid":"a","id":12345678901234567890}}}}`
  const parsed = parseEvent(Buffer.from(body))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('not a customers event')
  expect(differencesOf(parsed.value)).toEqual([])
})

it('a difference contains no value and no name that may be data, and an event has at most 100 differences', () => {
  const secret = fc.string({ minLength: 3 }).map((text) => `~${text}~`)
  const property = fc.property(fc.dictionary(secret, fc.oneof(secret, fc.array(secret), fc.object()), {}), (data) => {
    const found = differences((sent) => {
      Object.assign(sent.customer, data)
      sent.vehicles = Array.from({ length: 80 }, () => ({ ...data, vin: data }))
    })
    expect(found.length).toBeLessThanOrEqual(100)
    expect(found.join('\n')).not.toContain('~')
  })
  fc.assert(property, { numRuns: 50 })
})

it('a stored difference is read again, and any other field is ignored', () => {
  const difference: Difference = { kind: 'unknown-field', type: 'string', path: 'customer.vip' }
  const found = { first: 1, last: 2, events: 3 }
  expect(readDrift(driftField(difference), driftValue(found))).toEqual({ ...difference, ...found })
  for (const [field, value] of [
    ['nonsense', '1/2/3'],
    [driftField(difference), 'x/y'],
    ['other string a', '1/2/3'],
  ] as const)
    expect(readDrift(field, value)).toBeUndefined()
})
