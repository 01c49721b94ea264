import type { RedisClient } from '@customer-stream/runtime/redis'
import { eventCountPlace, eventCountsKey, eventIdsKey, hourOf } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectBothKinds, REDIS_KINDS } from '@customer-stream/testing/vitest'
import { describe, expect, it, vi } from 'vitest'
import { createDealerEvents } from './dealer-events.ts'

const HOUR_MS = 3_600_000
const NOW = 499_000 * HOUR_MS + HOUR_MS / 2

const clients = connectBothKinds()

const event = (dealerUuid: string | undefined, id: string, at = NOW) => ({
  fieldsAndValues: dealerUuid === undefined ? ['firstName', 'A'] : ['dealerUuid', dealerUuid],
  version: { id },
  record: { timestamp: String(at) },
})

describe.each(REDIS_KINDS)('on %s', (kind) => {
  const setUp = (keyPrefix = freshNames().keyPrefix, maxNoted = 10_000) => {
    const redis = clients[kind]
    return {
      keyPrefix,
      redis,
      events: createDealerEvents({ redis, now: () => NOW }, { keyPrefix, maxNoted }),
      /** Returns the stored number of events in the hour of this time. */
      count: async (dealerUuid: string, at = NOW) => {
        const { week, index } = eventCountPlace(hourOf(at))
        const stored = await redis.getBuffer(eventCountsKey(dealerUuid, week, keyPrefix))
        return stored === null || stored.length < 4 * (index + 1) ? 0 : stored.readUInt32BE(4 * index)
      },
    }
  }

  it('an event is counted once, even if several projectors apply it several times', async () => {
    const first = setUp()
    const second = setUp(first.keyPrefix)
    for (const { events } of [first, second, first]) {
      events.note([event('d', 'a'), event('d', 'b'), event('d', 'b'), event('other', 'a'), event(undefined, 'c')])
      await events.save()
    }
    second.events.note([event('d', 'c'), event('d', 'a', NOW - HOUR_MS)])
    await second.events.save()
    const { count } = first
    expect([await count('d'), await count('d', NOW - HOUR_MS), await count('other')]).toEqual([3, 1, 1])
    const ttl = await first.redis.pttl(eventIdsKey('d', hourOf(NOW), first.keyPrefix))
    expect(ttl / HOUR_MS).toBeCloseTo(27, 0)
  })

  it('the count of many events has an error of a few percent, and grows with each save', async () => {
    const { events, count } = setUp()
    for (const part of [0, 1, 2]) {
      events.note(Array.from({ length: 3000 }, (_, i) => event('d', `id-${3000 * part + i}`)))
      await events.save()
      expect(Math.abs((await count('d')) / (3000 * (part + 1)) - 1)).toBeLessThan(0.03)
    }
  })

  it('an event is not counted if Redis no longer has the ids of its hour', async () => {
    const { events, count } = setUp()
    events.note([event('d', 'a', NOW - 24 * HOUR_MS), event('d', 'b', NOW - 26 * HOUR_MS)])
    await events.save()
    expect([await count('d', NOW - 24 * HOUR_MS), await count('d', NOW - 26 * HOUR_MS)]).toEqual([1, 0])
  })

  it("the number of a dealer's events does not fall if Redis loses the ids of the events", async () => {
    const { events, redis, keyPrefix, count } = setUp()
    events.note([event('d', 'a'), event('d', 'b')])
    await events.save()
    await redis.del(eventIdsKey('d', hourOf(NOW), keyPrefix))
    events.note([event('d', 'c')])
    await events.save()
    expect(await count('d')).toBe(2)
  })

  it.each(['}', '}{x', '{}', 'é', 'a:b'])('the events of the dealer %j are counted', async (dealerUuid) => {
    const { events, count } = setUp()
    events.note([event(dealerUuid, 'a')])
    await events.save()
    expect(await count(dealerUuid)).toBe(1)
  })

  it('if Redis refuses a command, the events up to the maximum number are stored later', async () => {
    const { events, redis, keyPrefix, count } = setUp(undefined, 3)
    const key = eventIdsKey('d', hourOf(NOW), keyPrefix)
    await redis.hset(key, 'not', 'a HyperLogLog')
    events.note(['a', 'b', 'c', 'd', 'e'].map((id) => event('d', id)))
    await expect(events.save()).rejects.toThrow('WRONGTYPE')
    await redis.del(key)
    await events.save()
    expect(await count('d')).toBe(3)
    events.note([event('d', 'f')])
    await events.save()
    expect(await count('d')).toBe(4)
  })

  it('if Redis refuses the ids of one dealer, the events of the other dealers are counted', async () => {
    const { events, redis, keyPrefix, count } = setUp()
    await redis.hset(eventIdsKey('refused', hourOf(NOW), keyPrefix), 'not', 'a HyperLogLog')
    events.note(['a', 'refused', 'b'].map((dealer) => event(dealer, 'id')))
    await expect(events.save()).rejects.toThrow('WRONGTYPE')
    expect([await count('a'), await count('b')]).toEqual([1, 1])
  })

  it('the events of many dealers and of many hours are counted', async () => {
    const { events, count } = setUp()
    const dealers = Array.from({ length: 600 }, (_, i) => `dealer-${i}`)
    events.note(dealers.map((dealer) => event(dealer, 'a')))
    events.note(Array.from({ length: 2500 }, (_, i) => event('d', `id-${i}`, NOW - (i % 3) * HOUR_MS)))
    await events.save()
    expect(new Set(await Promise.all(dealers.map((dealer) => count(dealer))))).toEqual(new Set([1]))
    for (const hour of [0, 1, 2])
      expect(Math.abs((await count('d', NOW - hour * HOUR_MS)) / 833 - 1)).toBeLessThan(0.05)
  })
})

it('on a single Redis one call stores the events of many dealers', async () => {
  const redis = clients[REDIS_KINDS[0]]
  const events = createDealerEvents({ redis, now: () => NOW }, freshNames())
  const count = vi.spyOn(redis as RedisClient & { countEvents(): Promise<unknown> }, 'countEvents')
  events.note(Array.from({ length: 200 }, (_, i) => event(`dealer-${i}`, 'a')))
  await events.save()
  expect(count).toHaveBeenCalledTimes(1)
})
