import { waitUntil } from '@customer-stream/runtime'
import { isRedisError } from '@customer-stream/runtime/redis'
import { clusterPositionsKeys, customerKey, dealersKey, indexKey, positionsKey } from '@customer-stream/schemas'
import { freshNames, type RedisCluster, startRedisCluster } from '@customer-stream/testing'
import { connectTestRedis, startRedis, testRedisUrl } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createCustomers, DamagedCustomerError, type Reading } from './customers.ts'
import { createListDealers } from './dealers.ts'
import { createFindCustomers } from './find-customers.ts'
import { createListCustomers } from './list-customers.ts'
import { createPositions } from './positions.ts'

const anyDealer = () => true
const HASH = {
  customerUuid: 'ada',
  dealerUuid: 'a',
  firstName: 'Ada',
  _eventId: 'e',
  _eventTimestamp: '7',
  _receivedAt: '8',
  _appliedAt: '9',
  _source: 'raw/0/1',
  _projection: '1',
}

const setUp = async () => {
  const redis = await connectTestRedis()
  const { keyPrefix } = freshNames()
  const positions = positionsKey(1, keyPrefix)
  await redis.hset(positions, { 'raw/0': '5', 'raw/topic': 'id' })
  const customers = createCustomers(redis, createPositions(redis, { keyPrefix, projection: 1 }), keyPrefix)
  return { redis, keyPrefix, positions, customers, key: customerKey('ada', keyPrefix) }
}

it('a customer is read from its hash, with the documented types', async () => {
  const { redis, customers, key } = await setUp()
  await redis.hset(key, { ...HASH, isBusiness: 'true' })
  expect(await customers.read('ada', anyDealer)).toMatchObject({
    kind: 'found',
    customer: { customer: { firstName: 'Ada', isBusiness: true }, appliedAt: 9 },
  })
})

it('a customer does not count as indexed while the projector updates its index entries', async () => {
  const { redis, customers, key } = await setUp()
  await redis.hset(key, { ...HASH, _index: '?["vin:a"]\n["vin:b"]' })
  expect(await customers.read('ada', anyDealer)).toMatchObject({ kind: 'found', isIndexed: false })
  await redis.hset(key, { _index: '["vin:b"]' })
  expect(await customers.read('ada', anyDealer)).toMatchObject({ kind: 'found', isIndexed: true })
})

it('a customer without a hash is missing, even if another application uses its key', async () => {
  const { redis, customers, key } = await setUp()
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'missing' })
  await redis.set(key, 'x')
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'missing' })
})

it('a hash without a version counts as damaged, because a customer may be in it', async () => {
  const { redis, customers, key } = await setUp()
  await redis.hset(key, { ...HASH, _eventTimestamp: '' })
  await expect(customers.read('ada', anyDealer)).rejects.toThrow(DamagedCustomerError)
})

it('the version of a customer is read in one call, and only if the key may see the customer', async () => {
  const { redis, customers, key } = await setUp()
  const [all, one] = [vi.spyOn(redis, 'hgetall'), vi.spyOn(redis, 'hmget')]
  const ofDealer = (dealer: string) => customers.readVersion('ada', (each) => each === dealer)
  expect(await ofDealer('a')).toBeUndefined()
  await redis.set(key, 'x')
  expect(await ofDealer('a')).toBeUndefined()
  await redis.del(key)
  await redis.hset(key, { ...HASH, _index: '?["vin:a"]\n["vin:b"]' })
  expect(await ofDealer('a')).toEqual({ version: { timestamp: 7, id: 'e' }, dealerUuid: 'a', isIndexed: false })
  await redis.hset(key, '_index', '["vin:b"]')
  expect(await ofDealer('a')).toMatchObject({ isIndexed: true })
  await redis.hset(key, '_eventTimestamp', 'damaged')
  expect(await ofDealer('b')).toBeUndefined()
  await expect(ofDealer('a')).rejects.toThrow(DamagedCustomerError)
  expect([all.mock.calls.length, one.mock.calls.length]).toEqual([0, 6])
})

it('a customer of another dealer is read like a missing customer, in every state of Redis', async () => {
  const { redis, positions, customers, key } = await setUp()
  const readings = () => Promise.all(['ada', 'eve'].map((id) => customers.read(id, (dealer) => dealer === 'b')))
  await redis.hset(key, HASH)
  expect(await readings()).toEqual([{ kind: 'missing' }, { kind: 'missing' }])
  const calls = vi.spyOn(redis, 'hgetall')
  await customers.read('ada', (dealer) => dealer === 'b')
  const count = calls.mock.calls.length
  await customers.read('eve', (dealer) => dealer === 'b')
  expect([count, calls.mock.calls.length]).toEqual([3, 6])
  await redis.hset(key, '_eventTimestamp', 'damaged')
  expect(await readings()).toEqual([{ kind: 'missing' }, { kind: 'missing' }])
  await redis.hset(key, HASH)
  await redis.hset(positions, 'raw/0#fill', 'id/0/1/2/3/complete')
  expect(await readings()).toEqual([{ kind: 'filling' }, { kind: 'filling' }])
})

