import {
  compareVersions,
  contentTypeOf,
  customerToHash,
  isTooFarInFuture,
  parseEvent,
  readState,
  readVersion,
  stateToHash,
  type Version,
} from '@customer-stream/schemas'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type NewestCustomer, project, type RawRecord } from './project.ts'

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
  it("only each customer's newest event is returned, and stale and duplicate events are counted", () => {
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

  it('if the newest event cannot become a hash, it is quarantined, and the next newest event is used', () => {
    const fields = Object.fromEntries(Array.from({ length: 100_001 }, (_, i) => [`f${i}`, i]))
    const projected = project(records(body('a', 'e1', 1), body('a', 'e3', 3, fields), body('a', 'e2', 2)), options)
    expect(projected.newest.map(({ version }) => version.id)).toEqual(['e2'])
    expect(projected.poison).toMatchObject([{ reason: 'too-many-fields', id: 'a', record: { offset: '11' } }])
    expect(projected).toMatchObject({ stale: 1, duplicate: 0 })
  })

  it('the hash names the record of its event', () => {
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
    ['a record without a value', null, 'not-json', undefined],
    ['text that is not JSON', 'nonsense', 'not-json', undefined],
    ['a customer without a uuid', body('', 'e', 1), 'missing-customer-uuid', 'e'],
    ['an event of another type', '{"type":"mpis","id":"e"}', 'not-a-customers-event', undefined],
    ['an event without an id', body('a', undefined, 1), 'missing-event-id', 'a'],
    ['a timestamp of 0', body('a', 'e', 0), 'invalid-timestamp', 'a'],
    ['a timestamp of 1e308', body('a', 'e', 1e308), 'invalid-timestamp', 'a'],
    ['a timestamp too far in the future', body('a', 'e', RECEIVED + 1001), 'too-far-in-future', 'a'],
  ])('a record with this problem is quarantined: %s', (_, value, reason, id) => {
    const projected = project(records(value), options)
    expect(projected.poison).toMatchObject([{ reason, ...(id !== undefined && { id }) }])
    expect(total(projected)).toBe(1)
  })

  it('each newest event has its state document, if documents are wanted', () => {
    const input = records(body('a', 'e1', 1, { firstName: 'Ada' }), body('b', 'x', 1))
    const [without] = project(input, options).newest
    expect(without?.document).toBeUndefined()
    for (const { document = '', fieldsAndValues } of project(input, { ...options, withDocuments: true }).newest) {
      const state = readState(Buffer.from(document))
      const hash = state.ok && stateToHash(state.value, { appliedAt: options.now, projection: options.projection })
      expect(hash).toMatchObject({ ok: true, value: { fieldsAndValues } })
    }
  })

  it('a record with a field nested 100 000 deep is quarantined, and the next record is applied', () => {
    const nested = '['.repeat(100_000) + ']'.repeat(100_000)
    const customer = `{"customerUuid":"a","deep":${nested}}`
    const payload = `{"customerWithVehicles":{"customer":${customer}}}`
    const deep = `{"id":"e","timestamp":1,"type":"customers","payload":${payload}}`
    const projected = project(records(deep, body('b', 'e', 1)), options)
    expect(projected.poison).toMatchObject([{ reason: 'nested-too-deep', id: 'a' }])
    expect(projected.newest).toHaveLength(1)
  })

  it('a timestamp at the future limit is accepted, and a timestamp may be a text', () => {
    expect(
      project(records(body('a', 'e', RECEIVED + 1000), body('b', 'e', '42')), options).newest.map(
        ({ version }) => version.timestamp,
      ),
    ).toEqual([RECEIVED + 1000, 42])
  })
})

