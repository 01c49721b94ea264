import { customerToHash, isTooFarInFuture, parseEvent } from '@customer-stream/schemas'
import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readEvent } from './read-event.ts'

const MAX_FUTURE_MS = 1000
const RECEIVED_AT = 5000

/** Returns the result of the projector's code, which was written independently of readEvent. */
const byProjector = (
  body: Buffer,
  contentType: string | undefined,
): { reason: string } | { customerUuid: string; fields: Map<string, string> } => {
  const parsed = parseEvent(body, { contentType })
  if (!parsed.ok) return { reason: parsed.reason }
  if (parsed.value.kind !== 'customers') return { reason: 'not-a-customers-event' }
  const hash = customerToHash(parsed.value, {
    topic: 't',
    partition: 0,
    offset: '0',
    receivedAt: 1,
    appliedAt: 1,
    projection: 1,
  })
  if (!hash.ok) return { reason: hash.reason }
  if (isTooFarInFuture(hash.value.version, RECEIVED_AT, MAX_FUTURE_MS)) return { reason: 'too-far-in-future' }
  const fields = new Map<string, string>()
  for (let i = 0; i < hash.value.fieldsAndValues.length; i += 2)
    fields.set(String(hash.value.fieldsAndValues[i]).toWellFormed(), String(hash.value.fieldsAndValues[i + 1]))
  for (const field of ['_receivedAt', '_appliedAt', '_source', '_projection']) fields.delete(field)
  return { customerUuid: hash.value.customerUuid, fields }
}

const numbers = fc.constantFrom(
  '0',
  '-0',
  '1.50',
  '1e3',
  '1e400',
  '1e-7',
  '123456789012345678',
  '0.00000000000000001',
  '1.0000000000000000',
  '-9007199254740993',
)
const strings = fc.oneof(anyText(), fc.constantFrom('', 'true', '1.50', ' ', '_x', '__x'))
const { json } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 2 },
    strings.map((text) => JSON.stringify(text)),
    numbers,
    fc.constantFrom('null', 'true', 'false', '[]', '{}'),
    fc.array(tie('json'), { maxLength: 3 }).map((items) => `[${items.join(',')}]`),
  ),
}))
const names = fc.oneof(
  fc.constantFrom(
    'firstName',
    'vehicles',
    'addresses',
    'dealerUuid',
    'departmentUuid',
    'note',
    '_eventId',
    '__proto__',
    '_',
    'customer',
  ),
  anyText().filter((name) => name.isWellFormed()),
)
const objects = fc.uniqueArray(fc.tuple(names, json), { selector: ([name]) => name, maxLength: 6 })
const written = (entries: readonly (readonly [string, string])[]) =>
  `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`
const sometimes = (usual: string, ...rare: string[]) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, json, fc.constantFrom(...rare, usual))

const bodies = fc
  .record({
    type: sometimes('"customers"', '"appointments"', 'null'),
    dataType: sometimes('"customers"', 'null'),
    id: sometimes('"e"', '""', '5'),
    timestamp: sometimes('1000', '"1000"', '6000', '6001', '0', '1000.000000000000000', '-1', '1.5'),
    dealeruuid: json,
    uuid: sometimes('"c"', '""', '"\\ud800"'),
    customer: objects,
    beside: objects,
    isText: fc.boolean(),
  })
  .map(({ customer, beside, uuid, isText, type, dataType, id, timestamp, dealeruuid }) => {
    const inner = written([...customer.filter(([name]) => name !== 'customerUuid'), ['customerUuid', uuid]])
    const payload = written([
      ['customerWithVehicles', written([...beside.filter(([name]) => name !== 'customer'), ['customer', inner]])],
    ])
    const envelope = { type, dataType, id, timestamp, dealeruuid, payload: isText ? JSON.stringify(payload) : payload }
    return Buffer.from(written(Object.entries(envelope)))
  })

const contentTypes = fc.constantFrom(
  undefined,
  'text/plain',
  ...['utf-8', 'ISO8859_1', '"windows-1252"', 'US-ASCII', 'UTF-16', 'unknown'].map(
    (charset) => `text/plain; charset=${charset}`,
  ),
)

