import { activityKey, dealersKey, SLOT_MS, slotOf } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectBothKinds, REDIS_KINDS } from '@customer-stream/testing/vitest'
import { describe, expect, it, vi } from 'vitest'
import { createDealers } from './dealers.ts'

const WEEK_MS = 7 * 86_400_000
/** The time of the test: an hour in the middle of a week. */
const NOW = 2970 * WEEK_MS + 100.5 * 3_600_000

const clients = connectBothKinds()

const received = (dealerUuid: string | undefined, at: number) => ({
  fieldsAndValues: dealerUuid === undefined ? ['firstName', 'A'] : ['dealerUuid', dealerUuid],
  record: { timestamp: String(at) },
})

describe.each(REDIS_KINDS)('on %s', (kind) => {
  const setUp = (keyPrefix = freshNames().keyPrefix) => {
    const redis = clients[kind]
    const warn = vi.fn()
    let clock = NOW
    const dealers = createDealers({ redis, logger: { warn }, now: () => clock }, { keyPrefix, maxDealers: 50 })
    return {
      dealers,
      keyPrefix,
      redis,
      silent: () => warn.mock.calls.map(([fields]) => (fields as { dealerUuid: string }).dealerUuid),
      wait: (ms: number) => {
        clock += ms
      },
      known: () => redis.zrange(dealersKey(keyPrefix), '0', '-1', 'WITHSCORES'),
      bits: async (dealerUuid: string, at: number) =>
        redis.bitcount(activityKey(dealerUuid, slotOf(at).week, keyPrefix)),
    }
  }
  /** Events of two dealers: one event in each slot of the last six weeks. */
  const events = ['busy', 'quiet'].flatMap((dealerUuid) =>
    Array.from({ length: (6 * WEEK_MS) / SLOT_MS }, (_, i) => received(dealerUuid, NOW - i * SLOT_MS)),
  )

  it('an event that arrives at two projectors sets only one bit', async () => {
    const first = setUp()
    const second = setUp(first.keyPrefix)
    for (const { dealers } of [first, second, first]) {
      dealers.note([received('d', NOW - SLOT_MS), received('d', NOW - 2 * SLOT_MS), received(undefined, NOW)])
      await dealers.save()
    }
    expect([await first.bits('d', NOW), await first.known()]).toEqual([2, ['d', String(NOW - SLOT_MS)]])
    const ttl = await first.redis.pttl(activityKey('d', slotOf(NOW).week, first.keyPrefix))
    expect(ttl).toBeGreaterThan(10 * WEEK_MS)
  })

  it('a dealer that usually sends events counts as silent after a pause, and is logged once', async () => {
    const { dealers, silent, wait } = setUp()
    dealers.note(events)
    await dealers.save()
    expect(await dealers.countSilent()).toBe(0)
    wait(2 * 3_600_000)
    dealers.note([received('busy', NOW + 2 * 3_600_000)])
    await dealers.save()
    expect([await dealers.countSilent(), await dealers.countSilent(), silent()]).toEqual([1, 1, ['quiet']])
    dealers.note([received('quiet', NOW + 2 * 3_600_000)])
    await dealers.save()
    expect(await dealers.countSilent()).toBe(0)
  })

  it('if Redis refuses a command, the arrivals are stored later', async () => {
    const { dealers, redis, keyPrefix, known, bits } = setUp()
    await redis.set(dealersKey(keyPrefix), 'not a sorted set')
    dealers.note([received('d', NOW), received('d', NOW - SLOT_MS)])
    await expect(dealers.save()).rejects.toThrow('WRONGTYPE')
    await redis.del(dealersKey(keyPrefix))
    await dealers.save()
    expect([await known(), await bits('d', NOW)]).toEqual([['d', String(NOW)], 2])
  })

  it('old events, dealers with long ids, and dealers above the maximum number are not stored', async () => {
    const { dealers, known } = setUp()
    dealers.note([received('old', NOW - 12 * WEEK_MS), received('x'.repeat(201), NOW), received('', NOW)])
    await dealers.save()
    expect(await known()).toEqual([])
    dealers.note(Array.from({ length: 55 }, (_, i) => received(`d${i}`, NOW)))
    await dealers.save()
    expect((await known()).length / 2).toBe(50)
  })
})
