import type { RedisClient } from '@customer-stream/runtime/redis'
import { customerKey, erasedKey } from '@customer-stream/schemas'
import { expect, it, onTestFinished } from 'vitest'
import { compareWithoutEvents } from './compare-without-events.ts'
import { createEvidence } from './evidence.ts'

const hashOf = (timestamp: number, offset: number, firstName = 'Ada') => ({
  _eventId: 'e',
  _eventTimestamp: String(timestamp),
  _source: `raw/0/${offset}`,
  firstName,
})

/**
 * Compares with a fake Redis. The raw topic was read up to offset 100, and now ends at offset 101.
 * The read part has no event of these customers.
 */
const setUp = (hashes: Readonly<Record<string, Readonly<Record<string, string>>>>, erasedLater: string[] = []) => {
  const evidence = createEvidence()
  onTestFinished(() => evidence.close())
  const byKey = new Map(Object.entries(hashes).map(([uuid, hash]) => [customerKey(uuid, ''), hash]))
  const marks = new Set(erasedLater.map((uuid) => erasedKey(uuid, '')))
  const redis = {
    scan: async () => ['0', [...byKey.keys()]],
    hgetall: async (key: string) => byKey.get(key) ?? {},
    hmget: async (key: string) => [marks.has(key) ? 'forever' : null],
  } as unknown as RedisClient
  const state = (customerUuid: string, timestamp: number, firstName = 'Ada') => {
    const fields = new Map([
      ['_eventId', 'e'],
      ['_eventTimestamp', String(timestamp)],
      ['firstName', firstName],
    ])
    evidence.state(customerUuid, { customerUuid, timestamp, id: 'e', fields, receivedAt: 1, source: 'raw/0/1' })
  }
  const compare = async () => {
    const ranges = new Map([[0, { start: 50n, end: 100n }]])
    const readEnds = async () => new Map([[0, 101n]])
    await compareWithoutEvents({ evidence, redis, keyPrefix: '', topics: { customers: 'raw' }, ranges, readEnds })
    return Object.fromEntries(evidence.wrongs(99).map(({ customerUuid, reason }) => [customerUuid, reason]))
  }
  return { evidence, state, compare }
}

it('verify names a customer that only Redis has', async () => {
  const { evidence, state, compare } = setUp({
    alone: hashOf(1, 99),
    withoutSource: { firstName: 'Ada' },
    new: hashOf(1, 100),
    beyondTheEnd: hashOf(1, 101),
    known: hashOf(1, 60),
    inState: hashOf(1, 60),
  })
  evidence.event({ customerUuid: 'known', timestamp: 1, id: 'e', fields: new Map() }, '0/60', 1, true)
  state('inState', 1)
  const reason = 'is in Redis only: Kafka has neither an event nor a document'
  expect(await compare()).toEqual({ alone: reason, withoutSource: reason, beyondTheEnd: reason })
})

it('verify does not report the hash of an erased customer as a customer without events', async () => {
  const { evidence, compare } = setUp({ covered: hashOf(5, 1), after: hashOf(6, 1) })
  evidence.erasure('covered', 5)
  evidence.erasure('after', 5)
  expect(Object.keys(await compare())).toEqual(['after'])
})

it('if the raw topic has no event of a customer, verify compares the hash with the state topic', async () => {
  const { evidence, state, compare } = setUp(
    {
      equal: hashOf(2, 1),
      older: hashOf(1, 1),
      differs: hashOf(2, 1, 'Mallory'),
      newer: hashOf(3, 1),
      later: hashOf(3, 100),
    },
    ['erasedLater'],
  )
  for (const uuid of ['equal', 'older', 'differs', 'newer', 'later', 'missing', 'erasedLater', 'erased']) state(uuid, 2)
  evidence.erasure('erased', 2)
  expect(await compare()).toEqual({
    older: 'has a hash in Redis that is older than its document in the state topic',
    differs: 'has a hash in Redis that differs from its document in the state topic',
    newer: 'has a hash in Redis that is newer than its document in the state topic',
    missing: 'is in the state topic, but missing in Redis',
  })
})
