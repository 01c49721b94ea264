import { customerKey, type IndexTerm, indexKey, positionsKey } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectTestRedis } from '@customer-stream/testing/vitest'
import { expect, it, vi } from 'vitest'
import { createCustomers, DamagedCustomerError } from './customers.ts'
import { createFindCustomers } from './find-customers.ts'
import { createListCustomers, type Place } from './list-customers.ts'
import { createPositions } from './positions.ts'

const VIN = '1GD312CG0BF081737'
const anyDealer = () => true

const setUp = async () => {
  const redis = await connectTestRedis()
  const { keyPrefix } = freshNames()
  const positionsOf = positionsKey(1, keyPrefix)
  await redis.hset(positionsOf, { 'raw/0': '5', 'raw/indexes': 'dealer,phone,vin/US' })
  const positions = createPositions(redis, { keyPrefix, projection: 1 })
  const parts = { positions, customers: createCustomers(redis, positions, keyPrefix), keyPrefix }
  /** Stores a customer as the projector does. */
  const put = async (customerUuid: string, timestamp: number, dealer: string, terms: readonly string[]) => {
    const indexed = [...terms, `dealer:${dealer}`] as IndexTerm[]
    await redis.hset(customerKey(customerUuid, keyPrefix), {
      customerUuid,
      dealerUuid: dealer,
      _eventId: 'e',
      _eventTimestamp: timestamp,
      _receivedAt: '8',
      _appliedAt: '9',
      _source: 'raw/0/1',
      _projection: '1',
      _index: JSON.stringify(indexed),
    })
    for (const term of indexed) await redis.zadd(indexKey(term, keyPrefix), timestamp, customerUuid)
  }
  const find = createFindCustomers(redis, parts)
  const list = createListCustomers(redis, parts)
  /** Reads all pages of a dealer. */
  const listAll = async (limit: number, between: (page: number) => Promise<void> = async () => {}) => {
    const ids: string[] = []
    let after: Place | undefined
    for (let pages = 1; ; pages++) {
      const page = await list('d', { since: 0, after, limit })
      if (page.kind !== 'page') throw new Error(page.kind)
      ids.push(...page.customers.map(({ customer }) => customer.customerUuid))
      if (page.next === undefined) return ids
      after = page.next
      await between(pages)
    }
  }
  return { redis, keyPrefix, positionsOf, put, find, list, listAll }
}
type Found = Awaited<ReturnType<Awaited<ReturnType<typeof setUp>>['find']>>
const idsOf = (found: Found) =>
  found.kind === 'found' ? found.customers.map(({ customer }) => customer.customerUuid) : found.kind

it('a search by VIN lists only customers of visible dealers, the newest first', async () => {
  const { put, find } = await setUp()
  await put('old', 1, 'd', [`vin:${VIN}`])
  await put('new', 3, 'other', [`vin:${VIN}`])
  await put('middle', 2, 'd', [`vin:${VIN}`])
  expect(idsOf(await find({ index: 'vin', text: ` ${VIN.toLowerCase()}` }, anyDealer))).toEqual([
    'new',
    'middle',
    'old',
  ])
  expect(idsOf(await find({ index: 'vin', text: VIN }, (dealer) => dealer === 'd'))).toEqual(['middle', 'old'])
})

it('a candidate that has lost the term, or has no hash, is not a match', async () => {
  const { redis, keyPrefix, put, find } = await setUp()
  await put('kept', 1, 'd', ['phone:+13105550123'])
  await put('moved', 2, 'd', ['phone:+13105550199'])
  const key = indexKey('phone:+13105550123', keyPrefix)
  await redis.zadd(key, 2, 'moved', 3, 'erased', 4, 'foreign')
  await redis.set(customerKey('foreign', keyPrefix), 'x')
  // The pending form of `_index`: the last line has the terms of the current event.
  const pending = `?["phone:+13105550123"]\n["phone:+13105550199"]`
  await redis.hset(customerKey('moved', keyPrefix), '_index', pending)
  expect(idsOf(await find({ index: 'phone', text: '310 555 0123' }, anyDealer))).toEqual(['kept'])
})

