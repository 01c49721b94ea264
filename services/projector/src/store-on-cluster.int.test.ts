import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import { connectRedis, createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import {
  type CustomerHash,
  clusterPositionsKeys,
  customerKey,
  erasedKey,
  indexKey,
  positionField,
} from '@customer-stream/schemas'
import { freshNames, type RedisCluster, startRedisCluster } from '@customer-stream/testing'
import { customersInRedis } from '@customer-stream/verify'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { LostChunkError } from './position-store.ts'
import { createStore, type Store } from './store.ts'

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
  return {
    store: createStore(client, { keyPrefix, topic: TOPIC, projection: 1 }),
    keyPrefix,
    copies: clusterPositionsKeys(1, keyPrefix),
  }
}
const snapshot = (customerUuid: string, timestamp = 1): CustomerHash => ({
  customerUuid,
  version: { timestamp, id: 'e' },
  fieldsAndValues: [
    'customerUuid',
    customerUuid,
    '_eventTimestamp',
    `${timestamp}`,
    '_eventId',
    'e',
    '_projection',
    '1',
  ],
})
const many = Array.from({ length: 300 }, (_, i) => `c${i}`)

/** Applies a chunk at the current position. */
const apply = async (store: Store, chunk: readonly CustomerHash[]) => {
  const from = (await store.positions([0])).get(0)
  return (await store.applyChunk(chunk, 0, from, String(Number(from ?? 0) + 1))).stored
}

const withPhones = (customerUuid: string, timestamp: number, phones: readonly string[]) => ({
  ...snapshot(customerUuid, timestamp),
  terms: phones.map((phone) => `phone:${phone}` as const).sort(),
})

/** Error of a client whose process was killed. */
class Killed extends Error {}

const onlyKilled = (error: unknown) => {
  if (!(error instanceof Killed)) throw error
}

/**
 * Returns a client whose process is killed after `calls` calls of scripts. If `isLastSent` is true,
 * the reply of the last of these calls is lost.
 */
const dying = (calls: number, isLastSent: boolean): RedisClient => {
  const scripts = ['applySnapshots', 'updateTerms', 'confirmTerms', 'movePosition']
  let made = 0
  return new Proxy(client, {
    get: (target, name) => {
      const value = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      if (!scripts.includes(String(name))) return value.bind(target)
      return async (...args: unknown[]) => {
        made += 1
        if (made > calls) throw new Killed()
        const isLast = made === calls
        const reply = await value.apply(target, args)
        if (isLast && isLastSent) throw new Killed()
        return reply
      }
    },
  })
}

