import { customerToHash, parseEvent } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { afterEach, expect, it } from 'vitest'
import { type Comparison, compareHash } from './compare-hash.ts'
import { createEvidence } from './evidence.ts'
import { readEvent } from './read-event.ts'

const opened: ReturnType<typeof createEvidence>[] = []
afterEach(() => {
  for (const evidence of opened.splice(0)) evidence.close()
})

/** Returns the hash as a Redis client reads it. Redis stores all text as UTF-8. */
const stored = (body: string, offset = '2'): Record<string, string> => {
  const parsed = parseEvent(Buffer.from(body))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('not a customers event')
  const hash = customerToHash(parsed.value, {
    topic: 't',
    partition: 1,
    offset,
    receivedAt: 3,
    appliedAt: 4,
    projection: 2,
  })
  if (!hash.ok) throw new Error(hash.detail)
  const words = hash.value.fieldsAndValues.map((word) => Buffer.from(word).toString())
  return Object.fromEntries(words.flatMap((field, i) => (i % 2 === 0 ? [[field, words[i + 1] ?? '']] : [])))
}
const event = (timestamp: number, customer: Record<string, string> = {}) =>
  makeCustomersEvent({
    customerUuid: 'c',
    id: 'e',
    timestamp,
    customer: { firstName: 'Ann', ...customer },
    vehicles: [],
    addresses: [],
  }).body

/**
 * Compares a hash with an event at offset 2 of partition 1. Offsets 1 to 9 were read, and the
 * partition ends at offset 20.
 */
const compare = (body: string, hash: Record<string, string>, copies: readonly string[] = []) => {
  const evidence = createEvidence()
  opened.push(evidence)
  for (const [i, copy] of [body, ...copies].entries()) {
    const reading = readEvent(Buffer.from(copy), { receivedAt: 3, maxFutureMs: 1000 })
    if (!reading.usable) throw new Error(reading.reason)
    evidence.event(reading.event, `1/${i + 2}`, 3, true)
  }
  const comparison: Comparison = {
    evidence,
    topic: 't',
    ranges: new Map([[1, { start: 1n, end: 10n }]]),
    endNow: () => 20n,
    projection: 2,
    maxFutureMs: 1000,
    now: 100,
  }
  const [[expected] = []] = evidence.expected(1)
  return compareHash(expected!, hash, comparison)
}
const wrong = (reason: string) => ({ wrong: reason })

it('verify compares every field of a hash with the newest event', () => {
  const body = event(2, { lastName: 'Lee' })
  expect(compare(body, stored(body))).toBe('equal')
  expect(compare(body, {})).toEqual(wrong('is missing in Redis'))
  expect(compare(body, { firstName: 'Ann' })).toEqual(wrong('has a key in Redis that is not a customer hash'))
  expect(compare(body, { ...stored(body), lastName: 'Li' })).toEqual(
    wrong('has a hash whose fields differ from its newest event'),
  )
  expect(compare(body, stored(event(1)))).toEqual(wrong('has a hash in Redis that is older than its newest event'))
})

it('verify accepts a hash that is newer than the read events only if its record exists and was not read', () => {
  const newer = (source: string | undefined) => {
    const { _source: _, ...hash } = stored(event(Number.MAX_SAFE_INTEGER))
    return compare(event(2), source === undefined ? hash : { ...hash, _source: source })
  }
  expect([newer('t/1/0'), newer('t/1/10'), newer('t/1/19')]).toEqual(['newer', 'newer', 'newer'])
  for (const source of [
    't/1/1',
    't/1/2',
    't/1/9',
    't/1/20',
    't/2/10',
    'u/1/10',
    't/1/-1',
    't/1/10x',
    't/1/',
    't',
    '',
    undefined,
  ])
    expect([source, newer(source)]).toEqual([
      source,
      wrong('has a hash in Redis that is newer than its events in Kafka'),
    ])
})

it('verify compares the metadata of a hash with the record that the hash names', () => {
  const body = event(2)
  const with_ = (changed: Record<string, string>) => compare(body, { ...stored(body), ...changed }, [body])
  expect(with_({ _source: 't/1/3' })).toBe('equal')
  expect(with_({ _source: 't/1/12', _receivedAt: '4' })).toBe('equal')
  expect(with_({ _source: 't/1/4' })).toEqual(wrong('has a _source that is not a record of its newest event'))
  expect(with_({ _source: 't/1/30' })).toEqual(wrong('has a _source that is not a record of its newest event'))
  expect(with_({ _receivedAt: '4' })).toEqual(wrong('has a _receivedAt that differs from its record'))
  expect(with_({ _appliedAt: '' })).toEqual(wrong('has no valid _appliedAt'))
  expect(with_({ _appliedAt: '1101' })).toEqual(wrong('has no valid _appliedAt'))
  expect(with_({ _projection: '1' })).toEqual(wrong('has a hash of an older projection'))
  expect(with_({ _projection: '3' })).toBe('equal')
})

it('if two events have the same version, the hash may have the metadata of either event', () => {
  const [body, twin] = [event(2), event(2, { lastName: 'Lee' })]
  expect(compare(body, stored(twin, '3'), [twin])).toBe('equal')
  expect(compare(body, stored(body, '2'), [twin])).toBe('equal')
  expect(compare(body, stored(body, '3'), [twin])).toEqual(
    wrong('has a _source that is not a record of its newest event'),
  )
})

it('a lone surrogate is compared as U+FFFD, in values and in field names', () => {
  const body = event(1, { lastName: 'Lee\ud800', 'odd\udfff': 'a', 'odd\udffe': 'b' })
  expect(stored(body)).toMatchObject({ lastName: 'Lee\ufffd', 'odd\ufffd': 'b' })
  expect(compare(body, stored(body))).toBe('equal')
  expect(compare(body, { ...stored(body), lastName: 'Lee' })).not.toBe('equal')
})
