import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Customer } from './customer.ts'
import { customerFromHash, customerToHash, META } from './customer-hash.ts'
import { type CustomersEvent, parseEvent } from './envelope.ts'
import { compareVersions } from './version.ts'

const from = { topic: 't', partition: 3, offset: '42', receivedAt: 1000, appliedAt: 2000, projection: 1 }

const eventOf = (body: string): CustomersEvent => {
  const parsed = parseEvent(Buffer.from(body))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error(`not a customers event: ${body}`)
  return parsed.value
}
const event = (customerWithVehicles: unknown, envelope: object = {}) =>
  eventOf(
    JSON.stringify({
      id: 'e',
      timestamp: 5,
      type: 'customers',
      payload: JSON.stringify({ customerWithVehicles }),
      ...envelope,
    }),
  )
const hashOf = (input: CustomersEvent): Record<string, string> => {
  const hash = customerToHash(input, from)
  if (!hash.ok) throw new Error(hash.reason)
  const { fieldsAndValues } = hash.value
  return Object.fromEntries(fieldsAndValues.flatMap((field, i) => (i % 2 ? [] : [[field, fieldsAndValues[i + 1]!]])))
}
const roundTrip = (customerWithVehicles: unknown) => {
  const stored = customerFromHash(hashOf(event(customerWithVehicles)))
  if (!stored.ok) throw new Error(stored.reason)
  return stored.value
}

// Returns an object without its members that are null or undefined.
const withoutNulls = (value: object) =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== null && v !== undefined))

const text = fc.option(anyText())
const flag = fc.option(fc.boolean())
const whole = fc.option(fc.maxSafeInteger().filter((n) => !Object.is(n, -0)))
const some = { requiredKeys: [] as [] }
const anyCustomer: fc.Arbitrary<Partial<Customer>> = fc.record(
  {
    id: whole,
    firstName: text,
    company: text,
    isBusiness: flag,
    availability: whole,
    emails: fc.option(fc.array(fc.record({ emailAddress: text, okToEmail: flag, isPreferred: flag }, some))),
    phoneNumbers: fc.option(fc.array(fc.record({ phoneNumber: text, okToCall: flag }, some))),
    bestTimeToContact: fc.option(fc.record({ startTime: text, endTime: text }, some)),
  },
  some,
)
const anyVehicles = fc.option(fc.array(fc.record({ vin: text, id: whole, isValid: flag }, some)))
const anyAddresses = fc.option(fc.array(fc.record({ line1: text, zip: text, isPreferred: flag }, some)))

