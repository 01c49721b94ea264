import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CustomersPayload, deviations } from './customer.ts'
import { Envelope, parseEvent, parsePayload } from './envelope.ts'
import { otherPayloads } from './other-events.ts'

const fixtures = new URL('./fixtures/', import.meta.url)
const fixture = (name: string) => readFileSync(new URL(name, fixtures))
const parse = (body: unknown) => parseEvent(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)))
const customers = (customer: unknown) => ({
  id: 'e',
  timestamp: 1,
  type: 'customers',
  payload: { customerWithVehicles: { customer } },
})

describe('the vendor samples', () => {
  it.each(['customers.parsed.json', 'customers.derived-as-delivered.json'])(
    'parseEvent reads %s as a customers event, with a payload as text or object',
    (name) => {
      const event = parseEvent(fixture(name))
      expect(event).toMatchObject({
        ok: true,
        value: { kind: 'customers', customerUuid: 'Wq7nJhXtGpBmNd3KvRzYf2kAcEiLoU8sTPeCbHwOyM1' },
      })
      if (!event.ok || event.value.kind !== 'customers') return
      expect(deviations(Envelope, event.value.envelope)).toEqual([])
      expect(deviations(CustomersPayload, { customerWithVehicles: event.value.customerWithVehicles })).toEqual([])
    },
  )

  it.each(['service-orders', 'mpis', 'messages'] as const)(
    'parseEvent reads %s.partial.json by its type, and its payload fits the schema',
    (type) => {
      const event = parseEvent(fixture(`${type}.partial.json`))
      expect(event).toMatchObject({ ok: true, value: { kind: 'other', type } })
      if (!event.ok) return
      const payload = parsePayload(event.value.envelope.payload)
      expect(payload.ok && deviations(otherPayloads[type], payload.value)).toEqual([])
    },
  )

  it('parseEvent uses dataType as the type of legacy-envelope.template.json', () => {
    expect(parseEvent(fixture('legacy-envelope.template.json'))).toMatchObject({
      ok: true,
      value: { kind: 'other', type: 'service-orders/appointments/customers' },
    })
  })

  it('legacy-customer-payload.partial.json is refused, because its customer has no uuid', () => {
    const payload = JSON.parse(fixture('legacy-customer-payload.partial.json').toString())
    expect(
      parse({ id: 'e', dataType: 'customers', eventType: 'pointInTime', payload: JSON.stringify(payload) }),
    ).toMatchObject({
      ok: false,
      reason: 'missing-customer-uuid',
      eventId: 'e',
    })
  })

  it('our schemas have each field of customerWithVehicles.api-schema.json', () => {
    const api = JSON.parse(fixture('customerWithVehicles.api-schema.json').toString()).customerWithVehicles
    const known = CustomersPayload.properties.customerWithVehicles.properties
    expect(Object.keys(api.customer).filter((name) => !(name in known.customer.properties))).toEqual([])
    const itemOf = (list: unknown) =>
      (list as { anyOf: { items: { properties: object } }[] }).anyOf[0]!.items.properties
    expect(Object.keys(api.vehicles[0]).filter((name) => !(name in itemOf(known.vehicles)))).toEqual([])
    expect(Object.keys(api.customer.addresses[0]).filter((name) => !(name in itemOf(known.addresses)))).toEqual([])
  })

  it('each vendor sample has a test in this file', () => {
    const source = readFileSync(new URL(import.meta.url), 'utf8')
    const named = (file: string) => source.includes(file) || source.includes(`'${file.replace('.partial.json', '')}'`)
    expect(readdirSync(fixtures).filter((file) => !named(file))).toEqual([])
  })
})

describe('parseEvent', () => {
  it.each([
    ['', 'not-json'],
    ['{"id":"e","type":"customers"', 'not-json'],
    ['nonsense', 'not-json'],
    [[], 'not-an-object'],
    [7, 'not-an-object'],
    ['null', 'not-an-object'],
    ['"text"', 'not-an-object'],
    ['12345678901234567890', 'not-an-object'],
    [{}, 'missing-type'],
    [{ type: null, dataType: '' }, 'missing-type'],
    [{ type: 7 }, 'missing-type'],
    [{ type: 'customers' }, 'payload-not-an-object'],
    [{ type: 'customers', payload: 'null' }, 'payload-not-an-object'],
    [{ type: 'customers', payload: '{' }, 'payload-not-json'],
    [{ type: 'customers', payload: [] }, 'payload-not-an-object'],
    [{ type: 'customers', payload: '1e400' }, 'payload-not-an-object'],
    [{ type: 'customers', payload: {} }, 'missing-customer'],
    [customers(null), 'missing-customer'],
    ['{"type":"customers","payload":{"customerWithVehicles":{"customer":1e400}}}', 'missing-customer'],
    [customers({}), 'missing-customer-uuid'],
    [customers({ customerUuid: '' }), 'missing-customer-uuid'],
    [customers({ customerUuid: 7 }), 'missing-customer-uuid'],
    [customers({ customerUuid: '\ud800' }), 'invalid-customer-uuid'],
  ])('parseEvent names the problem of %j: %s', (body, reason) => {
    expect(parse(body)).toMatchObject({ ok: false, reason })
  })

  it('parseEvent refuses bytes that are not UTF-8 instead of replacing them', () => {
    expect(
      parseEvent(Buffer.concat([Buffer.from('{"type":"customers","x":"'), Buffer.from([0xff]), Buffer.from('"}')])),
    ).toMatchObject({
      ok: false,
      reason: 'not-utf8',
    })
  })

  it('parseEvent returns any customerUuid unchanged, even a long one or one with special characters', () => {
    for (const customerUuid of ['-', ' a b ', '{}', '}{', 'a\nb\0c', '😀', 'x'.repeat(10_000), '__proto__']) {
      expect(parse(customers({ customerUuid }))).toMatchObject({ ok: true, value: { customerUuid } })
    }
  })

  it('if an event has a type and the legacy dataType, parseEvent uses its type', () => {
    expect(parse({ type: 'mpis', dataType: 'customers' })).toMatchObject({
      ok: true,
      value: { kind: 'other', type: 'mpis' },
    })
  })

  it('parseEvent does not throw for a payload that is nested 100 000 levels deep', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
    const payload = `{"customerWithVehicles":{"customer":{"customerUuid":"c","deep":${deep}}}}`
    expect(parse({ type: 'customers', payload })).toMatchObject({ ok: true })
    expect(
      parse({ type: 'customers', payload: payload.replace('"c"', '"c","id":12345678901234567890') }),
    ).toMatchObject({
      ok: false,
      reason: 'nested-too-deep',
    })
    expect(parse(`{"type":"mpis","payload":${deep}}`)).toMatchObject({ ok: true })
  })

  it('parseEvent never throws, for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(typeof parseEvent(bytes).ok).toBe('boolean')
      }),
    )
    fc.assert(
      fc.property(fc.json(), (payload) => {
        expect(typeof parse({ type: 'customers', payload }).ok).toBe('boolean')
      }),
    )
  })
})