describe('customers on a cluster', () => {
  it('the store spreads customers over all masters and returns the outcomes in order', async () => {
    const { store, keyPrefix } = fresh()
    const seed = many.flatMap((uuid, i) => (i % 3 === 0 ? [] : [snapshot(uuid, i % 3 === 1 ? 2 : 3)]))
    await apply(store, seed)
    const wanted = many.map((_, i) => ['applied', 'duplicate', 'stale'][i % 3])
    expect(
      await apply(
        store,
        many.map((uuid) => snapshot(uuid, 2)),
      ),
    ).toEqual(wanted)
    const keys = await Promise.all(cluster.masters.map((master) => master.client.keys(`${keyPrefix}customer:*`)))
    expect(keys.flat().length).toBe(many.length)
    expect(Math.min(...keys.map(({ length }) => length))).toBeGreaterThan(50)
  })

  it('customers whose id has braces are applied and erased', async () => {
    const { store, keyPrefix } = fresh()
    const ids = ['}', '}x', '}x}', '{', '{}', '{x}', 'x}y', '}{']
    const chunk = ids.map((uuid) => snapshot(uuid))
    expect(await apply(store, chunk)).toEqual(ids.map(() => 'applied'))
    expect((await Array.fromAsync(customersInRedis(client, keyPrefix))).toSorted()).toEqual(ids.toSorted())
    const erasure = { erasedAt: 5, scope: 'forever', reason: 'r', requestedBy: 'b' } as const
    const erasures = ids.map((customerUuid, i) => ({ customerUuid, erasure, offset: String(i) }))
    expect((await store.writeErasures(erasures, 0, '1', 'id')).stored).toEqual(ids.map(() => 'erased'))
    expect(await apply(store, chunk)).toEqual(ids.map(() => 'erased'))
  })

  it('the store loads the Lua script again if a master has lost it', async () => {
    const { store } = fresh()
    await apply(
      store,
      many.map((uuid) => snapshot(uuid)),
    )
    await cluster.masters[1]?.client.script('FLUSH')
    expect(
      new Set(
        await apply(
          store,
          many.map((uuid) => snapshot(uuid, 2)),
        ),
      ),
    ).toEqual(new Set(['applied']))
  })

  it('customers are applied during and after a move of their slot to another master', async () => {
    const { store, keyPrefix } = fresh()
    const slot = Number(await client.cluster('KEYSLOT', customerKey('c0', keyPrefix)))
    await apply(store, [snapshot('c0')])
    let timestamp = 1
    const to = await cluster.moveSlot(slot, async () => {
      timestamp += 1
      // While a slot moves, its old master cannot create a key. After a key has moved, the old
      // master answers ASK.
      expect(await apply(store, [snapshot('c0', timestamp)])).toEqual(['applied'])
    })
    expect(await apply(store, [snapshot('c0', 4), snapshot('c1')])).toEqual(['applied', 'applied'])
    expect(await to.client.hget(customerKey('c0', keyPrefix), '_eventTimestamp')).toBe('4')
  })

  it('entries of indexes are added and removed during and after a move of their slot', async () => {
    const { store, keyPrefix } = fresh()
    const key = indexKey('phone:+1', keyPrefix)
    const withPhone = (customerUuid: string, at: number, ...phones: readonly string[]) =>
      ({ ...snapshot(customerUuid, at), terms: phones.map((phone) => `phone:${phone}` as const) }) as const
    const found = () => client.zrange(key, '0', '-1')
    await apply(store, [withPhone('c0', 1, '+1')])
    let timestamp = 1
    const slot = Number(await client.cluster('KEYSLOT', key))
    await cluster.moveSlot(slot, async () => {
      timestamp += 1
      await apply(store, [withPhone('c0', timestamp), withPhone('c1', timestamp, '+1')])
      expect(await found()).toEqual(['c1'])
      await apply(store, [withPhone('c0', timestamp + 10, '+1'), withPhone('c1', timestamp + 10)])
      expect(await found()).toEqual(['c0'])
      timestamp += 10
    })
    await apply(store, [withPhone('c1', 100, '+1')])
    expect(await found()).toEqual(['c0', 'c1'])
  })

  it('whichever call fails, each term is found after another projector has repeated the chunk', async () => {
    const event = fc.record({
      customers: fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { minLength: 1 }),
      timestamp: fc.integer({ min: 1, max: 5 }),
      phones: fc.uniqueArray(fc.constantFrom('1', '2', '3'), { maxLength: 3 }),
      calls: fc.integer({ min: 0, max: 30 }),
      isLastSent: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 8 }), async (events) => {
        const { keyPrefix } = fresh()
        const storeOf = (redis: RedisClient) => createStore(redis, { keyPrefix, topic: TOPIC, projection: 1 })
        const versions = new Map<string, ReturnType<typeof withPhones>>()
        for (const { customers, timestamp, phones, calls, isLastSent } of events) {
          const chunk = customers.map((customer) => {
            // Events with the same version have the same content.
            const given = versions.get(`${customer}/${timestamp}`) ?? withPhones(customer, timestamp, phones)
            versions.set(`${customer}/${timestamp}`, given)
            return given
          })
          await apply(storeOf(dying(calls, isLastSent)), chunk).catch(onlyKilled)
          await apply(storeOf(client), chunk)
        }
        for (const customer of ['a', 'b', 'c']) {
          const timestamp = await client.hget(customerKey(customer, keyPrefix), '_eventTimestamp')
          const { terms } = versions.get(`${customer}/${timestamp}`) ?? { terms: [] }
          const scores = await Promise.all(terms.map((term) => client.zscore(indexKey(term, keyPrefix), customer)))
          expect(scores).not.toContain(null)
        }
      }),
      { numRuns: 25 },
    )
  })

  it('a chunk is rejected while a master is down, and applied when the master is back', async () => {
    const { store } = fresh()
    const [master] = cluster.masters
    await master?.kill()
    await expect(
      apply(
        store,
        many.map((uuid) => snapshot(uuid)),
      ),
    ).rejects.toThrow()
    await expect(store.ping()).rejects.toThrow()
    await master?.restart()
    // The first call fails and makes the client connect again.
    await waitUntil(
      'every master answers',
      () => store.ping().catch(String),
      (trouble) => trouble === undefined,
    )
    expect(
      (
        await apply(
          store,
          many.map((uuid) => snapshot(uuid, 2)),
        )
      ).length,
    ).toBe(many.length)
  })
})