describe('customer to hash and back', () => {
  it('customerFromHash returns every documented field, except fields that are null', () => {
    fc.assert(
      fc.property(anyCustomer, anyVehicles, anyAddresses, fc.boolean(), (fields, vehicles, addresses, beside) => {
        const customer = { customerUuid: 'c', ...fields, ...(beside ? {} : { addresses }) }
        const stored = roundTrip({ customer, vehicles, ...(beside && { addresses }) })
        expect(stored.customer).toEqual(withoutNulls({ ...customer, addresses }))
        expect(stored.vehicles ?? null).toEqual(vehicles)
        expect(stored.other).toEqual({})
      }),
    )
  })

  it('the hash keeps the name and the text of each unknown field', () => {
    const known = new Set(['customerUuid', 'vehicles', 'addresses', 'dealerUuid', 'departmentUuid'])
    const name = fc.oneof(
      anyText().filter((n) => n.isWellFormed()),
      fc.constantFrom('__proto__', 'constructor', '_eventId', '__x', '_', '😀', 'toString', ''),
    )
    fc.assert(
      fc.property(fc.dictionary(name, fc.jsonValue(), { noNullPrototype: false }), (unknown) => {
        const entries = Object.entries(unknown).filter(([n, v]) => !known.has(n) && v !== null)
        const body = JSON.stringify({ customerUuid: 'c', ...Object.fromEntries(entries) })
        const stored = customerFromHash(hashOf(event({ customer: JSON.parse(body) })))
        expect(stored.ok && new Map(Object.entries({ ...stored.value.other, ...stored.value.customer }))).toEqual(
          new Map([
            ...entries.map(([n, v]): [string, string] => [n, typeof v === 'string' ? v : JSON.stringify(v)]),
            ['customerUuid', 'c'],
          ]),
        )
      }),
    )
  })

  it('the hash stores a field named __proto__ like any other field', () => {
    const customer = JSON.parse('{"customerUuid":"c","__proto__":{"polluted":true},"constructor":"x"}')
    const stored = roundTrip({ customer })
    expect(Object.entries(stored.other)).toEqual([
      ['__proto__', '{"polluted":true}'],
      ['constructor', 'x'],
    ])
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })

  it('the hash keeps all digits of a number that a double cannot hold', () => {
    const body =
      '{"id":"e","timestamp":5,"type":"customers","payload":{"customerWithVehicles":{"customer":{"customerUuid":"c",' +
      '"id":12345678901234567890,"huge":1e400,"list":[0.12345678901234567890]}}}}'
    const hash = hashOf(eventOf(body))
    expect(hash).toMatchObject({ id: '12345678901234567890', huge: '1e400', list: '[0.12345678901234567890]' })
    expect(customerFromHash(hash)).toMatchObject({ ok: true, value: { other: { id: '12345678901234567890' } } })
  })

  it('no field of a customer replaces the metadata or the dealer in the hash', () => {
    const forged = {
      customerUuid: 'c',
      _eventId: 'zzz',
      _eventTimestamp: '9'.repeat(15),
      _source: 'x',
      dealerUuid: 'evil',
      __eventId: 'y',
    }
    const hash = hashOf(event({ customer: forged, customerUuid: 'evil', vehicles: null }))
    expect(hash).toMatchObject({
      _eventId: 'e',
      _eventTimestamp: '5',
      _source: 't/3/42',
      customerUuid: 'c',
      __eventId: 'zzz',
      ___eventId: 'y',
    })
    expect(hash.dealerUuid).toBeUndefined()
    const stored = customerFromHash(hash)
    expect(stored).toMatchObject({
      ok: true,
      value: { version: { id: 'e', timestamp: 5 }, other: { _eventId: 'zzz', __eventId: 'y' } },
    })
    expect(stored.ok && stored.value.shadowed).toEqual({
      'customer.dealerUuid': 'evil',
      'customerWithVehicles.customerUuid': 'evil',
    })
  })

  it('the hash keeps addresses beside the customer and addresses inside the customer', () => {
    const stored = roundTrip({
      customer: { customerUuid: 'c', addresses: [{ zip: 'in' }] },
      addresses: [{ zip: 'out' }],
    })
    expect(stored.customer.addresses).toEqual([{ zip: 'out' }])
    expect(stored.shadowed).toEqual({ 'customer.addresses': '[{"zip":"in"}]' })
  })

  it('a value is read from the hash as text if its type is not the documented type', () => {
    const stored = roundTrip({
      customer: { customerUuid: 'c', isBusiness: 'yes', availability: 1.5, emails: 'none', firstName: 7 },
      vehicles: 'many',
    })
    expect(stored.customer).toEqual({ customerUuid: 'c', firstName: '7' })
    expect(stored.other).toEqual({ isBusiness: 'yes', availability: '1.5', emails: 'none', vehicles: 'many' })
  })

  it('a customer that Redis can never store is refused with a reason', () => {
    const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)
    const nested = {
      ...event({ customer: { customerUuid: 'c' } }),
      customerWithVehicles: { customer: { customerUuid: 'c', deep } },
    }
    expect(customerToHash(nested, from)).toMatchObject({ ok: false, reason: 'nested-too-deep' })
    expect(customerToHash(event({ customer: { customerUuid: 'c' } }, { timestamp: 0 }), from)).toMatchObject({
      ok: false,
      reason: 'invalid-timestamp',
    })
  })

  it('a hash from another program is not read as a customer', () => {
    expect(customerFromHash({})).toMatchObject({ ok: false, reason: 'not-a-customer' })
    expect(customerFromHash({ customerUuid: 'c', [META.eventId]: 'e' })).toMatchObject({ ok: false })
  })
})