it('readEvent agrees with the projector on any event', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        { weight: 9, arbitrary: bodies },
        fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        bodies.map((body) =>
          Buffer.concat([Buffer.from([0xfe, 0xff]), Buffer.from(body.toString(), 'utf16le').swap16()]),
        ),
        json.map((text) => Buffer.from(text)),
      ),
      contentTypes,
      (body, contentType) => {
        const reading = readEvent(body, { receivedAt: RECEIVED_AT, maxFutureMs: MAX_FUTURE_MS, contentType })
        const expected = byProjector(body, contentType)
        const { usable } = reading
        const read = usable
          ? { customerUuid: reading.event.customerUuid, fields: new Map(reading.event.fields) }
          : { reason: reading.reason }
        expect(read).toEqual(expected)
      },
    ),
    { numRuns: 2000 },
  )
})

it('readEvent refuses a record without a value, and a record with too deep nesting', () => {
  expect(readEvent(null, { receivedAt: 1, maxFutureMs: 1 })).toEqual({ usable: false, reason: 'not-json' })
  const deep = `${'['.repeat(100_000)}12345678901234567890${']'.repeat(100_000)}`
  const body = (payload: string) =>
    Buffer.from(
      '{"type":"customers","id":"e","timestamp":1,"payload":' +
        `{"customerWithVehicles":{"customer":{"customerUuid":"c","deep":${payload}}}}}`,
    )
  expect(readEvent(body(deep), { receivedAt: 1, maxFutureMs: 1 })).toEqual({ usable: false, reason: 'nested-too-deep' })
  expect(readEvent(body(deep.replace('12345678901234567890', '1')), { receivedAt: 1, maxFutureMs: 1 })).toEqual({
    usable: false,
    reason: 'nested-too-deep',
  })
})

const payloadOf = (customerUuid: string) => `[{"customer":{"customerUuid":"${customerUuid}"}}`
const unusable = (fields: object = {}) =>
  JSON.stringify({ id: 'e', timestamp: 7, type: 'customers', payload: payloadOf('c'), ...fields })
const supersedableOf = (
  body: string | Buffer,
  { key = 'c', contentType }: { key?: string; contentType?: string } = {},
) => {
  const options = { key: Buffer.from(key), receivedAt: RECEIVED_AT, maxFutureMs: MAX_FUTURE_MS, contentType }
  const reading = readEvent(Buffer.from(body), options)
  return reading.usable ? 'usable' : reading.supersedable
}

it('readEvent returns customer and version of an unusable record that may be superseded', () => {
  const superseded = { customerUuid: 'c', id: 'e', timestamp: 7 }
  expect(supersedableOf(unusable())).toEqual(superseded)
  expect(supersedableOf(unusable({ timestamp: '7' }))).toEqual(superseded)
  expect(supersedableOf(Buffer.from(unusable({ x: 'é' }), 'latin1'))).toEqual(superseded)
  const fields = Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [`f${i}`, 1]))
  const payload = { customerWithVehicles: { customer: { customerUuid: 'c', ...fields } } }
  expect(supersedableOf(unusable({ payload }), { key: 'another' })).toEqual(superseded)
})

it.each([
  ['is not JSON', unusable().slice(0, -1), {}],
  ['declares a content type', unusable(), { contentType: 'text/plain' }],
  ['has another key', unusable(), { key: 'd' }],
  ['names no customer', unusable({ payload: '[' }), {}],
  ['names two customers', unusable({ payload: payloadOf('c') + payloadOf('d') }), {}],
  ['may spell names with escapes', unusable({ payload: `${payloadOf('c')}"\\u0061"` }), {}],
  ['has an object as payload', unusable({ payload: { customerUuid: 'c' } }), {}],
  ['has another type', unusable({ type: 'mpis' }), {}],
  ['has no id', unusable({ id: '' }), {}],
  ['has an id that is not ASCII', unusable({ id: 'é' }), {}],
  ['has no timestamp', unusable({ timestamp: 0 }), {}],
  ['is too far in the future', unusable({ timestamp: RECEIVED_AT + MAX_FUTURE_MS + 1 }), {}],
])('readEvent returns no version of an unusable record that %s', (_, body, options) => {
  expect(supersedableOf(body, options)).toBeUndefined()
})