describe('only the version of superseded events is read', () => {
  const keyed = (key: string | null, value: string, more: Partial<RawRecord> = {}): Omit<RawRecord, 'offset'> => ({
    timestamp: String(RECEIVED),
    key: key === null ? null : Buffer.from(key),
    value: Buffer.from(value),
    ...more,
  })
  const inOrder = (...given: Omit<RawRecord, 'offset'>[]): RawRecord[] =>
    given.map((record, i) => ({ ...record, offset: String(10 + i) }))
  const unusable = (customerUuid: string, id: string, timestamp: number) =>
    body(customerUuid, id, timestamp).replace('"{', '"[{')
  const offsetsOf = ({ poison }: ReturnType<typeof project>) => poison.map(({ record }) => record.offset)

  it('an unusable event counts as stale or duplicate if a usable event supersedes it', () => {
    const projected = project(
      inOrder(keyed('a', unusable('a', 'e1', 1)), keyed('a', body('a', 'e2', 2)), keyed('a', unusable('a', 'e2', 2))),
      options,
    )
    expect(projected).toMatchObject({ poison: [], stale: 1, duplicate: 1 })
    expect(projected.newest.map(({ version }) => version.id)).toEqual(['e2'])
  })

  it('an unusable event that is newer than all usable events is quarantined', () => {
    const projected = project(
      inOrder(
        keyed('a', unusable('a', 'e4', 4)),
        keyed('a', unusable('a', 'e3', 3)),
        keyed('a', body('a', 'e2', 2)),
        keyed('a', unusable('a', 'e1', 1)),
      ),
      options,
    )
    expect(offsetsOf(projected)).toEqual(['10', '11'])
    expect(projected).toMatchObject({ stale: 1, duplicate: 0 })
    expect(projected.newest.map(({ version }) => version.id)).toEqual(['e2'])
  })

  it.each([
    ['has a charset', keyed('a', unusable('a', 'e', 1), { headers: { 'content-type': 'text/plain' } })],
    ['is too far in the future', keyed('a', body('a', 'e', RECEIVED + 1001))],
    ['is of another customer than its key', keyed('a', body('b', 'e', undefined))],
    ['has no readable version', keyed('a', body('a', 'e', 'x'))],
  ])('an unusable event that %s is quarantined, although a newer event is usable', (_, record) => {
    const projected = project(inOrder(record, keyed('a', body('a', 'e2', 2))), options)
    expect(offsetsOf(projected)).toEqual(['10'])
  })

  it('a record named in the setting is quarantined, even if its customer has a newer event', () => {
    const named = new Set(['t/2/10'])
    const projected = project(inOrder(keyed('a', body('a', 'e1', 1)), keyed('a', body('a', 'e2', 2))), {
      ...options,
      named,
    })
    expect(projected.poison).toMatchObject([{ reason: 'named-by-setting', record: { offset: '10' } }])
  })

  it("a customer's newest event is found even if the record keys differ", () => {
    const projected = project(
      inOrder(
        keyed('a', body('a', 'e1', 1)),
        keyed('a', body('a', 'e3', 3)),
        keyed('b', body('a', 'e2', 2)),
        keyed(null, body('a', 'e4', 4)),
      ),
      options,
    )
    expect(projected.newest.map(({ version }) => version.id)).toEqual(['e4'])
    expect(projected).toMatchObject({ stale: 3, duplicate: 0, poison: [] })
  })

  /**
   * Projects in a simple way: parses every record. The projector must get the same result, although
   * it parses as few records as possible.
   */
  const parseAll = (given: readonly RawRecord[], named: ReadonlySet<string>) => {
    const poison = new Set<string>()
    const events: { customerUuid: string; version: Version; hash: NewestCustomer; offset: string }[] = []
    for (const record of given) {
      const parsed = parseEvent(record.value ?? Buffer.alloc(0), { contentType: contentTypeOf(record) })
      const event = parsed.ok && parsed.value.kind === 'customers' ? parsed.value : undefined
      const version = event && readVersion(event.envelope)
      const receivedAt = Number(record.timestamp)
      const place = {
        topic: 't',
        partition: 2,
        offset: record.offset,
        receivedAt,
        appliedAt: options.now,
        projection: 1,
      }
      const hash = event && customerToHash(event, place)
      if (
        named.has(`t/2/${record.offset}`) ||
        !event ||
        !version?.ok ||
        isTooFarInFuture(version.value, receivedAt, 1000)
      )
        poison.add(record.offset)
      else if (hash?.ok)
        events.push({
          customerUuid: event.customerUuid,
          version: version.value,
          hash: { ...hash.value, record },
          offset: record.offset,
        })
    }
    const newest = new Map<string, (typeof events)[number]>()
    for (const event of events) {
      const kept = newest.get(event.customerUuid)
      if (!kept || compareVersions(event.version, kept.version) > 0) newest.set(event.customerUuid, event)
    }
    return { newest, poison }
  }

  it('the hashes are the same as if every record were parsed, and each record is counted once', () => {
    const uuid = fc.constantFrom('a', 'b', 'c', 'ü')
    const key = fc.option(fc.constantFrom('a', 'b', 'c', 'ü', 'dealer'), { nil: null, freq: 9 })
    const timestamp = fc.constantFrom<unknown>(1, 2, 3, '2', RECEIVED + 1001, 0, undefined)
    const shape = fc.constantFrom(
      'usable',
      'usable',
      'usable',
      'unusable',
      'object',
      'legacy',
      'other',
      'broken',
      'latin1',
    )
    const record = fc
      .record({ uuid, key, timestamp, shape, id: fc.constantFrom('x', 'y', 'é', ''), rightKey: fc.boolean() })
      .map((made) => {
        const text = body(made.uuid, made.id, made.timestamp, { firstName: made.id })
        const value = {
          usable: text,
          latin1: text,
          unusable: text.replace('"{', '"[{'),
          object: JSON.stringify({ ...JSON.parse(text), payload: JSON.parse(JSON.parse(text).payload) }),
          legacy: text.replace('"type"', '"dataType"'),
          other: text.replace('"customers"', '"mpis"'),
          broken: text.slice(0, -3),
        }[made.shape as 'usable']
        const headers = { 'content-type': Buffer.from('text/plain; charset=ISO-8859-1') }
        return made.shape === 'latin1'
          ? keyed(made.rightKey ? made.uuid : made.key, '', { value: Buffer.from(value, 'latin1'), headers })
          : keyed(made.rightKey ? made.uuid : made.key, value)
      })
    fc.assert(
      fc.property(fc.array(record, { maxLength: 12 }), fc.boolean(), (given, naming) => {
        const all = inOrder(...given)
        const named = new Set(naming ? ['t/2/11', 't/2/13'] : [])
        const projected = project(all, { ...options, named })
        const slow = parseAll(all, named)
        expect(total(projected)).toBe(all.length)
        expect(new Map(projected.newest.map((hash) => [hash.customerUuid, hash]))).toEqual(
          new Map([...slow.newest].map(([customerUuid, { hash }]) => [customerUuid, hash])),
        )
        // An unusable event is poison, unless a usable event supersedes it.
        const found = new Set(offsetsOf(projected))
        for (const offset of found) expect(slow.poison).toContain(offset)
        for (const offset of slow.poison) {
          if (found.has(offset)) continue
          const left = all.find((one) => one.offset === offset)
          const envelope = JSON.parse(left?.value?.toString() ?? '')
          const version = readVersion(envelope)
          const winner = slow.newest.get(left?.key?.toString() ?? '')
          expect(winner && version.ok && compareVersions(version.value, winner.version)).toBeLessThanOrEqual(0)
        }
      }),
      { seed: 5, numRuns: 800 },
    )
  })
})
