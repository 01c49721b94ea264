import type { RedisClient } from '@customer-stream/runtime/redis'
import { topicNames } from '@customer-stream/schemas'
import { expect, it } from 'vitest'
import { recordsBehind, waitForErasures, waitForEvents } from './wait-for-projector.ts'

const ends = [{ high: '5' }, { high: '8' }]

it('a position after the end of one partition does not reduce the lag of other partitions', () => {
  expect(recordsBehind(ends, [['5', '8']])).toBe(0)
  expect(recordsBehind(ends, [['9', '8']])).toBe(0)
  expect(recordsBehind(ends, [['9', '4']])).toBe(4)
  expect(recordsBehind(ends, [['5', null]])).toBe(8)
  expect(recordsBehind(ends, [['5', 'letters']])).toBe(8)
})

it('on Redis Cluster, the lowest copy of a position decides the lag', () => {
  expect(
    recordsBehind(ends, [
      ['5', '8'],
      ['9', '6'],
    ]),
  ).toBe(2)
})

/** Returns a fake Redis. Its only hash of positions has these fields. */
const redisWith = (positions: Readonly<Record<string, string>>) =>
  ({
    hmget: async (_key: string, ...fields: string[]) => fields.map((field) => positions[field] ?? null),
  }) as unknown as RedisClient
const partitionEnds = [{ partition: 0, low: '0', high: '5', offset: '5' }]
const projectorOf = (positions: Readonly<Record<string, string>>) => ({
  redis: redisWith(positions),
  topics: topicNames('t.'),
  keyPrefix: 'p:',
  projection: 2,
  catchUpMs: 0,
})

it('a wait fails if no projector runs, and its error has the number of waiting records and advice', async () => {
  await expect(waitForEvents(projectorOf({ 't.customers.raw/0': '3' }), partitionEnds)).rejects.toThrow(
    /2 records or fills of t\.customers\.raw\. Check that a projector with PROJECTION_VERSION=2 .*=p: runs/,
  )
  await expect(waitForErasures(projectorOf({}), partitionEnds)).rejects.toThrow(/5 erasures\. Check that a projector/)
})

it('a wait ends when the projector has applied all records and executed all erasures', async () => {
  await waitForEvents(projectorOf({ 't.customers.raw/0': '5' }), partitionEnds)
  await waitForErasures(projectorOf({ 't.customers.raw/0#erasures': 'topic-id/5' }), partitionEnds)
})

it('a wait does not end while a position is within a window, because Redis may lack events of the window', async () => {
  const within = (window: string) =>
    waitForEvents(projectorOf({ 't.customers.raw/0': '6', 't.customers.raw/0#window': window }), partitionEnds)
  await expect(within('2/9')).rejects.toThrow('3 records or fills')
  await within('2/6')
  // Redis has all events before offset 5, where this window starts. The wait needs no later event.
  await within('5/9')
})

it('a wait does not end while a partition is being filled from the state topic', async () => {
  const filling = projectorOf({ 't.customers.raw/0': '5', 't.customers.raw/0#fill': 'progress' })
  await expect(waitForEvents(filling, partitionEnds)).rejects.toThrow('1 records or fills')
})