it('a customer is not missing while Redis is emptied or being filled', async () => {
  const { redis, positions, customers, key } = await setUp()
  await redis.hset(positions, 'raw/0#fill', 'id/0/1/2/3/complete')
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'filling' })
  await redis.hset(key, HASH)
  expect(await customers.read('ada', anyDealer)).toMatchObject({ kind: 'found' })
  await redis.del(key, positions)
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'filling' })
  // The projector stores the ids of the topic before it stores a position.
  await redis.hset(positions, { 'raw/topic': 'id', 'raw/partitions': '2' })
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'filling' })
  // Another projector has filled its partitions already. Partition 2 was added to the topic.
  await redis.hset(positions, { 'raw/1': '5', 'raw/2': '5', 'raw.other/0': '5' })
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'filling' })
  await redis.hset(positions, 'raw/0', '5')
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'missing' })
})

it('if the fill stores a customer while the reader reads the positions, the customer is not missing', async () => {
  const { redis, keyPrefix, key } = await setUp()
  const read = async () => {
    await new Promise(setImmediate)
    await redis.hset(key, HASH)
    return { isFilled: true, indexes: undefined, nextOffset: () => undefined }
  }
  const customers = createCustomers(redis, { read, readProgress: async () => undefined }, keyPrefix)
  expect(await customers.read('ada', anyDealer)).toMatchObject({ kind: 'found' })
})

/** Opens a client whose user has only the documented rights. */
const setUpReadOnly = async () => {
  const { redis, keyPrefix, positions, key } = await setUp()
  await redis.hset(key, HASH)
  const name = keyPrefix.slice(0, -1)
  const change = (...rights: readonly string[]) => redis.call('ACL', 'SETUSER', name, ...rights)
  const names = ['customer:*', 'positions:*', 'index:*', 'dealers', 'dealer:*', 'drift']
  const keys = names.map((each) => `~${keyPrefix}${each}`)
  const lists = ['+zrevrange', '+zrangebyscore', '+zrange', '+zcard', '+get']
  await change('on', '>p4ssword', ...keys, '+ping', '+info', '+hgetall', '+hmget', ...lists)
  onTestFinished(() => void redis.call('ACL', 'DELUSER', name))
  const reader = await connectTestRedis({ REDIS_URL: testRedisUrl().replace('redis://', `redis://${name}:p4ssword@`) })
  const customers = createCustomers(reader, createPositions(reader, { keyPrefix, projection: 1 }), keyPrefix)
  return { redis, keyPrefix, positions, reader, customers, change, keys }
}

it('the reader works with a user of Redis that can only read', async () => {
  const { redis, keyPrefix, positions, reader, customers } = await setUpReadOnly()
  await customers.check()
  expect(await customers.read('ada', anyDealer)).toMatchObject({ kind: 'found' })
  expect(await customers.read('eve', anyDealer)).toEqual({ kind: 'missing' })
  const parts = { positions: createPositions(reader, { keyPrefix, projection: 1 }), customers, keyPrefix }
  await redis.hset(positions, 'raw/indexes', 'dealer,vin/US')
  const find = createFindCustomers(reader, parts)
  expect(await find({ index: 'vin', text: 'a' }, () => true)).toMatchObject({ kind: 'found', customers: [] })
  const list = createListCustomers(reader, parts)
  expect(await list('d', { since: 0, after: undefined, limit: 1 })).toMatchObject({ kind: 'page', customers: [] })
  await redis.zadd(dealersKey(keyPrefix), 1, 'd')
  const listDealers = createListDealers({ ...parts, redis: reader }, keyPrefix)
  const dealers = await listDealers({ maySee: () => true, after: undefined, limit: 1 })
  expect(dealers).toMatchObject({ kind: 'page', dealers: [{ dealerUuid: 'd' }] })
  await expect(reader.hset(customerKey('ada', keyPrefix), 'firstName', 'Eve')).rejects.toThrow('NOPERM')
})

it('a reader that lacks a right for searches is not ready, unless Redis has no indexes', async () => {
  const { redis, positions, customers, change, keys } = await setUpReadOnly()
  const withoutIndex = keys.filter((key) => !key.includes('index'))
  await change('-hmget')
  await expect(customers.check()).rejects.toThrow('NOPERM')
  await change('+hmget')
  const lacks = [['-zrevrange'], ['-zrangebyscore'], ['-zcard'], ['resetkeys', ...withoutIndex]]
  for (const rights of lacks) {
    await redis.hset(positions, 'raw/indexes', 'dealer,vin/US')
    await change(...rights)
    await expect(customers.check(), `${rights}`).rejects.toThrow('NOPERM')
    await redis.hdel(positions, 'raw/indexes')
    await customers.check()
    await change(...keys, '+zrevrange', '+zrangebyscore', '+zcard')
  }
})

