import fc from 'fast-check'
import { expect, test } from 'vitest'
import { makeCustomersEvent, makeOtherEvent, OTHER_TYPES } from './events.ts'

test('a body is parsed twice: the envelope, then its payload, which is a string', () => {
  fc.assert(
    fc.property(
      fc.record({
        id: fc.string(),
        customerUuid: fc.string({ minLength: 1 }),
        customer: fc.record({ firstName: fc.string({ unit: 'grapheme' }) }),
      }),
      (overrides) => {
        const event = makeCustomersEvent({ ...overrides, timestamp: 5 })
        const envelope = JSON.parse(event.body)
        expect(envelope).toMatchObject({
          id: overrides.id,
          timestamp: 5,
          type: 'customers',
          payload: expect.any(String),
        })
        expect(envelope.dealeruuid).toMatch(/^[0-9a-f]{63}$/)
        const { customer } = JSON.parse(envelope.payload).customerWithVehicles
        expect(customer.customerUuid).toBe(overrides.customerUuid)
        expect(customer.firstName).toBe(overrides.customer.firstName)
        expect(JSON.parse(envelope.payload)).toEqual(event.payload)
      },
    ),
  )
})

test('a generated event has ids in the vendor’s form, and about as many bytes as an event of the vendor', () => {
  const events = Array.from({ length: 300 }, () => makeCustomersEvent())
  for (const event of events) {
    expect(event.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(event.customerUuid).toMatch(/^[A-Za-z0-9]{43}$/)
  }
  const meanBytes = events.reduce((sum, { body }) => sum + Buffer.byteLength(body), 0) / events.length
  expect(meanBytes).toBeGreaterThan(1100)
  expect(meanBytes).toBeLessThan(1700)
})

test('addresses can be beside the customer or inside the customer, and lists can be null', () => {
  const addresses = [{ city: 'Köln' }]
  expect(makeCustomersEvent({ addresses, vehicles: null }).payload.customerWithVehicles).toMatchObject({
    addresses,
    vehicles: null,
  })
  const inside = makeCustomersEvent({ addresses, addressesStand: 'inside' }).payload.customerWithVehicles
  expect(inside).not.toHaveProperty('addresses')
  expect(inside.customer).toMatchObject({ addresses })
})

test('a field with the value undefined is not in the body', () => {
  const { body } = makeCustomersEvent({ customer: { firstName: undefined }, payloadForm: 'object' })
  expect(JSON.parse(body).payload.customerWithVehicles.customer).not.toHaveProperty('firstName')
})

test('the legacy envelope names the type as dataType', () => {
  const event = makeCustomersEvent({ legacy: true })
  expect(event.type).toBe('customers')
  expect(JSON.parse(event.body)).toMatchObject({ dataType: 'customers', eventType: 'pointInTime' })
  expect(JSON.parse(event.body)).not.toHaveProperty('type')
})

test.each(OTHER_TYPES)('an event of type %s has no customer', (type) => {
  const event = makeOtherEvent({ type })
  expect(event).toMatchObject({ type, customerUuid: null })
  expect(JSON.parse(JSON.parse(event.body).payload)).toBeTypeOf('object')
})
