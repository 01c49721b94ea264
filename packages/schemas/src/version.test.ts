import { anyText } from '@customer-stream/testing/any-text'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compareVersions,
  decide,
  isTooFarInFuture,
  MAX_FUTURE_MS,
  readVersion,
  type Version,
  versionBytes,
} from './version.ts'

const version = fc.record({
  timestamp: fc.integer({ min: 1, max: 4 }),
  id: anyText({ maxLength: 4 }),
})

describe('compareVersions', () => {
  it('compareVersions compares ids only if the timestamps are equal', () => {
    expect(compareVersions({ timestamp: 9, id: 'z' }, { timestamp: 10, id: 'a' })).toBeLessThan(0)
  })

  it('compareVersions is a total order', () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        expect(Math.sign(compareVersions(a, b)) + Math.sign(compareVersions(b, a))).toBe(0)
        expect(compareVersions(a, b) === 0).toBe(a.timestamp === b.timestamp && a.id === b.id)
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0)
          expect(compareVersions(a, c)).toBeLessThanOrEqual(0)
      }),
    )
  })

  it("compareVersions orders ids by UTF-8 bytes, unlike JavaScript's <", () => {
    fc.assert(
      fc.property(anyText(), anyText(), (a, b) => {
        const byBytes = Buffer.compare(Buffer.from(a), Buffer.from(b))
        expect(Math.sign(compareVersions({ timestamp: 1, id: a }, { timestamp: 1, id: b }))).toBe(byBytes)
      }),
    )
    expect('\u{1F600}' < '\uFFFD').toBe(true)
    expect(compareVersions({ timestamp: 1, id: '\u{1F600}' }, { timestamp: 1, id: '\uFFFD' })).toBeGreaterThan(0)
  })
})

describe('versionBytes', () => {
  const anyVersion = fc.record({
    timestamp: fc.oneof(
      fc.integer({ min: 1, max: 300 }),
      fc.maxSafeNat().map((n) => Math.max(n, 1)),
    ),
    id: fc.oneof(fc.constantFrom('a', 'ab', 'B', '\0', 'a\0', '\u{1F600}', '\uFFFD'), anyText()),
  })

  it('versionBytes have the same order as compareVersions', () => {
    fc.assert(
      fc.property(anyVersion, anyVersion, (a, b) => {
        expect(Buffer.compare(versionBytes(a), versionBytes(b))).toBe(Math.sign(compareVersions(a, b)))
      }),
      { numRuns: 1000 },
    )
  })

  it('versionBytes are the timestamp as 8 bytes, big-endian, and then the id in UTF-8', () => {
    expect(Buffer.from(versionBytes({ timestamp: 0x1_0000_0002, id: 'é' })).toString('hex')).toBe(
      '0000000100000002c3a9',
    )
  })

  it.each([0, -1, 1.5, 2 ** 53, Number.NaN])('versionBytes refuses the timestamp %s', (timestamp) => {
    expect(() => versionBytes({ timestamp, id: 'e' })).toThrow(RangeError)
  })
})

it('decide compares only the versions, and returns apply, duplicate or stale', () => {
  const held = { timestamp: 5, id: 'e' }
  expect(decide(undefined, held)).toBe('apply')
  expect(decide(held, { timestamp: 6, id: 'a' })).toBe('apply')
  expect(decide(held, { timestamp: 5, id: 'f' })).toBe('apply')
  expect(decide(held, { timestamp: 5, id: 'e' })).toBe('duplicate')
  expect(decide(held, { timestamp: 5, id: 'd' })).toBe('stale')
  expect(decide(held, { timestamp: 4, id: 'z' })).toBe('stale')
})

describe('readVersion', () => {
  it.each([
    [1, 1],
    ['1728542293678', 1728542293678],
    ['0042', 42],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])('readVersion accepts the timestamp %j', (timestamp, expected) => {
    expect(readVersion({ id: 'e', timestamp })).toEqual({ ok: true, value: { id: 'e', timestamp: expected } })
  })

  it.each([0, -1, 1.5, 1e308, 2 ** 53, '9007199254740993', '', '-5', '1e3', ' 7', null, undefined, {}, [1], true])(
    'readVersion refuses the timestamp %j',
    (timestamp) => {
      expect(readVersion({ id: 'e', timestamp })).toMatchObject({ ok: false, reason: 'invalid-timestamp' })
    },
  )

  it.each([
    [undefined, 'missing-event-id'],
    [null, 'missing-event-id'],
    ['', 'missing-event-id'],
    [7, 'invalid-event-id'],
    ['\ud800', 'invalid-event-id'],
  ])('readVersion refuses the id %j with the reason %s', (id, reason) => {
    expect(readVersion({ id, timestamp: 1 })).toMatchObject({ ok: false, reason })
  })
})

it('an event is too far in the future only if its timestamp is later than its receipt by more than the limit', () => {
  const received = 1_800_000_000_000
  const event = (timestamp: number): Version => ({ timestamp, id: 'e' })
  expect(isTooFarInFuture(event(received + MAX_FUTURE_MS), received)).toBe(false)
  expect(isTooFarInFuture(event(received + MAX_FUTURE_MS + 1), received)).toBe(true)
})
