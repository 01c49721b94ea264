import { describe, expect, it } from 'vitest'
import { project, type RawRecord } from './project.ts'

const options = { topic: 't', partition: 2, projection: 1, maxFutureMs: 1000, now: 9_000_000, named: new Set<string>() }
const RECEIVED = 5_000_000

const body = (customerUuid: string, id: unknown, timestamp: unknown, fields: object = {}) =>
  JSON.stringify({
    id,
    timestamp,
    type: 'customers',
    payload: JSON.stringify({ customerWithVehicles: { customer: { customerUuid, ...fields } } }),
  })
const records = (...values: (string | null)[]): RawRecord[] =>
  values.map((value, i) => ({
    offset: String(10 + i),
    timestamp: String(RECEIVED),
    key: Buffer.from('key'),
    value: value === null ? null : Buffer.from(value),
  }))
const total = ({ newest, poison, stale, duplicate }: ReturnType<typeof project>) =>
  newest.length + poison.length + stale + duplicate

describe('project', () => {
  it('keeps the newest event of each customer and counts stale and duplicate ones', () => {
    const input = records(
      body('a', 'e2', 2),
      body('b', 'x', 1),
      body('a', 'e1', 1),
      body('a', 'e3', 3),
      body('a', 'e3', 3),
      body('a', 'e2', 2),
    )
    const projected = project(input, options)
    expect(projected.newest.map(({ customerUuid, version }) => [customerUuid, version.id])).toEqual([
      ['a', 'e3'],
      ['b', 'x'],
    ])
    expect(projected).toMatchObject({ stale: 3, duplicate: 1, poison: [] })
    expect(total(projected)).toBe(input.length)
  })

  it('quarantines an event that cannot become a hash, and keeps the next newest', () => {
    const fields = Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [`f${i}`, i]))
    const projected = project(records(body('a', 'e1', 1), body('a', 'e3', 3, fields), body('a', 'e2', 2)), options)
    expect(projected.newest.map(({ version }) => version.id)).toEqual(['e2'])
    expect(projected.poison).toMatchObject([{ reason: 'too-many-fields', id: 'a', record: { offset: '11' } }])
    expect(projected).toMatchObject({ stale: 1, duplicate: 0 })
  })

  it('the hash names the record that the event came from', () => {
    const [hash] = project(records(body('a', 'e', 7, { firstName: 'A' })), options).newest
    const fields = hash?.fieldsAndValues ?? []
    const value = (name: string) => fields[fields.indexOf(name) + 1]
    expect(['firstName', '_eventTimestamp', '_receivedAt', '_appliedAt', '_source', '_projection'].map(value)).toEqual([
      'A',
      '7',
      String(RECEIVED),
      '9000000',
      't/2/10',
      '1',
    ])
  })

  it.each([
    ['no bytes at all', null, 'not-json', undefined],
    ['text that is not JSON', 'nonsense', 'not-json', undefined],
    ['a customer without a uuid', body('', 'e', 1), 'missing-customer-uuid', 'e'],
    ['an event of another type', '{"type":"mpis","id":"e"}', 'not-a-customers-event', undefined],
    ['no event id', body('a', undefined, 1), 'missing-event-id', 'a'],
    ['a timestamp of 0', body('a', 'e', 0), 'invalid-timestamp', 'a'],
    ['a timestamp of 1e308', body('a', 'e', 1e308), 'invalid-timestamp', 'a'],
    ['a timestamp too far in the future', body('a', 'e', RECEIVED + 1001), 'too-far-in-future', 'a'],
  ])('quarantines %s', (_, value, reason, id) => {
    const projected = project(records(value), options)
    expect(projected.poison).toMatchObject([{ reason, ...(id !== undefined && { id }) }])
    expect(total(projected)).toBe(1)
  })

  it('quarantines a field nested 100 000 deep, and continues with the next record', () => {
    const deep = `{"id":"e","timestamp":1,"type":"customers","payload":{"customerWithVehicles":{"customer":{"customerUuid":"a","deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}}}}`
    const projected = project(records(deep, body('b', 'e', 1)), options)
    expect(projected.poison).toMatchObject([{ reason: 'nested-too-deep', id: 'a' }])
    expect(projected.newest).toHaveLength(1)
  })

  it('accepts a timestamp at the future limit, and one given as text', () => {
    expect(
      project(records(body('a', 'e', RECEIVED + 1000), body('b', 'e', '42')), options).newest.map(
        ({ version }) => version.timestamp,
      ),
    ).toEqual([RECEIVED + 1000, 42])
  })
})