it('a search by customer key finds no customer of another dealer with the same key', async () => {
  const { redis, positionsOf, put, find } = await setUp()
  await redis.hset(positionsOf, 'raw/indexes', 'dealer,key/US')
  await put('c', 1, 'd', ['key:d/k/1'])
  await put('other', 2, 'd/k', ['key:d/k/1'])
  expect(idsOf(await find({ index: 'key', dealer: 'd', text: 'k/1' }, anyDealer))).toEqual(['c'])
})

it("a search for another dealer's value makes the same calls as a search for an unknown value", async () => {
  const { redis, put, find } = await setUp()
  await put('c', 1, 'd', [`vin:${VIN}`])
  const calls = vi.spyOn(redis, 'sendCommand')
  const commandsOf = async (text: string) => {
    calls.mockClear()
    expect(idsOf(await find({ index: 'vin', text }, (dealer) => dealer === 'e'))).toEqual([])
    return calls.mock.calls.map(([{ name }]) => name)
  }
  expect(await commandsOf(VIN)).toEqual(await commandsOf('NOBODY'))
})

it('if Redis is emptied during a search, the search does not answer with an empty result', async () => {
  const { redis, positionsOf, keyPrefix, put, find } = await setUp()
  await put('c', 1, 'd', [`vin:${VIN}`])
  const emptied = vi.spyOn(redis, 'hmget').mockImplementationOnce(async () => {
    await redis.del(positionsOf, customerKey('c', keyPrefix))
    return []
  })
  expect((await find({ index: 'vin', text: VIN }, anyDealer)).kind).toBe('filling')
  expect(emptied).toHaveBeenCalled()
})

it('a damaged hash of another dealer does not fail a list or a search', async () => {
  const { redis, keyPrefix, put, find, list } = await setUp()
  await put('moved', 1, 'd', [`vin:${VIN}`])
  await redis.hset(customerKey('moved', keyPrefix), { dealerUuid: 'e', _eventTimestamp: '', _index: '[' })
  expect(idsOf(await find({ index: 'vin', text: VIN }, (dealer) => dealer === 'd'))).toEqual([])
  expect(await list('d', { since: 0, after: undefined, limit: 5 })).toMatchObject({ customers: [] })
  await expect(find({ index: 'vin', text: VIN }, anyDealer)).rejects.toThrow(DamagedCustomerError)
})

it('a page ends early if its customers are large, and no customer is skipped', async () => {
  const { redis, keyPrefix, put, find, list, listAll } = await setUp()
  const ids = Array.from({ length: 60 }, (_, i) => `c${i + 10}`)
  for (const [i, id] of ids.entries()) {
    await put(id, i + 1, 'd', [`vin:${VIN}`])
    await redis.hset(customerKey(id, keyPrefix), 'note', 'x'.repeat(500_000))
  }
  const page = await list('d', { since: 0, after: undefined, limit: 500 })
  expect(page.kind === 'page' && page.customers.length).toBe(25)
  expect(await listAll(500)).toEqual(ids)
  const found = await find({ index: 'vin', text: VIN }, anyDealer)
  expect([idsOf(found).length, found]).toEqual([25, expect.objectContaining({ isTruncated: true })])
})

it('a search gives at most 100 of many matches, and says so', async () => {
  const { put, find } = await setUp()
  await Promise.all(Array.from({ length: 120 }, (_, i) => put(`c${i}`, 1000 + i, 'd', [`vin:${VIN}`])))
  const found = await find({ index: 'vin', text: VIN }, anyDealer)
  expect(idsOf(found)).toEqual(Array.from({ length: 100 }, (_, i) => `c${119 - i}`))
  expect(found).toMatchObject({ isTruncated: true })
})

