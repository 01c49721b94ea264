import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { customerToHash, stateToHash } from './customer-hash.ts'
import { parseEvent } from './envelope.ts'
import { isRawNumber } from './json.ts'
import { type PlacedRecord, readRecord } from './read-record.ts'

const RECEIVED = 5_000_000

const recordOf = (value: string | Buffer | null, more: Partial<PlacedRecord> = {}): PlacedRecord => ({
  topic: 't',
  partition: 2,
  offset: '10',
  timestamp: String(RECEIVED),
  key: Buffer.from('c'),
  value: value === null ? null : Buffer.from(value),
  ...more,
})
const body = (customerWithVehicles: string, id: unknown = 'e', timestamp: unknown = 7) =>
  `{"id":${JSON.stringify(id)},"timestamp":${JSON.stringify(timestamp)},"type":"customers","dealeruuid":"d",` +
  `"payload":${JSON.stringify(`{"customerWithVehicles":${customerWithVehicles}}`)}}`
const customer = (fields = '') => `{"customer":{"customerUuid":"c"${fields}}}`
const eventOf = (record: PlacedRecord) => {
  const read = readRecord(record)
  if (!read.ok) throw new Error(read.reason)
  return read.value
}

describe('a usable record', () => {
  it('readRecord returns the state of the customer, together with the raw record', () => {
    const record = recordOf(body(customer(',"firstName":"Ada","addresses":[{"zip":"1"}]')))
    expect(eventOf(record)).toEqual({
      customerUuid: 'c',
      version: { timestamp: 7, id: 'e' },
      dealerUuid: 'd',
      customer: { customerUuid: 'c', firstName: 'Ada' },
      addresses: [{ zip: '1' }],
      receivedAt: RECEIVED,
      source: { topic: 't', partition: 2, offset: '10' },
      raw: record,
    })
  })

  it('an integer that a double cannot hold is a raw number, and its TypeScript type says so', () => {
    const { id, firstName } = eventOf(recordOf(body(customer(',"id":12345678901234567890,"firstName":"Ada"')))).customer
    const number: bigint | number | null | undefined = isRawNumber(id) ? BigInt(id.rawJSON) : id
    const name: string | null | undefined = firstName
    expect([number, name]).toEqual([12345678901234567890n, 'Ada'])
  })

  it('a record is decoded by the charset that the sender declared', () => {
    const headers = { 'content-type': Buffer.from('text/plain; charset=ISO-8859-1') }
    const value = Buffer.from(body(customer(',"firstName":"Renée"')), 'latin1')
    expect(eventOf(recordOf(value, { headers })).customer.firstName).toBe('Renée')
  })

  it('a record becomes the same hash as in the projector', () => {
    const projecting = { appliedAt: 1, projection: 1 }
    fc.assert(
      fc.property(fc.json({ maxDepth: 2 }), fc.constantFrom('vehicles', 'addresses', 'other'), (value, name) => {
        const record = recordOf(body(`{"customer":{"customerUuid":"c","x":${value}},"${name}":${value}}`))
        const parsed = parseEvent(record.value ?? Buffer.alloc(0))
        if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('not a customers event')
        const place = { topic: 't', partition: 2, offset: '10', receivedAt: RECEIVED, ...projecting }
        expect(stateToHash(eventOf(record), projecting)).toEqual(customerToHash(parsed.value, place))
      }),
    )
  })
})

describe('an unusable record', () => {
  const manyFields = Array.from({ length: 100_001 }, (_, i) => `,"f${i}":1`).join('')
  const deep = `,"deep":${'['.repeat(100_000)}${']'.repeat(100_000)}`
  it.each([
    ['without a value', null, 'not-json', undefined],
    ['with a value that is not UTF-8', Buffer.from([0xff]), 'not-utf8', undefined],
    ['without a customer', body('{}'), 'missing-customer', 'e'],
    ['of another type', '{"type":"mpis","id":"e"}', 'not-a-customers-event', undefined],
    ['without an event id', body(customer(), ''), 'missing-event-id', 'c'],
    ['with a timestamp of 0', body(customer(), 'e', 0), 'invalid-timestamp', 'c'],
    [
      'with a timestamp in the far future',
      body(customer(), 'e', RECEIVED + 24 * 3_600_000 + 1),
      'too-far-in-future',
      'c',
    ],
    ['with too many fields', body(customer(manyFields)), 'too-many-fields', 'c'],
    ['nested too deep to be stored', body(customer(deep)), 'nested-too-deep', 'c'],
  ])(
    "readRecord refuses a record %s, and gives the projector's reason, and the id if it is readable",
    (_, value, reason, id) => {
      const { detail, ...rest } = readRecord(recordOf(value)) as { detail: string }
      expect(rest).toEqual({ ok: false, reason, ...(id !== undefined && { id }) })
      expect(detail).not.toBe('')
    },
  )

  it('readRecord refuses an event if its timestamp is later than its receipt by more than the given limit', () => {
    const record = recordOf(body(customer(), 'e', RECEIVED + 1001))
    expect(readRecord(record, { maxFutureMs: 1000 })).toMatchObject({ reason: 'too-far-in-future' })
    expect(readRecord(record, { maxFutureMs: 1001 }).ok).toBe(true)
  })

  it('readRecord never throws', () => {
    const bytes = fc.oneof(
      fc.uint8Array(),
      fc.json().map(Buffer.from),
      fc.json().map((json) => Buffer.from(body(json))),
    )
    fc.assert(
      fc.property(bytes, (value) => {
        expect(readRecord(recordOf(Buffer.from(value)))).toHaveProperty('ok')
      }),
    )
  })
})
