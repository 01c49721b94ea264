import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { customerToHash, stateToHash } from './customer-hash.ts'
import { type CustomersEvent, parseEvent } from './envelope.ts'
import { type CustomerState, readState, readStateRecord, stateOf, writeState } from './state.ts'

const from = { topic: 't', partition: 3, offset: '42', receivedAt: 1000, appliedAt: 2000, projection: 1 }

const eventOf = (body: string): CustomersEvent => {
  const parsed = parseEvent(Buffer.from(body))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error(`not a customers event: ${body}`)
  return parsed.value
}
const eventWith = (customerWithVehicles: string, envelope = '') =>
  eventOf(
    `{"id":"e","timestamp":5,"type":"customers"${envelope},"payload":{"customerWithVehicles":${customerWithVehicles}}}`,
  )
const stateWith = (customerWithVehicles: string, envelope = ''): CustomerState => {
  const state = stateOf(eventWith(customerWithVehicles, envelope), from)
  if (!state.ok) throw new Error(state.reason)
  return state.value
}
const expectOk = <T>(result: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!result.ok) throw new Error(result.reason)
  return result.value
}

describe('the state of an event', () => {
  it('the state of an event has the members of the contract, with addresses beside the customer', () => {
    const customer = '{"customerUuid":"c","firstName":"Ada","addresses":[{"zip":"1"}],"loyalty":7}'
    const state = stateWith(`{"customer":${customer},"vehicles":[{"vin":"V"}],"segment":"a"}`, ',"dealeruuid":"d"')
    expect(writeState(state)).toBe(
      '{"customerUuid":"c","version":{"timestamp":5,"id":"e"},"dealerUuid":"d",' +
        '"customer":{"customerUuid":"c","firstName":"Ada","loyalty":7},"vehicles":[{"vin":"V"}],' +
        '"addresses":[{"zip":"1"}],"other":{"segment":"a"},"receivedAt":1000,' +
        '"source":{"topic":"t","partition":3,"offset":"42"}}',
    )
  })

  it('the state of an event leaves out members that are null', () => {
    const state = stateWith('{"customer":{"customerUuid":"c"},"vehicles":null,"addresses":null}', ',"dealeruuid":null')
    expect(Object.keys(state)).toEqual(['customerUuid', 'version', 'customer', 'receivedAt', 'source'])
  })

  it('the state keeps addresses both inside and beside the customer', () => {
    const state = stateWith('{"customer":{"customerUuid":"c","addresses":[1]},"addresses":[2]}')
    expect(state).toMatchObject({ addresses: [2], customer: { addresses: [1] } })
  })

  it('a document that is written and read again gives the same hash as the event', () => {
    const name = fc.oneof(
      anyText(),
      fc.constantFrom('addresses', 'vehicles', 'dealerUuid', '__proto__', '_eventId', '\\ud800', 'customer', 'other'),
    )
    const number = fc.constantFrom('12345678901234567890', '1e400', '-0.12345678901234567890', '1.0', '1E2')
    const leaf = fc.oneof(number, fc.json({ maxDepth: 1 }), fc.constant('"\\ud800"'))
    const members = fc
      .array(fc.tuple(name, leaf), { maxLength: 5 })
      .map((pairs) => pairs.map(([key, value]) => `${JSON.stringify(key).replace('\\\\', '\\')}:${value}`))
    fc.assert(
      fc.property(members, members, fc.option(leaf), (inside, beside, dealer) => {
        const customer = `{${[...inside.filter((m) => !m.startsWith('"customerUuid"')), '"customerUuid":"c"'].join()}}`
        const around = [...beside.filter((m) => !m.startsWith('"customer"')), `"customer":${customer}`].join()
        const event = eventWith(`{${around}}`, dealer === null ? '' : `,"dealeruuid":${dealer}`)
        const read = readState(Buffer.from(writeState(expectOk(stateOf(event, from)))))
        const again = expectOk(stateToHash(expectOk(read), from))
        expect(again).toEqual(expectOk(customerToHash(event, from)))
      }),
    )
  })
})

