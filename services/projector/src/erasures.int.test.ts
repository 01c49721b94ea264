/** Erasures in a real Redis: the scripts and the store. */
import { loadSettings } from '@customer-stream/runtime'
import { connectRedis, createRedis, redisSettings } from '@customer-stream/runtime/redis'
import {
  type CustomerHash,
  customerKey,
  type Erasure,
  erasedKey,
  isErased,
  positionsKey,
} from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testRedisUrl } from '@customer-stream/testing/vitest'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { PlacedErasure } from './erasure-store.ts'
import { LostChunkError } from './position-store.ts'
import { createStore } from './store.ts'

const redis = createRedis(loadSettings(redisSettings, { REDIS_URL: testRedisUrl() }), silentLogger)
beforeAll(() => connectRedis(redis))
afterAll(() => redis.disconnect())

const hashOf = (customerUuid: string, timestamp: number, offset = 0, projection = 1): CustomerHash => ({
  customerUuid,
  version: { timestamp, id: 'e' },
  fieldsAndValues: Object.entries({
    firstName: 'Ada',
    _eventId: 'e',
    _eventTimestamp: String(timestamp),
    _source: `t/0/${offset}`,
    _projection: String(projection),
  }).flat(),
})
const erasureOf = (customerUuid: string, erasure: Partial<Erasure> = {}, offset = 0): PlacedErasure => ({
  customerUuid,
  erasure: { scope: 'forever', erasedAt: 5, reason: 'r', requestedBy: 'b', ...erasure },
  offset: String(offset),
})

const fresh = async () => {
  const { keyPrefix } = freshNames()
  const storeOf = (projection: number) => createStore(redis, { keyPrefix, topic: 't', projection })
  const store = storeOf(1)
  await store.movePosition(0, undefined, '0')
  const apply = async (...hashes: CustomerHash[]) => {
    const from = (await store.positions([0])).get(0) ?? '0'
    return (await store.applyChunk(hashes, 0, from, String(Number(from) + 1))).stored
  }
  const erase = async (...erasures: PlacedErasure[]) => {
    const from = (await store.positions([0])).get(0) ?? '0'
    const { stored, token } = await store.writeErasures(erasures, 0, from, 'id')
    const offset = String(Number(erasures.at(-1)?.offset) + 1)
    expect(await store.moveAfter(0, from, from, token, { erasures: { topicId: 'id', offset } })).toBe(true)
    return stored
  }
  const timestampOf = (customerUuid: string) => redis.hget(customerKey(customerUuid, keyPrefix), '_eventTimestamp')
  return { keyPrefix, store, storeOf, apply, erase, timestampOf }
}

describe('an erased customer', () => {
  it('an erased customer has no hash, and later events are not applied', async () => {
    const { keyPrefix, apply, erase } = await fresh()
    expect(await apply(hashOf('a', 3), hashOf('b', 3))).toEqual(['applied', 'applied'])
    expect(await erase(erasureOf('a'))).toEqual(['erased'])
    expect(await apply(hashOf('a', 3), hashOf('b', 3))).toEqual(['erased', 'duplicate'])
    expect(await apply(hashOf('a', 9), hashOf('b', 9))).toEqual(['erased', 'applied'])
    expect(await redis.exists(customerKey('a', keyPrefix))).toBe(0)
  })

  it('after an erasure until-now, an event after `erasedAt` brings the customer back', async () => {
    const { apply, erase, timestampOf } = await fresh()
    await apply(hashOf('a', 3))
    expect(await erase(erasureOf('a', { scope: 'until-now' }))).toEqual(['erased'])
    expect(await apply(hashOf('a', 5))).toEqual(['erased'])
    expect(await apply(hashOf('a', 6))).toEqual(['applied'])
    expect(await apply(hashOf('a', 4))).toEqual(['stale'])
    expect(await timestampOf('a')).toBe('6')
  })

  it('an erasure until-now keeps a customer with an event after `erasedAt`', async () => {
    const { apply, erase, timestampOf } = await fresh()
    await apply(hashOf('a', 6))
    expect(await erase(erasureOf('a', { scope: 'until-now' }))).toEqual(['stale'])
    expect(await timestampOf('a')).toBe('6')
    expect(await erase(erasureOf('a', { scope: 'forever' }, 1))).toEqual(['erased'])
    expect(await timestampOf('a')).toBe(null)
  })

  it('a customer who never existed can be erased, and an erasure can be repeated', async () => {
    const { apply, erase } = await fresh()
    expect(await erase(erasureOf('nobody'))).toEqual(['erased'])
    expect(await erase(erasureOf('nobody', {}, 1))).toEqual(['erased'])
    expect(await apply(hashOf('nobody', 1))).toEqual(['erased'])
  })

  it('the later of two erasures of a customer decides, in any order of execution', async () => {
    const { apply, erase } = await fresh()
    expect(await erase(erasureOf('a', { scope: 'forever' }, 7))).toEqual(['erased'])
    // A projector that has lost its partition executes an earlier erasure.
    expect(await erase(erasureOf('a', { scope: 'until-now' }, 6))).toEqual(['stale'])
    expect(await apply(hashOf('a', 6))).toEqual(['erased'])
    expect(await erase(erasureOf('a', { scope: 'until-now' }, 10))).toEqual(['erased'])
    expect(await apply(hashOf('a', 6))).toEqual(['applied'])
  })

  it('an erased customer is removed even if the customer’s key is not a hash', async () => {
    const { keyPrefix, apply, erase } = await fresh()
    await redis.set(customerKey('a', keyPrefix), 'text')
    expect(await erase(erasureOf('a'))).toEqual(['erased'])
    expect(await redis.exists(customerKey('a', keyPrefix))).toBe(0)
    await redis.set(customerKey('a', keyPrefix), 'text')
    expect(await apply(hashOf('a', 3))).toEqual(['erased'])
  })

  it('a rebuild applies no event before an erasure, even if the newer hash is from another partition', async () => {
    const { keyPrefix, store, storeOf, apply, erase, timestampOf } = await fresh()
    await erase(erasureOf('a', { scope: 'until-now' }))
    await apply(hashOf('a', 6))
    await redis.hset(customerKey('a', keyPrefix), '_source', 't/1/0')
    const rebuild = storeOf(2)
    expect((await rebuild.applyChunk([hashOf('a', 4, 0, 2)], 0, undefined, '1')).stored).toEqual(['erased'])
    expect(await timestampOf('a')).toBe('6')
    expect((await store.applyChunk([hashOf('a', 7)], 0, '1', '2')).stored).toEqual(['applied'])
  })
})