it('if Redis does not answer, each read fails with an error of Redis', async () => {
  const server = await startRedis()
  onTestFinished(() => server.stop())
  const redis = await connectTestRedis({ REDIS_URL: server.url, REDIS_COMMAND_TIMEOUT_MS: '300' })
  const customers = createCustomers(redis, createPositions(redis, { keyPrefix: 'k:', projection: 1 }), 'k:')
  expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'filling' })
  await server.pause()
  expect(isRedisError(await customers.read('ada', anyDealer).catch((error) => error))).toBe(true)
  await server.resume()
  await server.kill()
  expect(isRedisError(await customers.check().catch((error) => error))).toBe(true)
})

describe('Redis Cluster', () => {
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await startRedisCluster()
  })
  afterAll(() => cluster?.stop())

  const openCluster = async () => {
    const redis = await connectTestRedis({
      REDIS_URL: cluster.url,
      REDIS_CLUSTER: 'true',
      REDIS_COMMAND_TIMEOUT_MS: '1000',
    })
    const { keyPrefix } = freshNames()
    const copies = clusterPositionsKeys(1, keyPrefix)
    for (const copy of copies) await redis.hset(copy, { 'raw/0': '5', 'raw/indexes': 'dealer,vin/US' })
    const positions = createPositions(redis, { keyPrefix, projection: 1 })
    return { redis, keyPrefix, copies, positions, customers: createCustomers(redis, positions, keyPrefix) }
  }

  it('on Redis Cluster, a customer counts as missing only if each copy of the positions exists', async () => {
    const { redis, keyPrefix, copies, customers } = await openCluster()
    expect(await customers.read('ada', anyDealer)).toEqual({ kind: 'missing' })
    await redis.hset(customerKey('ada', keyPrefix), HASH)
    await redis.del(copies[7]!)
    expect(await customers.read('eve', anyDealer)).toEqual({ kind: 'filling' })
    expect(await customers.read('ada', anyDealer)).toMatchObject({ kind: 'found' })
  })

  it('searches and lists are complete on a whole cluster, and fail if half of the cluster is down', async () => {
    const { redis, keyPrefix, positions, customers } = await openCluster()
    const ids = Array.from({ length: 30 }, (_, i) => `customer-${i}`)
    for (const [i, id] of ids.entries()) {
      await redis.hset(customerKey(id, keyPrefix), { ...HASH, customerUuid: id, _index: '["dealer:a","vin:V"]' })
      for (const term of ['dealer:a', 'vin:V'] as const) await redis.zadd(indexKey(term, keyPrefix), i, id)
      await redis.zadd(dealersKey(keyPrefix), 1, `dealer-${i}`)
    }
    const parts = { positions, customers, keyPrefix }
    const find = () => createFindCustomers(redis, parts)({ index: 'vin', text: 'v' }, anyDealer)
    const list = () => createListCustomers(redis, parts)('a', { since: 0, after: undefined, limit: 50 })
    const listDealers = () =>
      createListDealers({ ...parts, redis }, keyPrefix)({ maySee: anyDealer, after: undefined, limit: 50 })
    const [found, page, dealers] = await Promise.all([find(), list(), listDealers()])
    expect([
      found.kind === 'found' && found.customers.length,
      page.kind === 'page' && page.customers.length,
      dealers.kind === 'page' && dealers.dealers.length,
    ]).toEqual([30, 30, 30])
    await cluster.masters[0]!.kill()
    for (const ask of [find, list, listDealers])
      expect(isRedisError(await ask().catch((error: Error) => error)), ask.name).toBe(true)
    await cluster.masters[0]!.restart()
    await waitUntil(
      'the cluster is whole again',
      () => Promise.all([find(), list(), listDealers()]).catch(String),
      (answers) => Array.isArray(answers),
    )
  })

  it('if half of the cluster is down, a read finds the customer or fails, but never says "missing"', async () => {
    const { redis, keyPrefix, customers } = await openCluster()
    const ids = Array.from({ length: 30 }, (_, i) => `customer-${i}`)
    for (const id of ids) await redis.hset(customerKey(id, keyPrefix), HASH)
    await cluster.masters[0]!.kill()
    const readings = await Promise.all(ids.map((id) => customers.read(id, anyDealer).catch((error: Error) => error)))
    const wrong = readings.filter((reading) => !isRedisError(reading) && (reading as Reading).kind !== 'found')
    expect([wrong, readings.some(isRedisError)]).toEqual([[], true])
    await expect(customers.check()).rejects.toThrow()
    await cluster.masters[0]!.restart()
  })
})