describe('the size of a document', () => {
  /**
   * Bytes of a document that do not come from the body: the place, the times and the names of the
   * members.
   */
  const FIXED_BYTES = 300
  const sizesOf = (body: Buffer, contentType: string) => {
    const parsed = parseEvent(body, { contentType })
    if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('not a customers event')
    const { customerUuid } = parsed.value
    return {
      body: body.length,
      document: Buffer.byteLength(writeState(expectOk(stateOf(parsed.value, from)))),
      key: Buffer.byteLength(customerUuid),
    }
  }
  const bodyWith = (customerUuid: string, fields: string) =>
    '{"id":"e","timestamp":5,"type":"customers","payload":{"customerWithVehicles":{"customer":' +
    `{"customerUuid":${customerUuid}${fields}}}}}`

  it('a document has at most 4.4 bytes per byte of its body, plus twice the key and a fixed number of bytes', () => {
    const number = fc.oneof(
      fc.constantFrom('1e20', '-9E20', '1e21', '1e-6', '1.5e20', '1e300', '1e0', '12345678901234567890', '1e-400'),
      fc.tuple(fc.integer({ min: -99, max: 99 }), fc.integer({ min: -30, max: 30 })).map(([n, e]) => `${n}e${e}`),
      fc.double().filter(Number.isFinite).map(String),
    )
    const text = fc.string({ unit: fc.constantFrom('€', '"', '\\', '\u0001', 'é', 'a', '\x7f'), maxLength: 30 })
    const value = fc.oneof(
      number,
      fc.tuple(number, fc.nat(500)).map(([one, count]) => `[${Array(count).fill(one)}]`),
      text.map((one) => JSON.stringify(one)),
      fc.constant('"\\ud800"'),
    )
    const fields = fc.dictionary(text, value, { maxKeys: 5 }).map((members) =>
      Object.entries(members)
        .map(([name, one]) => `,${JSON.stringify(`x${name}`)}:${one}`)
        .join(''),
    )
    const charset = fc.constantFrom('utf-8', 'windows-1252')
    fc.assert(
      fc.property(text, fields, charset, (uuid, some, encoding) => {
        const body = bodyWith(JSON.stringify(`c${uuid}`), some)
        const bytes = encoding === 'utf-8' ? Buffer.from(body) : Buffer.from(body.replaceAll('€', '\x80'), 'latin1')
        const { document, key, ...sizes } = sizesOf(bytes, `text/plain; charset=${encoding}`)
        expect(document).toBeLessThanOrEqual(4.4 * sizes.body + 2 * key + FIXED_BYTES)
      }),
    )
  })

  it('a document needs 4.4 times the bytes of its body for 1e20, and 3 times for text in windows-1252', () => {
    const numbers = sizesOf(Buffer.from(bodyWith('"c"', `,"x":[${Array(100_000).fill('1e20')}]`)), 'text/plain')
    expect(numbers.document / numbers.body).toBeCloseTo(4.4, 2)
    const text = Buffer.from(bodyWith('"c"', `,"x":"${'\x80'.repeat(500_000)}"`), 'latin1')
    const { document, body } = sizesOf(text, 'text/plain; charset=windows-1252')
    expect(document / body).toBeCloseTo(3, 2)
  })
})

