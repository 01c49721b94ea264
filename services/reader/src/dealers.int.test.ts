import {
  activityKey,
  dealersKey,
  eventCountPlace,
  eventCountsKey,
  hourOf,
  indexKey,
  positionsKey,
  SLOT_MS,
  slotOf,
} from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectTestRedis } from '@customer-stream/testing/vitest'
import { expect, it, vi } from 'vitest'
import { createListDealers, type Dealer } from './dealers.ts'
import { createPositions } from './positions.ts'

const WEEK_MS = 7 * 86_400_000
/** The time of the test: an hour in the middle of a week. */
const NOW = 2970 * WEEK_MS + 100.5 * 3_600_000

const setUp = async () => {
  const redis = await connectTestRedis()
  const { keyPrefix } = freshNames()
  const positionsOf = positionsKey(1, keyPrefix)
  await redis.hset(positionsOf, { 'raw/0': '5', 'raw/indexes': 'dealer,vin/US' })
  const list = createListDealers(
    { redis, positions: createPositions(redis, { keyPrefix, projection: 1 }), now: () => NOW },
    keyPrefix,
  )
  /** Stores an event in each slot of the weeks before `last`, as the projector does. */
  const put = async (dealerUuid: string, last: number, weeks: number) => {
    await redis.zadd(dealersKey(keyPrefix), last, dealerUuid)
    for (let at = last; at > last - weeks * WEEK_MS; at -= SLOT_MS) {
      const { week, bit } = slotOf(at)
      redis.setbit(activityKey(dealerUuid, week, keyPrefix), bit, 1)
      const place = eventCountPlace(hourOf(at))
      redis.call('BITFIELD', eventCountsKey(dealerUuid, place.week, keyPrefix), 'SET', 'u32', `#${place.index}`, 70_000)
    }
    await redis.ping()
  }
  const page = async (options: Partial<Parameters<typeof list>[0]> = {}) => {
    const found = await list({ maySee: () => true, after: undefined, limit: 50, ...options })
    if (found.kind !== 'page') throw new Error(found.kind)
    return found
  }
  return { redis, keyPrefix, positionsOf, list, page, put }
}
const idsOf = (dealers: readonly Dealer[]) => dealers.map(({ dealerUuid }) => dealerUuid)

it('each dealer has its state, its customers, and its events of the last day and of a usual day', async () => {
  const { redis, keyPrefix, page, put } = await setUp()
  await put('silent', NOW - 3 * 3_600_000, 6)
  await put('active', NOW - 60_000, 6)
  await put('new', NOW, 1)
  await redis.zadd(indexKey('dealer:active', keyPrefix), 1, 'ada', 2, 'bob')
  const { dealers, next } = await page()
  expect(dealers.map(({ dealerUuid, state, customers }) => [dealerUuid, state, customers])).toEqual([
    ['active', 'active', 2],
    ['new', 'new', 0],
    ['silent', 'silent', 0],
  ])
  expect(next).toBeUndefined()
  const [, , silent] = dealers
  expect(silent).toMatchObject({ lastEventAt: NOW - 3 * 3_600_000, usualDay: Array(24).fill(12) })
  expect(silent?.lastDay.slice(-5)).toEqual([12, expect.any(Number), 0, 0, 0])
  expect(silent?.eventsByHour.slice(-5)).toEqual([70_000, 70_000, 0, 0, 0])
  expect(silent?.usualEventsByHour).toEqual(Array(24).fill(70_000))
})

it('a page shows only visible dealers, and the cursor skips and repeats no dealer', async () => {
  const { page, put } = await setUp()
  for (const id of ['d', 'b', 'a', 'é', 'c']) await put(id, NOW, 0.01)
  const first = await page({ limit: 2 })
  const second = await page({ limit: 2, after: first.next })
  const third = await page({ limit: 2, after: second.next })
  expect([first, second, third].map(({ dealers }) => idsOf(dealers))).toEqual([['a', 'b'], ['c', 'd'], ['é']])
  expect(third.next).toBeUndefined()
  const own = await page({ limit: 1, maySee: (dealer) => dealer === 'c' })
  expect([idsOf(own.dealers), own.next]).toEqual([['c'], undefined])
})

it('without an index of dealers, the number of customers is unknown, and during a fill there is no list', async () => {
  const { redis, positionsOf, list, page, put } = await setUp()
  await put('a', NOW, 0.01)
  await redis.hset(positionsOf, 'raw/indexes', 'vin/US')
  expect((await page()).dealers[0]?.customers).toBeUndefined()
  await redis.hset(positionsOf, 'raw/0#fill', 'id/0/1/2/3/complete')
  expect(await list({ maySee: () => true, after: undefined, limit: 1 })).toEqual({ kind: 'filling' })
})

it('a list of dealers that has begun before the end of a fill is refused', async () => {
  const { redis, positionsOf, list } = await setUp()
  await redis.hset(positionsOf, 'raw/0#fill', 'id/0/1/2/3/complete')
  const read = redis.zrange.bind(redis)
  vi.spyOn(redis, 'zrange').mockImplementation((...args: Parameters<typeof read>) =>
    read(...args).finally(() => redis.hdel(positionsOf, 'raw/0#fill')),
  )
  expect(await list({ maySee: () => true, after: undefined, limit: 1 })).toEqual({ kind: 'filling' })
})