const customers = [snapshot('c0'), snapshot('c1')]
/** Calls `run` once, before the client's first call of this method. */
const before = (method: 'hset' | 'hmget' | 'movePosition', run: () => Promise<unknown>) => {
  const target = client as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
  const original = target[method]?.bind(client) as (...args: unknown[]) => Promise<unknown>
  let done: Promise<unknown> | undefined
  target[method] = async (...args) => {
    done ??= run()
    await done
    return original(...args)
  }
  onTestFinished(() => void Reflect.deleteProperty(target, method))
}

describe('a master that is replaced by a replica without the last writes', () => {
  it('a chunk fails if a master loses customers of the chunk before the token is written', async () => {
    const { store, keyPrefix } = fresh()
    await store.movePosition(0, undefined, '7')
    before('hset', () => client.del(customerKey('c0', keyPrefix)))
    await expect(store.applyChunk(customers, 0, '7', '8')).rejects.toThrow(LostChunkError)
    expect((await store.positions([0])).get(0)).toBe('7')
    expect(await store.applyChunk(customers, 0, '7', '8')).toEqual({ moved: true, stored: ['applied', 'duplicate'] })
  })

  it('a chunk fails if a master loses an entry of an index before the token is written', async () => {
    const { store, keyPrefix } = fresh()
    await store.movePosition(0, undefined, '7')
    before('hset', () => client.del(indexKey('phone:+1', keyPrefix)))
    const indexed = { ...snapshot('c0'), terms: ['phone:+1', 'phone:+2'] as const }
    await expect(store.applyChunk([indexed], 0, '7', '8')).rejects.toThrow(LostChunkError)
    expect((await store.positions([0])).get(0)).toBe('7')
    expect(await store.applyChunk([indexed], 0, '7', '8')).toEqual({ moved: true, stored: ['duplicate'] })
    expect(await client.zrange(indexKey('phone:+1', keyPrefix), '0', '-1')).toEqual(['c0'])
  })

  it('after a master has lost entries and its position, a newer event adds the entries again', async () => {
    const { store, keyPrefix, copies } = fresh()
    const indexed = (timestamp: number) => ({ ...snapshot('c0', timestamp), terms: ['phone:+1', 'phone:+2'] as const })
    await store.movePosition(0, undefined, '7')
    await store.applyChunk([indexed(1)], 0, '7', '8')
    await client.del(indexKey('phone:+1', keyPrefix))
    await Promise.all(copies.map((copy) => client.hset(copy, positionField(TOPIC, 0), '7')))
    // The chunk has both events, and only the newest event of a chunk is applied.
    await store.applyChunk([indexed(2)], 0, '7', '9')
    expect(await client.zrange(indexKey('phone:+1', keyPrefix), '0', '-1')).toEqual(['c0'])
  })

  it('a chunk of a rebuild fails if a master loses hashes of the chunk before the token is written', async () => {
    const { store, keyPrefix } = fresh()
    await store.movePosition(0, undefined, '7')
    // The replica has the same event, written by the lower projection.
    before('hset', () => client.hmset(customerKey('c0', keyPrefix), '_projection', '0'))
    await expect(store.applyChunk(customers, 0, '7', '8')).rejects.toThrow(LostChunkError)
    expect(await store.applyChunk(customers, 0, '7', '8')).toEqual({ moved: true, stored: ['applied', 'duplicate'] })
  })

  it('a chunk fails if a master loses customers of the chunk and the token after the check', async () => {
    const { store, keyPrefix, copies } = fresh()
    await store.movePosition(0, undefined, '7')
    const { movePosition } = client as unknown as { movePosition: object }
    expect(movePosition).toBeDefined()
    before('movePosition', async () => {
      await client.del(customerKey('c0', keyPrefix))
      await Promise.all(copies.map((copy) => client.hdel(copy, `${positionField(TOPIC, 0)}#token`)))
    })
    await expect(store.applyChunk(customers, 0, '7', '8')).rejects.toThrow('token')
    expect((await store.positions([0])).get(0)).toBe('7')
  })
})