describe('readState', () => {
  const good = { customerUuid: 'c', version: { timestamp: 5, id: 'e' }, customer: { customerUuid: 'c' }, receivedAt: 1 }
  const source = { topic: 't', partition: 0, offset: '7' }
  const read = (value: unknown) => readState(Buffer.from(JSON.stringify(value)))

  it('readState keeps members of a newer schema', () => {
    expect(read({ ...good, source, consent: { email: true } })).toMatchObject({
      ok: true,
      value: { consent: { email: true } },
    })
  })

  it('readState gives the reason if a value is not a document', () => {
    expect(readState(Buffer.from([0xff]))).toMatchObject({ reason: 'not-utf8' })
    expect(readState(Buffer.from('{'))).toMatchObject({ reason: 'not-json' })
    expect(readState(Buffer.from('{"a":1e999,"b":'.concat('['.repeat(50_000), ']'.repeat(50_000), '}')))).toMatchObject(
      {
        reason: 'nested-too-deep',
      },
    )
    for (const value of [null, 5, 'text', []]) expect(read(value)).toMatchObject({ reason: 'not-a-state-document' })
    const text = JSON.stringify({ ...good, source, other: 0 }).replace('"other":0', '"other":1e400')
    expect(readState(Buffer.from(text))).toMatchObject({ detail: 'other is missing or invalid' })
  })

  it.each([
    ['customerUuid', { customerUuid: '' }],
    ['customerUuid', { customerUuid: 5 }],
    ['version', { version: { timestamp: '5', id: 'e' } }],
    ['version', { version: { timestamp: 0, id: 'e' } }],
    ['version', { version: { timestamp: 5 } }],
    ['customer', { customer: [] }],
    ['customer', { customer: { customerUuid: 'other' } }],
    ['receivedAt', { receivedAt: 1.5 }],
    ['receivedAt', { receivedAt: '1' }],
    ['other', { other: 'text' }],
    ['source', { source: undefined }],
    ['source', { source: { ...source, partition: -1 } }],
    ['source', { source: { ...source, offset: 'x' } }],
    ['source', { source: { ...source, offset: 7 } }],
  ])('readState names the member %s if it is invalid: %j', (member, change) => {
    expect(read({ ...good, source, ...change })).toEqual({
      ok: false,
      reason: 'not-a-state-document',
      detail: `${member} is missing or invalid`,
    })
  })
})

it.each(['12345678901234567890', '1e400', '{"toString":1}', '[["7"]]'])(
  'readState refuses a document whose offset is the JSON %s',
  (offset) => {
    const place = `"source":{"topic":"t","partition":0,"offset":${offset}}`
    const value = Buffer.from(
      `{"customerUuid":"c","version":{"timestamp":5,"id":"e"},"customer":{"customerUuid":"c"},"receivedAt":1,${place}}`,
    )
    expect(readState(value)).toMatchObject({ ok: false, detail: 'source is missing or invalid' })
  },
)

describe('readStateRecord', () => {
  const document = writeState(stateWith('{"customer":{"customerUuid":"c"}}'))
  const read = (key: string | Buffer | null, value: string | null) =>
    readStateRecord({
      key: key === null ? null : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
    })

  it('readStateRecord returns the document of a customer, or null for a tombstone', () => {
    expect(read('c', document)).toMatchObject({
      ok: true,
      value: { customerUuid: 'c', state: { version: { id: 'e' } } },
    })
    expect(read('c', null)).toEqual({ ok: true, value: { customerUuid: 'c', state: null } })
  })

  it.each([
    ['missing-key', null, document],
    ['missing-key', null, null],
    ['missing-key', '', null],
    ['invalid-key', Buffer.from([0xff]), document],
    ['invalid-key', Buffer.from([0xff]), null],
    ['wrong-key', 'C', document],
    ['wrong-key', '\ufeffc', document],
    ['not-json', 'c', ''],
    ['not-a-state-document', 'c', '{}'],
  ])('readStateRecord gives the reason %s for a record with the key %j and the value %j', (reason, key, value) => {
    expect(read(key, value)).toMatchObject({ ok: false, reason })
  })

  it('a byte order mark in the key of a tombstone is part of the customerUuid', () => {
    expect(read('\ufeffc', null)).toMatchObject({ value: { customerUuid: '\ufeffc' } })
  })
})
