import { expect, test } from 'vitest'
import { makeSequence, type SequencedEvent, type SequenceOptions } from './sequence.ts'

const NEWEST = 1_760_000_000_000

function sequence(options: Partial<SequenceOptions> = {}): SequencedEvent[] {
  return [
    ...makeSequence({
      seed: 7,
      events: 2000,
      customers: 50,
      newestTimestamp: NEWEST,
      other: 0,
      disorder: 0,
      ...options,
    }),
  ]
}

function byCustomer(events: SequencedEvent[]): SequencedEvent[][] {
  return [...Map.groupBy(events, ({ customerUuid }) => customerUuid).values()]
}

function customerOf({ body }: SequencedEvent): Record<string, unknown> {
  const { payload } = JSON.parse(body)
  return (typeof payload === 'string' ? JSON.parse(payload) : payload).customerWithVehicles.customer
}

test('the same seed gives the same bodies in the same order, and another seed gives other bodies', () => {
  const bodies = (seed: number) => sequence({ seed, other: 0.1, disorder: 0.1 }).map(({ body }) => body)
  expect(bodies(7)).toEqual(bodies(7))
  expect(new Set([...bodies(7), ...bodies(8)]).size).toBe(4000)
})

test('two successive events of a customer differ: a field appears or disappears', () => {
  for (const events of byCustomer(sequence())) {
    const keys = events.map((event) => Object.keys(customerOf(event)).join())
    for (let i = 1; i < keys.length; i++) expect(keys[i]).not.toBe(keys[i - 1])
  }
})

test('all events of a customer are about the same person', () => {
  for (const events of byCustomer(sequence())) {
    const persons = events.map((event) =>
      JSON.stringify([customerOf(event).lastName, customerOf(event).customerKey, JSON.parse(event.body).dealeruuid]),
    )
    expect(new Set(persons).size).toBe(1)
  }
})

test('timestamps of a customer never fall, are sometimes equal, and stay below newestTimestamp', () => {
  let ties = 0
  for (const events of byCustomer(sequence())) {
    for (const [i, { timestamp }] of events.entries()) {
      expect(timestamp).toBeLessThan(NEWEST)
      if (i > 0) expect(timestamp).toBeGreaterThanOrEqual(events[i - 1]!.timestamp)
      if (i > 0 && timestamp === events[i - 1]!.timestamp) ties++
    }
  }
  expect(ties).toBeGreaterThan(20)
})

test('with disorder, some events are sent after a newer event of the same customer', () => {
  const events = sequence({ customers: 1_000_000, disorder: 0.1 })
  expect(new Set(events.map(({ id }) => id)).size).toBe(2000)
  const latest = new Map<string | null, number>()
  let overtaken = 0
  for (const { customerUuid, timestamp } of events) {
    if (timestamp < (latest.get(customerUuid) ?? 0)) overtaken++
    latest.set(customerUuid, Math.max(timestamp, latest.get(customerUuid) ?? 0))
  }
  expect(overtaken).toBeGreaterThan(120)
  expect(overtaken).toBeLessThan(280)
})

test('the given share of the events has other types, and these events have no customer', () => {
  const others = sequence({ other: 0.25 }).filter(({ type }) => type !== 'customers')
  expect(others.length).toBeGreaterThan(400)
  expect(others.length).toBeLessThan(600)
  expect(others.every(({ customerUuid }) => customerUuid === null)).toBe(true)
})

test('every variant of the wire format occurs', () => {
  const events = sequence()
  const share = (matches: (event: SequencedEvent) => boolean) => events.filter(matches).length / events.length
  expect(share(({ body }) => body.includes('"dataType"'))).toBeGreaterThan(0.005)
  expect(share(({ body }) => typeof JSON.parse(body).payload === 'object')).toBeGreaterThan(0.005)
  expect(share((event) => 'addresses' in customerOf(event))).toBeGreaterThan(0.1)
  expect(share((event) => 'loyaltyTier' in customerOf(event))).toBeGreaterThan(0.1)
  expect(share(({ body }) => /[^\0-\x7f]/.test(body))).toBeGreaterThan(0.3)
})