describe('a late projector on a cluster', () => {
  it('finds that another projector has moved the position, so its documents are not published', async () => {
    const { store } = fresh()
    await store.movePosition(0, undefined, '9')
    expect(await store.writeChunk([snapshot('c0')], 0, '6', '7')).toMatchObject({ isInPlace: false })
    expect(await store.writeChunk([snapshot('c0')], 0, undefined, '7')).toMatchObject({ isInPlace: false })
  })

  it('continues if its own earlier attempt has moved the position', async () => {
    const { store } = fresh()
    await store.movePosition(0, undefined, '7')
    expect(await store.writeChunk([snapshot('c0')], 0, '6', '7')).toMatchObject({ isInPlace: true })
  })
})

describe('erasures on a cluster', () => {
  const erasures = ['c0', 'c1'].map((customerUuid, i) => ({
    customerUuid,
    erasure: { scope: 'forever' as const, erasedAt: 5, reason: 'r', requestedBy: 'b' },
    offset: String(i),
  }))
  const executed = { topicId: 'id', offset: '2' }

  it('an erasure erases its customers, refuses their later events, and keeps all other customers', async () => {
    const { store, keyPrefix } = fresh()
    await apply(store, [snapshot('c0'), snapshot('c2')])
    const from = (await store.positions([0])).get(0) ?? ''
    const { isInPlace, stored, token } = await store.writeErasures(erasures, 0, from, 'id')
    expect([isInPlace, stored]).toEqual([true, ['erased', 'erased']])
    expect(await store.moveAfter(0, from, from, token, { erasures: executed })).toBe(true)
    expect(await store.erasuresPositions([0])).toEqual(new Map([[0, executed]]))
    expect(await apply(store, [snapshot('c0', 2), snapshot('c1', 2), snapshot('c2', 2), snapshot('c3')])).toEqual([
      'erased',
      'erased',
      'applied',
      'applied',
    ])
    expect(await client.exists(customerKey('c0', keyPrefix))).toBe(0)
  })

  it('the position in the erasures topic is unknown if one master has lost its copy', async () => {
    const { store, copies } = fresh()
    await store.movePosition(0, undefined, '7')
    const { token } = await store.writeErasures(erasures, 0, '7', 'id')
    await store.moveAfter(0, '7', '7', token, { erasures: executed })
    await client.hdel(copies[9] ?? '', `${positionField(TOPIC, 0)}#erasures`)
    expect(await store.erasuresPositions([0])).toEqual(new Map([[0, undefined]]))
  })

  it('an erasure is rejected if a master loses the mark before the token is written', async () => {
    const { store, keyPrefix } = fresh()
    await store.movePosition(0, undefined, '7')
    before('hset', () => client.del(erasedKey('c0', keyPrefix)))
    await expect(store.writeErasures(erasures, 0, '7', 'id')).rejects.toThrow(LostChunkError)
  })
})

