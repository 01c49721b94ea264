import { createLogger, loadSettings } from '@customer-stream/runtime'
import { connectRedis, createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import { type CustomerHash, clusterPositionsKeys, customerKey, positionField } from '@customer-stream/schemas'
import { freshNames, type RedisCluster, startRedisCluster, waitUntil } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createStore } from './store.ts'

const TOPIC = 'raw'
let cluster: RedisCluster
let client: RedisClient
beforeAll(async () => {
  cluster = await startRedisCluster()
  const settings = loadSettings(redisSettings, { REDIS_URL: cluster.url.split(',')[1], REDIS_CLUSTER: 'true' })
  client = createRedis(settings, createLogger('test', 'silent'))
  await connectRedis(client)
})
afterAll(async () => {
  client?.disconnect()
  await cluster?.stop()
})

const fresh = () => {
  const { keyPrefix } = freshNames()
  return { store: createStore(client, { keyPrefix, topic: TOPIC, projection: 1 }), keyPrefix, copies: clusterPositionsKeys(1, keyPrefix) }
}
const snapshot = (customerUuid: string, timestamp = 1): CustomerHash => ({
  customerUuid,
  version: { timestamp, id: 'e' },
  fieldsAndValues: ['customerUuid', customerUuid, '_eventTimestamp', `${timestamp}`, '_eventId', 'e', '_projection', '1'],
})
const many = Array.from({ length: 300 }, (_, i) => `c${i}`)

describe('customers on a cluster', () => {
  it('are spread over all masters, with outcomes in the order given', async () => {
    const { store, keyPrefix } = fresh()
    const seed = many.flatMap((uuid, i) => (i % 3 === 0 ? [] : [snapshot(uuid, i % 3 === 1 ? 2 : 3)]))
    await store.apply(seed)
    const wanted = many.map((_, i) => ['applied', 'duplicate', 'stale'][i % 3])
    expect(await store.apply(many.map((uuid) => snapshot(uuid, 2)))).toEqual(wanted)
    const keys = await Promise.all(cluster.masters.map((master) => master.client.keys(`${keyPrefix}customer:*`)))
    expect(keys.flat().length).toBe(many.length)
    expect(Math.min(...keys.map(({ length }) => length))).toBeGreaterThan(50)
  })

  it('are applied although a master has forgotten the script', async () => {
    const { store } = fresh()
    await store.apply(many.map((uuid) => snapshot(uuid)))
    await cluster.masters[1]?.client.script('FLUSH')
    expect(new Set(await store.apply(many.map((uuid) => snapshot(uuid, 2))))).toEqual(new Set(['applied']))
  })

  it('are applied while their slot is on its way to another master, and after', async () => {
    const { store, keyPrefix } = fresh()
    const slot = Number(await client.cluster('KEYSLOT', customerKey('c0', keyPrefix)))
    await store.apply([snapshot('c0')])
    let timestamp = 1
    const to = await cluster.moveSlot(slot, async () => {
      timestamp += 1
      // The old owner may not make a key now. Once it has gone over, he answers ASK.
      expect(await store.apply([snapshot('c0', timestamp)])).toEqual(['applied'])
    })
    expect(await store.apply([snapshot('c0', 4), snapshot('c1')])).toEqual(['applied', 'applied'])
    expect(await to.client.hget(customerKey('c0', keyPrefix), '_eventTimestamp')).toBe('4')
  })

  it('are not counted while one of their masters is away, and are when it is back', async () => {
    const { store } = fresh()
    const [master] = cluster.masters
    await master?.kill()
    await expect(store.apply(many.map((uuid) => snapshot(uuid)))).rejects.toThrow()
    await expect(store.ping()).rejects.toThrow()
    await master?.restart()
    // The first call makes the client connect again, and fails.
    await waitUntil(
      'every master answers',
      () => store.ping().catch(String),
      (trouble) => trouble === undefined,
    )
    expect((await store.apply(many.map((uuid) => snapshot(uuid, 2)))).length).toBe(many.length)
  })
})

describe('positions on a cluster', () => {
  it('are in every 1024th slot, so that each master of a usual cluster has some', async () => {
    const slots = await Promise.all(fresh().copies.map((key) => client.cluster('KEYSLOT', key)))
    expect(slots).toEqual(Array.from({ length: 16 }, (_, i) => i * 1024))
  })

  it('are where the lowest of their copies is, and bring the others there', async () => {
    const { store, copies } = fresh()
    expect(await store.movePosition(0, undefined, '7')).toBe(true)
    expect(await store.movePosition(1, undefined, '10')).toBe(true)
    // 9 is less than 10 as a number, not as text.
    await client.hset(copies[3] ?? '', positionField(TOPIC, 1), '9')
    expect(await store.movePosition(1, '10', '11')).toBe(false)
    const told = new Map([
      [0, '7'],
      [1, '9'],
    ])
    expect(await store.positions([0, 1])).toEqual(told)
    expect(await store.movePosition(1, '9', '12')).toBe(true)
    expect(new Set(await Promise.all(copies.map((key) => client.hget(key, positionField(TOPIC, 1)))))).toEqual(new Set(['12']))
  })

  it('are unknown where one master has lost them', async () => {
    const { store, copies } = fresh()
    expect(await store.movePosition(0, undefined, '7')).toBe(true)
    await client.del(copies[9] ?? '')
    expect(await store.positions([0])).toEqual(new Map([[0, undefined]]))
    expect(await store.movePosition(0, undefined, '2')).toBe(false)
    expect(await store.positions([0])).toEqual(new Map([[0, '2']]))
  })
})