describe('an erasure', () => {
  it('a chunk that was written before an erasure does not move the position', async () => {
    const { store, erase } = await fresh()
    const chunk = await store.writeChunk([hashOf('a', 3)], 0, '0', '1')
    await erase(erasureOf('a'))
    await expect(store.moveAfter(0, '0', '1', chunk.token)).rejects.toThrow(LostChunkError)
    expect((await store.positions([0])).get(0)).toBe('0')
  })

  it('an erasure does not count as executed if a chunk was written meanwhile', async () => {
    const { store, apply } = await fresh()
    const { token } = await store.writeErasures([erasureOf('a')], 0, '0', 'id')
    await store.writeChunk([hashOf('b', 3)], 0, '0', '1')
    const erasures = { topicId: 'id', offset: '1' }
    await expect(store.moveAfter(0, '0', '0', token, { erasures })).rejects.toThrow(LostChunkError)
    expect(await store.erasuresPositions([0])).toEqual(new Map([[0, undefined]]))
    await apply(hashOf('b', 4))
    expect(await store.writeErasures([erasureOf('a')], 0, '0', 'id')).toMatchObject({ isInPlace: false })
  })

  it('an erasure stores the position in the erasures topic', async () => {
    const { store, storeOf, erase } = await fresh()
    await erase(erasureOf('a', {}, 7))
    expect(await store.erasuresPositions([0, 1])).toEqual(
      new Map([
        [0, { topicId: 'id', offset: '8' }],
        [1, undefined],
      ]),
    )
    expect(await storeOf(2).erasuresPositions([0])).toEqual(new Map([[0, undefined]]))
    await store.forgetErasures(0)
    expect(await store.erasuresPositions([0])).toEqual(new Map([[0, undefined]]))
    expect((await store.positions([0])).get(0)).toBe('0')
  })

  it('the position in the erasures topic is deleted after the raw topic was created again', async () => {
    const { store, erase, keyPrefix } = await fresh()
    await store.claimPositions({ clusterId: 'c', topicId: '1' }, false)
    await erase(erasureOf('a'))
    expect(await store.claimPositions({ clusterId: 'c', topicId: '2' }, false)).toBe(1)
    expect(await store.erasuresPositions([0])).toEqual(new Map([[0, undefined]]))
    expect(await redis.exists(erasedKey('a', keyPrefix))).toBe(1)
    expect(await redis.exists(positionsKey(1, keyPrefix))).toBe(1)
  })
})

// Steps of a history: an event, an erasure, or the loss of Redis. After a loss, all erasures so far
// are executed again. Then all events so far are applied again.
const customers = fc.constantFrom('a', 'b')
const steps = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ event: customers, timestamp: fc.integer({ min: 1, max: 9 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({ erased: customers, scope: fc.constantFrom('forever' as const, 'until-now' as const) }),
    },
    { weight: 1, arbitrary: fc.record({ lost: fc.boolean() }) },
  ),
  { maxLength: 14 },
)

it('no interleaving of events, erasures, losses and replays brings an erased customer back', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.boolean(), async (history, isShuffled) => {
      const { keyPrefix, store, apply, erase, timestampOf } = await fresh()
      const events: CustomerHash[] = []
      const erasures: PlacedErasure[] = []
      const replay = async () => {
        for (const each of erasures) await erase(each)
        for (const each of isShuffled ? [...events].reverse() : events) await apply(each)
      }
      for (const step of history) {
        if ('event' in step) {
          const hash = hashOf(step.event, step.timestamp)
          events.push(hash)
          await apply(hash)
        } else if ('erased' in step) {
          const each = erasureOf(step.erased, { scope: step.scope, erasedAt: 5 }, erasures.length)
          erasures.push(each)
          await erase(each)
        } else {
          if (step.lost)
            await redis.del(...['a', 'b'].flatMap((one) => [customerKey(one, keyPrefix), erasedKey(one, keyPrefix)]))
          await store.forgetErasures(0)
          await replay()
        }
        for (const customerUuid of ['a', 'b']) {
          const last = erasures.findLast((each) => each.customerUuid === customerUuid)
          const timestamp = await timestampOf(customerUuid)
          if (last && timestamp !== null)
            expect(isErased(last.erasure, { timestamp: Number(timestamp), id: 'e' })).toBe(false)
        }
      }
      await replay()
      for (const customerUuid of ['a', 'b']) {
        const last = erasures.findLast((each) => each.customerUuid === customerUuid)
        const left = events.filter((each) => each.customerUuid === customerUuid)
        const kept = left.filter(({ version }) => !last || !isErased(last.erasure, version))
        const newest = kept.length > 0 ? Math.max(...kept.map(({ version }) => version.timestamp)) : null
        const stored = await timestampOf(customerUuid)
        expect(stored === null ? null : Number(stored)).toBe(newest)
      }
    }),
    { numRuns: 150 },
  )
})