describe('a master that is set back to its last backup', () => {
  it.each(['hset', 'hmget', 'movePosition'] as const)(
    'a position does not move if a master is restored from its backup before %s',
    { timeout: 60_000 },
    async (method) => {
      const { store, keyPrefix } = fresh()
      // Without this setting Redis could answer before the append-only file has the position.
      await Promise.all(cluster.masters.map((each) => each.client.config('SET', 'appendfsync', 'always')))
      await store.movePosition(0, undefined, '7')
      // Find the master that owns the customer's slot: `exists` rejects on the other masters. The
      // position does not show this master, because all masters have a copy.
      const owners = cluster.masters.map((each) => each.client.exists(customerKey('c0', keyPrefix)).then(() => each))
      const master = await Promise.any(owners)
      await master.backUp()
      before(method, async () => {
        await master.kill()
        await master.restart('backup')
        await waitUntil(
          'every master answers',
          () => store.ping().catch(String),
          (trouble) => trouble === undefined,
        )
      })
      await expect(store.applyChunk(customers, 0, '7', '8')).rejects.toThrow(LostChunkError)
      expect(await client.exists(customerKey('c0', keyPrefix))).toBe(0)
      expect((await store.positions([0])).get(0)).toBe('7')
      expect(await store.applyChunk(customers, 0, '7', '8')).toMatchObject({ moved: true })
      expect(await client.exists(customerKey('c0', keyPrefix))).toBe(1)
    },
  )
})

describe('positions on a cluster', () => {
  it('copies of the positions are in every 1024th slot', async () => {
    const slots = await Promise.all(fresh().copies.map((key) => client.cluster('KEYSLOT', key)))
    expect(slots).toEqual(Array.from({ length: 16 }, (_, i) => i * 1024))
  })

  it('the lowest copy of a position counts, and the next move sets all copies', async () => {
    const { store, copies } = fresh()
    expect(await store.movePosition(0, undefined, '7')).toBe(true)
    expect(await store.movePosition(1, undefined, '10')).toBe(true)
    // As a number, 9 is less than 10. As text, 9 is greater.
    await client.hset(copies[3] ?? '', positionField(TOPIC, 1), '9')
    expect(await store.movePosition(1, '10', '11')).toBe(false)
    const told = new Map([
      [0, '7'],
      [1, '9'],
    ])
    expect(await store.positions([0, 1])).toEqual(told)
    expect(await store.movePosition(1, '9', '12')).toBe(true)
    expect(new Set(await Promise.all(copies.map((key) => client.hget(key, positionField(TOPIC, 1)))))).toEqual(
      new Set(['12']),
    )
  })

  it('a position is unknown if one master has lost its copy', async () => {
    const { store, copies } = fresh()
    expect(await store.movePosition(0, undefined, '7')).toBe(true)
    await client.del(copies[9] ?? '')
    expect(await store.positions([0])).toEqual(new Map([[0, undefined]]))
    expect(await store.movePosition(0, undefined, '2')).toBe(false)
    expect(await store.positions([0])).toEqual(new Map([[0, '2']]))
  })

  it('a window is found even if only one copy of the positions has the window', async () => {
    const { store, copies } = fresh()
    await store.movePosition(0, undefined, '7')
    const window = { start: '7', end: '12' }
    await store.applyChunk([], 0, '7', '9', { window })
    await client.hdel(copies[3] ?? '', `${positionField(TOPIC, 0)}#window`)
    expect(await store.unfinishedWindows([0])).toEqual(new Map([[0, { position: '9', ...window }]]))
    await store.applyChunk([], 0, '9', '12', { window })
    expect(await store.unfinishedWindows([0])).toEqual(new Map())
  })
})