it('a search checks only the newest 10,000 of 10,001 customers with one value, and says so', async () => {
  const { redis, keyPrefix, put, find } = await setUp()
  const key = indexKey(`vin:${VIN}`, keyPrefix)
  await put('oldest', 1, 'other', [`vin:${VIN}`])
  const added = Array.from({ length: 9999 }, (_, i) => put(`c${i}`, 2 + i, 'd', [`vin:${VIN}`]))
  await Promise.all(added)
  const ofOldest = async () => {
    const found = await find({ index: 'vin', text: VIN }, (dealer) => dealer === 'other')
    return [idsOf(found), found.kind === 'found' && found.isTruncated]
  }
  expect(await ofOldest()).toEqual([['oldest'], false])
  const found = await find({ index: 'vin', text: VIN }, anyDealer)
  expect([idsOf(found).length, idsOf(found)[0], found]).toEqual([
    100,
    'c9998',
    expect.objectContaining({ isTruncated: true }),
  ])
  await redis.zadd(key, 20_000, 'erased')
  expect(await ofOldest()).toEqual([[], true])
})

it('a list or a search fails if Redis lacks customers or the index', async () => {
  const { redis, positionsOf, put, find, list } = await setUp()
  await put('c', 1, 'd', [`vin:${VIN}`])
  const kinds = async () => [
    (await find({ index: 'vin', text: VIN }, anyDealer)).kind,
    (await list('d', { since: 0, after: undefined, limit: 5 })).kind,
  ]
  expect(await kinds()).toEqual(['found', 'page'])
  expect((await find({ index: 'email', text: 'a' }, anyDealer)).kind).toBe('no-index')
  expect((await find({ index: 'phone', text: 'a' }, anyDealer)).kind).toBe('no-term')
  await redis.hset(positionsOf, 'raw/0#fill', 'id/0/1/2/3/complete')
  expect(await kinds()).toEqual(['filling', 'filling'])
  await redis.hdel(positionsOf, 'raw/0#fill', 'raw/indexes')
  expect(await kinds()).toEqual(['no-index', 'no-index'])
})

it('a search or a list that has begun before the end of a fill is not complete', async () => {
  const { redis, positionsOf, find, list } = await setUp()
  const [ofSearch, ofList] = [redis.zrevrange.bind(redis), redis.zrangebyscore.bind(redis)]
  const endFill = () => redis.hdel(positionsOf, 'raw/0#fill')
  vi.spyOn(redis, 'zrevrange').mockImplementation((...args) => ofSearch(...args).finally(endFill))
  vi.spyOn(redis, 'zrangebyscore').mockImplementation((...args) => ofList(...args).finally(endFill))
  const answers = [
    () => find({ index: 'vin', text: VIN }, anyDealer),
    () => list('d', { since: 0, after: undefined, limit: 5 }),
  ]
  for (const answer of answers) {
    await redis.hset(positionsOf, 'raw/0#fill', 'id/0/1/2/3/complete')
    expect(await answer()).toEqual({ kind: 'filling' })
  }
})

it('a damaged hash with the term fails the search, because the answer would be incomplete', async () => {
  const { redis, keyPrefix, put, find } = await setUp()
  await put('c', 1, 'd', [`vin:${VIN}`])
  await redis.hset(customerKey('c', keyPrefix), '_eventTimestamp', '')
  await expect(find({ index: 'vin', text: VIN }, anyDealer)).rejects.toThrow(DamagedCustomerError)
})

it.each([1, 7, 500])('pages of %s skip and repeat no customer, even if many have the same timestamp', async (limit) => {
  const { put, listAll } = await setUp()
  const ids = Array.from({ length: 250 }, (_, i) => `${['a', 'é', '😀', '\uffee'][i % 4]}${i}`)
  await Promise.all(ids.map((id, i) => put(id, i < 230 ? 5 : i, 'd', [])))
  const listed = await listAll(limit)
  expect(listed).toHaveLength(250)
  expect(listed.toSorted()).toEqual(ids.toSorted())
})

it('a customer that changes between two pages is listed again, and no other customer is skipped', async () => {
  const { redis, keyPrefix, put, listAll } = await setUp()
  for (const [i, id] of ['a', 'b', 'c', 'd', 'e'].entries()) await put(id, i + 1, 'd', [])
  const listed = await listAll(2, async (page) => {
    // `b` was the last customer of the first page and has changed, so the cursor names a place at
    // which there is no entry now.
    if (page === 1) await put('b', 9, 'd', [])
    if (page === 1) await redis.zrem(indexKey('dealer:d', keyPrefix), 'a')
  })
  expect(listed).toEqual(['a', 'b', 'c', 'd', 'e', 'b'])
})
