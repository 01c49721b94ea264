import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import { positionsKey } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { testRedisUrl } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { LostChunkError, RefusedPositionsError } from './position-store.ts'
import { createStore } from './store.ts'

let redis: RedisClient
beforeAll(async () => {
  redis = createRedis(loadSettings(redisSettings, { REDIS_URL: testRedisUrl() }), createLogger('test', 'silent'))
  await redis.connect()
})
afterAll(() => redis.disconnect())

const here = { clusterId: 'cluster-1', topicId: 'topic-1' }

const setUp = async () => {
  const { keyPrefix } = freshNames()
  const storeOf = (topic: string, indexes = '') => createStore(redis, { keyPrefix, topic, projection: 1, indexes })
  const store = storeOf('raw')
  await store.movePosition(0, undefined, '5')
  await store.movePosition(1, undefined, '7')
  return { store, storeOf, offsets: async () => [...(await store.peekPositions([0, 1])).values()] }
}

it('a claim adds the ids of cluster and topic to positions without ids', async () => {
  const { store, offsets } = await setUp()
  expect([await store.claimPositions(here, false), await offsets()]).toEqual([0, ['5', '7']])
  expect([await store.claimPositions(here, false), await offsets()]).toEqual([0, ['5', '7']])
  await expect(store.claimPositions({ ...here, clusterId: 'cluster-2' }, false)).rejects.toThrow(RefusedPositionsError)
})

it('a claim stores the number of partitions only while Redis has no positions', async () => {
  const { keyPrefix } = freshNames()
  const store = createStore(redis, { keyPrefix, topic: 'raw', projection: 1 })
  const claim = async (partitionCount: number | undefined, topicId = 'topic-1') => {
    await store.claimPositions({ ...here, topicId, partitionCount }, false)
    return redis.hget(positionsKey(1, keyPrefix), 'raw/partitions')
  }
  expect([await claim(undefined), await claim(2), await claim(3)]).toEqual([null, '2', '3'])
  await store.movePosition(0, undefined, '5')
  // The number stays 3, because partitions that were added later had no customers that Redis could
  // lose.
  expect([await claim(6), await claim(undefined)]).toEqual(['3', '3'])
  expect(await claim(6, 'topic-2')).toBe('6')
  await store.movePosition(0, undefined, '5')
  await redis.del(positionsKey(1, keyPrefix))
  expect(await claim(7)).toBe('7')
})

it('a claim keeps positions of another cluster and names both clusters in the error', async () => {
  const { store, offsets } = await setUp()
  await store.claimPositions(here, false)
  const refused = store.claimPositions({ clusterId: 'cluster-2', topicId: 'topic-2' }, false)
  await expect(refused).rejects.toThrow(/cluster-1.*cluster-2.*ON_CLUSTER_CHANGE=start-over/)
  expect([await offsets(), await store.claimPositions(here, false)]).toEqual([['5', '7'], 0])
})

it('a claim deletes positions of another cluster if ON_CLUSTER_CHANGE=start-over', async () => {
  const { store, offsets } = await setUp()
  await store.claimPositions(here, false)
  await store.applyChunk([], 0, '5', '6', { window: { start: '5', end: '8' } })
  const there = { clusterId: 'cluster-2', topicId: 'topic-1' }
  expect([await store.claimPositions(there, true), await offsets()]).toEqual([2, [undefined, undefined]])
  expect(await store.claimPositions(there, false)).toBe(0)
})

it('a claim deletes only the positions of a topic that was created again', async () => {
  const { store, storeOf, offsets } = await setUp()
  const other = storeOf('raw.more')
  await other.movePosition(0, undefined, '9')
  await store.claimPositions(here, false)
  expect([await store.claimPositions({ ...here, topicId: 'topic-2' }, false), await offsets()]).toEqual([
    2,
    [undefined, undefined],
  ])
  expect((await other.peekPositions([0])).get(0)).toBe('9')
})

it('a claim keeps the stored ids and positions if an old broker sends no ids', async () => {
  const { store, offsets } = await setUp()
  await store.claimPositions(here, false)
  expect(await store.claimPositions({ clusterId: undefined, topicId: undefined }, false)).toBe(0)
  expect(await offsets()).toEqual(['5', '7'])
  await expect(store.claimPositions({ clusterId: 'cluster-2', topicId: undefined }, false)).rejects.toThrow(
    RefusedPositionsError,
  )
})

it('an instance that has announced itself under another key prefix is not found', async () => {
  const { store } = await setUp()
  const elsewhere = await setUp()
  await store.announce('one')
  expect([await store.announced(['one', 'two']), await elsewhere.store.announced(['one'])]).toEqual([
    new Set(['one']),
    new Set(),
  ])
})

it('a claim refuses positions of customers that have no indexes, or other indexes', async () => {
  const { store, storeOf, offsets } = await setUp()
  await store.claimPositions(here, false)
  const refused = storeOf('raw', 'phone/US').claimPositions(here, false)
  await expect(refused).rejects.toThrow(/no indexes.*ask for phone\/US.*PROJECTION_VERSION/)
  expect([await offsets(), await store.claimPositions(here, false)]).toEqual([['5', '7'], 0])

  const indexed = storeOf('new', 'phone/US')
  await indexed.claimPositions(here, false)
  await indexed.movePosition(0, undefined, '1')
  expect(await indexed.claimPositions(here, false)).toBe(0)
  for (const indexes of ['', 'phone/GB', 'email,phone/US'])
    await expect(storeOf('new', indexes).claimPositions(here, false)).rejects.toThrow(RefusedPositionsError)
})

it('a claim accepts other indexes before the first position', async () => {
  const { storeOf } = await setUp()
  await storeOf('new', 'phone/US').claimPositions(here, false)
  expect(await storeOf('new', 'email/US').claimPositions(here, false)).toBe(0)
  await storeOf('new').claimPositions(here, false)
  await storeOf('new').movePosition(0, undefined, '1')
  await expect(storeOf('new', 'email/US').claimPositions(here, false)).rejects.toThrow(/no indexes/)
})

it('if Redis is emptied between the claim and the first position, the next claim succeeds', async () => {
  const { keyPrefix } = freshNames()
  const store = createStore(redis, { keyPrefix, topic: 'raw', projection: 1, indexes: 'phone/US' })
  await store.claimPositions(here, false)
  await redis.del(positionsKey(1, keyPrefix))
  await expect(store.movePosition(0, undefined, '5')).rejects.toThrow(LostChunkError)
  await expect(store.applyChunk([], 0, undefined, '5')).rejects.toThrow(LostChunkError)
  expect(await store.claimPositions(here, false)).toBe(0)
  expect(await store.movePosition(0, undefined, '5')).toBe(true)
})
