import { loadSettings } from '@customer-stream/runtime'
import { connectRedis, createRedis, redisSettings } from '@customer-stream/runtime/redis'
import { customerKey, erasedKey, indexKey, positionsKey } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testRedisUrl } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { compareIndexes } from './compare-indexes.ts'

const redis = createRedis(loadSettings(redisSettings, { REDIS_URL: testRedisUrl() }), silentLogger)
beforeAll(() => connectRedis(redis))
afterAll(() => redis.disconnect())

/** Stores a customer with two index entries, for a phone number and for a dealer. */
const setUp = async () => {
  const { keyPrefix } = freshNames()
  const key = customerKey('c', keyPrefix)
  const phone = indexKey('phone:+14152002671', keyPrefix)
  await redis.hset(positionsKey(1, keyPrefix), { 'raw/indexes': 'dealer,phone/US' })
  await redis.hset(key, { dealerUuid: 'd', phoneNumbers: '[{"phoneNumber":"(415) 200-2671"}]' })
  await redis.hset(key, { _index: '["dealer:d","phone:+14152002671"]' })
  await redis.zadd(phone, '1', 'c')
  await redis.zadd(indexKey('dealer:d', keyPrefix), '1', 'c')
  const found = async () => {
    const wrong: string[] = []
    const onWrong = (customerUuid: string, reason: string) => wrong.push(`${customerUuid} ${reason}`)
    await compareIndexes({ redis, keyPrefix, projection: 1, topic: 'raw', onWrong })
    return wrong
  }
  return { keyPrefix, key, phone, found }
}

it('verify finds no problem in indexes that agree with the hashes', async () => {
  const { found } = await setUp()
  expect(await found()).toEqual([])
})

it('verify names a customer that lacks one of its index entries', async () => {
  const { phone, found } = await setUp()
  await redis.del(phone)
  expect(await found()).toEqual(['c is missing in 1 of its indexes'])
})

it('verify names a customer whose field _index lacks a term', async () => {
  const { key, found } = await setUp()
  await redis.hset(key, { _index: '["dealer:d"]' })
  expect(await found()).toEqual([
    'c lacks 1 terms in its field _index',
    'c has an index entry (phone) that its field _index does not name',
  ])
})

it.each([
  { customerKey: '42' },
  { customerKey: 'true' },
  { customerKey: '{"a":1}' },
  { customerKey: 'null' },
  { dealerUuid: '7', customerKey: 'k' },
])('verify expects no term for the hash %j, because in the event the value may not be a text', async (fields) => {
  const { keyPrefix, key, found } = await setUp()
  await redis.hset(positionsKey(1, keyPrefix), { 'raw/indexes': 'dealer,key,phone/US' })
  const index = 'dealerUuid' in fields ? [] : ['dealer:d']
  await redis.hset(key, { ...fields, phoneNumbers: '[]', _index: JSON.stringify(index) })
  await redis.del(indexKey('phone:+14152002671', keyPrefix))
  if ('dealerUuid' in fields) await redis.del(indexKey('dealer:d', keyPrefix))
  expect(await found()).toEqual([])
})

it('verify names an index entry of a customer without a hash, unless an erasure mark names the entry', async () => {
  const { keyPrefix, phone, found } = await setUp()
  await redis.zadd(phone, '1', 'gone')
  expect(await found()).toEqual(['gone has an index entry (phone) that its field _index does not name'])
  await redis.hset(erasedKey('gone', keyPrefix), { _index: '["phone:+14152002671"]' })
  expect(await found()).toEqual([])
})

it('verify refuses to compare the indexes of a projection without indexes', async () => {
  const { keyPrefix, found } = await setUp()
  await redis.del(positionsKey(1, keyPrefix))
  await expect(found()).rejects.toThrow('projection 1 has no indexes')
})
