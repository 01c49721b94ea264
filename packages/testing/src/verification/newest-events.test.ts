import { customerToHash, parseEvent, type Version } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { expect, it } from 'vitest'
import { behindPromise, compareHash, createNewestEvents, type Expected } from './newest-events.ts'

const expectedOf = (body: string): Expected => {
  const newest = createNewestEvents()
  newest.add(Buffer.from(body), Date.now())
  return newest.expected.get('c')!
}
/** The hash as a client of Redis writes and reads it: each text as UTF-8. */
const stored = (body: string): Record<string, string> => {
  const parsed = parseEvent(Buffer.from(body))
  if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('no customers event')
  const hash = customerToHash(parsed.value, { topic: 't', partition: 1, offset: '2', receivedAt: 3, appliedAt: 4, projection: 1 })
  if (!hash.ok) throw new Error(hash.detail)
  const words = hash.value.fieldsAndValues.map((word) => Buffer.from(word).toString())
  return Object.fromEntries(words.flatMap((field, i) => (i % 2 === 0 ? [[field, words[i + 1] ?? '']] : [])))
}
const event = (timestamp: number, customer: Record<string, string>) =>
  makeCustomersEvent({ customerUuid: 'c', id: 'e', timestamp, customer: { firstName: 'Ann', ...customer }, vehicles: [], addresses: [] })
    .body

it('compares every field of an event of the same version, and of a newer one nothing more', () => {
  const body = event(2, { lastName: 'Lee' })
  expect(compareHash(expectedOf(body), stored(body))).toBe('equal')
  expect(compareHash(expectedOf(body), { ...stored(body), lastName: 'Li' })).toEqual({ wrong: 'differs in content from its newest event' })
  expect(compareHash(expectedOf(body), stored(event(3, {})))).toBe('newer')
  expect(compareHash(expectedOf(body), stored(event(1, {})))).toEqual({ wrong: 'is older in Redis than the newest event' })
})

it('takes a lone surrogate for what Redis can hold of it, in a value and in a name', () => {
  const body = event(1, { lastName: 'Lee\ud800', 'odd\udfff': 'a', 'odd\udffe': 'b' })
  expect(stored(body)).toMatchObject({ lastName: 'Lee\ufffd', 'odd\ufffd': 'b' })
  expect(compareHash(expectedOf(body), stored(body))).toBe('equal')
  expect(compareHash(expectedOf(body), { ...stored(body), lastName: 'Lee' })).not.toBe('equal')
})

it('finds the customers who were promised more than their newest event', () => {
  const promised = new Map<string, Version>(['absent', 'older', 'lesser', 'equal', 'newer'].map((c) => [c, { timestamp: 5, id: 'b' }]))
  const found = new Map([
    ['older', { version: { timestamp: 4, id: 'c' } }],
    ['lesser', { version: { timestamp: 5, id: 'a' } }],
    ['equal', { version: { timestamp: 5, id: 'b' } }],
    ['newer', { version: { timestamp: 6, id: 'a' } }],
  ])
  expect(behindPromise(promised, found)).toEqual(['absent', 'older', 'lesser'])
})
