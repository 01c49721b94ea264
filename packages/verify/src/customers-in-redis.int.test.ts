import { freshNames } from '@customer-stream/testing'
import { connectTestRedis } from '@customer-stream/testing/vitest'
import { expect, it } from 'vitest'
import { customersInRedis } from './customers-in-redis.ts'

it('the search for customers treats pattern characters in REDIS_KEY_PREFIX as plain characters', async () => {
  const redis = await connectTestRedis()
  const { keyPrefix } = freshNames()
  const prefix = `${keyPrefix}[ab]*:`
  await redis.hset(`${prefix}customer:{mine}`, 'a', '1')
  await redis.hset(`${keyPrefix}axy:customer:{theirs}`, 'a', '1')
  expect(await Array.fromAsync(customersInRedis(redis, prefix))).toEqual(['mine'])
})