it('events in any order, with any repeats, end in the same hash', () => {
  const one = fc.record({
    id: anyText({ minLength: 1, maxLength: 3 }),
    timestamp: fc.integer({ min: 1, max: 3 }),
    name: fc.string(),
  })
  const history = fc.uniqueArray(one, {
    minLength: 1,
    maxLength: 6,
    selector: ({ id, timestamp }) => `${timestamp} ${id}`,
  })
  const shuffledWithRepeats = history.chain((events) =>
    fc.tuple(
      fc.constant(events),
      fc
        .array(fc.constantFrom(...events))
        .chain((again) => fc.shuffledSubarray([...events, ...again], { minLength: events.length + again.length })),
    ),
  )
  const finalState = (events: { id: string; timestamp: number; name: string }[]) => {
    const newest = events.reduce((kept, next) => (compareVersions(next, kept) > 0 ? next : kept))
    return hashOf(event({ customer: { customerUuid: 'c', firstName: newest.name } }, newest))
  }
  fc.assert(
    fc.property(shuffledWithRepeats, ([events, delivered]) => {
      expect(finalState(delivered)).toEqual(finalState(events))
    }),
  )
})

/** Applies the rules of the hash in a simple way, to compare with the real implementation. */
const fieldsByRule = ({ envelope, customerWithVehicles }: CustomersEvent): [string, string][] => {
  const { customer, vehicles, addresses, ...neighbours } = customerWithVehicles
  const sources: [string, object][] = [
    ['envelope', { dealerUuid: envelope.dealeruuid, departmentUuid: envelope.departmentuuid }],
    ['customerWithVehicles', { vehicles, addresses }],
    ['customer', customer],
    ['customerWithVehicles', neighbours],
  ]
  const fields = new Map<string, string>()
  const takenBy = new Map<string, string>()
  for (const [source, entries] of sources)
    for (const [given, value] of Object.entries(entries)) {
      if (value === null || value === undefined) continue
      const name = given.toWellFormed()
      const field = name.startsWith('_') ? `_${name}` : name
      const isEnvelopes = source !== 'envelope' && ['dealerUuid', 'departmentUuid'].includes(field)
      const taken = isEnvelopes || (takenBy.get(field) ?? source) !== source
      if (!taken) takenBy.set(field, source)
      fields.set(taken ? `_${source}.${name}` : field, typeof value === 'string' ? value : JSON.stringify(value))
    }
  return [...fields]
}

it('each field has the name in the hash that the rules demand', () => {
  const name = fc.constantFrom(
    ...['vehicles', 'addresses', 'dealerUuid', 'departmentUuid', '__proto__', '_eventId', '_customer.a', 'a', '_a'],
    ...['\ud800', '\ud801', '\ufffd', '7', 'b'],
  )
  const value = fc.constantFrom(null, 'text', '', 5, true, ['x'], { y: 1 })
  const entries = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((pairs) => Object.fromEntries(pairs))
  fc.assert(
    fc.property(entries, entries, fc.option(fc.constantFrom('d')), (customer, beside, dealeruuid) => {
      const input = event({ ...beside, customer: { ...customer, customerUuid: 'c' } }, { dealeruuid })
      const hash = customerToHash(input, from)
      const list = hash.ok ? hash.value.fieldsAndValues : []
      const pairs = list.flatMap((field, i) => (i % 2 ? [] : [[field, list[i + 1]]]))
      const rule = fieldsByRule(input)
      expect(pairs).toHaveLength(rule.length + 6)
      expect(Object.fromEntries(pairs.slice(0, -6))).toEqual(Object.fromEntries(rule))
      // Leave out the field `_index`, because only the projector adds it.
      const { index: _, ...metadata } = META
      expect(pairs.slice(-6).map(([field]) => field)).toEqual(Object.values(metadata))
    }),
    { seed: 11, numRuns: 2000 },
  )
})
