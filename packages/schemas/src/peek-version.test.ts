import { readFileSync } from 'node:fs'
import { makeCustomersEvent, Random } from '@customer-stream/simulator'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseEvent } from './envelope.ts'
import { peekVersion } from './peek-version.ts'
import { readVersion } from './version.ts'

const payload = (customerUuid: string) => `{"customerWithVehicles":{"customer":{"customerUuid":"${customerUuid}"}}}`
const body = (fields: object) =>
  Buffer.from(JSON.stringify({ id: 'e', timestamp: 7, type: 'customers', payload: payload('c'), ...fields }))

/**
 * Fails if the event is usable, but its customer or version differs from the result of
 * `peekVersion`.
 */
const expectNoContradiction = (bytes: Buffer, customerUuid: string) => {
  const peeked = peekVersion(bytes, customerUuid)
  const parsed = parseEvent(bytes)
  if (peeked === undefined || !parsed.ok || parsed.value.kind !== 'customers') return
  const version = readVersion(parsed.value.envelope)
  expect({ customerUuid: parsed.value.customerUuid, version }).toEqual({
    customerUuid,
    version: { ok: true, value: peeked },
  })
}

describe('peekVersion', () => {
  it('peekVersion reads the version of each event of the simulator', () => {
    const persona = new Random(7)
    for (let i = 0; i < 200; i++) {
      const event = makeCustomersEvent({}, { persona, change: new Random(i) })
      const { id, timestamp } = event
      expect(peekVersion(Buffer.from(event.body), event.customerUuid)).toEqual({ id, timestamp })
    }
  })

  it("peekVersion reads the version of the vendor's sample", () => {
    const sample = readFileSync(new URL('./fixtures/customers.derived-as-delivered.json', import.meta.url))
    expect(peekVersion(sample, 'Wq7nJhXtGpBmNd3KvRzYf2kAcEiLoU8sTPeCbHwOyM1')).toEqual({
      id: 'a7b9c1d3-e5f7-4891-ab23-cd45ef678901',
      timestamp: 1728542293678,
    })
  })

  it.each([
    ['the timestamp is text', body({ timestamp: '42' }), { id: 'e', timestamp: 42 }],
    [
      'the timestamp is an integer with a fraction of zeros',
      Buffer.from(body({}).toString().replace(':7,', ':1728542293678.000,')),
      { id: 'e', timestamp: 1728542293678 },
    ],
    [
      'a member occurs twice',
      Buffer.from(body({}).toString().replace('{', '{"id":"first",')),
      { id: 'e', timestamp: 7 },
    ],
    [
      'names of customers are not ASCII',
      body({ payload: payload('c').replace('}', ',"firstName":"王"}') }),
      { id: 'e', timestamp: 7 },
    ],
  ])('peekVersion reads the version if %s', (_, bytes, version) => {
    expect(peekVersion(bytes, 'c')).toEqual(version)
    expectNoContradiction(bytes, 'c')
  })

  it.each([
    ['the body is not JSON', Buffer.from('{"id":"e","timestamp":7,"type":"customers"')],
    ['the body is not an object', Buffer.from('null')],
    ['the body has a byte order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), body({})])],
    ['the type is not customers', body({ type: 'mpis' })],
    ['the id is missing', body({ id: undefined })],
    ['the id is not ASCII', body({ id: 'é' })],
    ['the timestamp is not an integer', body({ timestamp: 1.5 })],
    ['the payload is an object', body({ payload: JSON.parse(payload('c')) })],
    ['the payload names no customer', body({ payload: '{}' })],
    ['the payload names another customer', body({ payload: payload('d') })],
    ['the payload names two customers', body({ payload: payload('c') + payload('d') })],
    [
      'the payload may spell the name of a field with an escape',
      body({ payload: payload('c').replace('{', '{"\\u0063":1,') }),
    ],
  ])('peekVersion returns undefined if %s', (_, bytes) => {
    expect(peekVersion(bytes, 'c')).toBeUndefined()
  })

  it.each(['', 'ü', 'a"b', 'a\\b', 'a\n'])('peekVersion returns undefined for the key %j', (key) => {
    expect(peekVersion(body({ payload: JSON.stringify({ customerUuid: key }) }), key)).toBeUndefined()
  })

  it('peekVersion and parseEvent agree for any bytes', () => {
    const uuid = fc.constantFrom('c', 'd', '\\u0063', 'ü', '')
    const name = fc.constantFrom('customerUuid', 'customer\\u0055uid', 'other')
    const member = fc.tuple(name, uuid).map(([field, text]) => `"${field}":"${text}"`)
    const inner = fc.array(member, { maxLength: 3 }).map((members) => members.join(','))
    const spelled = fc.oneof(
      fc.tuple(inner, inner).map(([a, b]) => `{"customerWithVehicles":{"customer":{${a}},"vehicles":[{${b}}]}}`),
      inner.map((a) => `{"x":1,${a}`),
    )
    const value = fc.oneof(
      fc.constantFrom('7', '7.0', '"7"', '"07"', '0', '-7', '7e0', '9007199254740993', '1728542293678.000', 'null'),
      fc.constantFrom('"e"', '"é"', '"\\u0065"', '""', '"customers"', '{"id":"x","timestamp":9}', 'tru', '[1'),
      spelled.map((text) => JSON.stringify(text)),
      spelled,
    )
    const key = fc.constantFrom('id', 'timestamp', 'type', 'payload', 'dataType', '\\u0069d', 'Id', '__proto__')
    const fields = fc.array(fc.tuple(key, value), { maxLength: 8 })
    const fixed = fc.tuple(spelled, fields, fields).map(([text, before, after]) => {
      const own = [
        ['id', '"e"'],
        ['timestamp', '7'],
        ['type', '"customers"'],
        ['payload', JSON.stringify(text)],
      ]
      return `{${[...before, ...own, ...after].map(([k, v]) => `"${k}":${v}`).join(',')}}`
    })
    const cut = fc.record({
      text: fixed,
      at: fc.nat(400),
      cut: fc.constantFrom(0, 1, 2),
      put: fc.constantFrom('', ' ', '"', '\\', '}', '\u00ff'),
    })
    fc.assert(
      fc.property(cut, ({ text, at, cut: removed, put }) => {
        const changed = removed === 0 ? text : text.slice(0, at) + put + text.slice(at + removed)
        for (const customerUuid of ['c', 'd']) {
          expectNoContradiction(Buffer.from(changed), customerUuid)
          expectNoContradiction(Buffer.from(changed, 'latin1'), customerUuid)
        }
      }),
      { seed: 11, numRuns: 5000 },
    )
  })
})
