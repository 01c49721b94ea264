/** Indexes in a real Redis: each term of each hash is found, whichever call fails. */
import { loadSettings } from '@customer-stream/runtime'
import { connectRedis, createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import { customerKey, type Erasure, erasedKey, type IndexTerm, indexKey } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testRedisUrl } from '@customer-stream/testing/vitest'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { IndexedCustomer } from './indexes.ts'
import { LostChunkError } from './position-store.ts'
import { createStore, type Store } from './store.ts'

const redis = createRedis(loadSettings(redisSettings, { REDIS_URL: testRedisUrl() }), silentLogger)
beforeAll(() => connectRedis(redis))
afterAll(() => redis.disconnect())

const customerOf = (customerUuid: string, timestamp: number, phones: readonly string[], id = 'e'): IndexedCustomer => ({
  customerUuid,
  version: { timestamp, id },
  terms: ['dealer:d', ...phones.map((phone): IndexTerm => `phone:${phone}`).sort()],
  fieldsAndValues: Object.entries({
    phones: phones.join(' '),
    _eventId: id,
    _eventTimestamp: String(timestamp),
    _receivedAt: String(timestamp),
    _source: 't/0/0',
    _projection: '1',
  }).flat(),
})
/** With so many terms, the entries of a customer are added by a second call. */
const MANY = Array.from({ length: 16 }, (_, i) => `many-${i}`)
const ofProjection = (customer: IndexedCustomer, projection: number): IndexedCustomer => ({
  ...customer,
  fieldsAndValues: [...customer.fieldsAndValues.slice(0, -1), String(projection)],
})
const erasureOf = (customerUuid: string, erasure: Partial<Erasure> = {}) => ({
  customerUuid,
  erasure: { scope: 'forever' as const, erasedAt: 5, reason: 'r', requestedBy: 'b', ...erasure },
  offset: '0',
})

/** A fill whose progress is not stored yet. */
const DOCUMENTS = { progress: '', rawFrom: '0', isComplete: true, keepsNewer: false }

/** Error of a client whose process was killed. */
class Killed extends Error {}

const SCRIPTS = ['applySnapshots', 'updateTerms', 'confirmTerms', 'eraseCustomer', 'deleteErased', 'movePosition']

/** Returns a client that calls `before` before each call of a script, and `after` after it. */
const watched = (before: (script: string) => unknown, after: (script: string) => unknown = () => {}): RedisClient =>
  new Proxy(redis, {
    get: (target, name) => {
      const value = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      if (!SCRIPTS.includes(String(name))) return value.bind(target)
      return async (...args: unknown[]) => {
        await before(String(name))
        const reply = await value.apply(target, args)
        await after(String(name))
        return reply
      }
    },
  })

/**
 * Returns a client whose process is killed after `calls` calls. If `isLastSent` is true, the reply
 * of the last of these calls is lost.
 */
const dying = (calls: number, isLastSent: boolean): RedisClient => {
  let made = 0
  return watched(
    () => {
      made += 1
      if (made > calls) throw new Killed()
    },
    () => {
      if (made === calls && isLastSent) throw new Killed()
    },
  )
}

const fresh = () => {
  const { keyPrefix } = freshNames()
  const storeOf = (client: RedisClient = redis, projection = 1) =>
    createStore(client, { keyPrefix, topic: 't', projection })
  const store = storeOf()
  const apply = async (customers: readonly IndexedCustomer[], by: Store = store) => {
    const from = (await by.positions([0])).get(0)
    return (await by.applyChunk(customers, 0, from, String(Number(from ?? 0) + 1))).stored
  }
  const eraseBy = async (by: Store, ...erased: readonly ReturnType<typeof erasureOf>[]) =>
    by.writeErasures(erased, 0, (await store.positions([0])).get(0) ?? '', 'id')
  const erase = (...erased: readonly ReturnType<typeof erasureOf>[]) => eraseBy(store, ...erased)
  const found = async (phone: string) => (await redis.zrange(`${keyPrefix}index:phone:{${phone}}`, '0', '-1')).sort()
  const indexKeys = () => redis.keys(`${keyPrefix}index:*`)
  const indexOf = (customerUuid: string) => redis.hget(customerKey(customerUuid, keyPrefix), '_index')
  return { keyPrefix, store, storeOf, apply, erase, eraseBy, found, indexKeys, indexOf }
}

describe('an index', () => {
  it('a customer is found only by its current phone numbers', async () => {
    const { apply, found, indexOf } = fresh()
    await apply([customerOf('a', 1, ['1', '2']), customerOf('b', 1, ['2'])])
    expect([await found('1'), await found('2')]).toEqual([['a'], ['a', 'b']])
    await apply([customerOf('a', 2, ['2', '3'])])
    expect([await found('1'), await found('2'), await found('3')]).toEqual([[], ['a', 'b'], ['a']])
    expect(await indexOf('a')).toBe('["dealer:d","phone:2","phone:3"]')
  })

  it('a phone number that moves to another customer finds only that customer', async () => {
    const { apply, found } = fresh()
    await apply([customerOf('a', 1, ['1'])])
    await apply([customerOf('a', 2, []), customerOf('b', 3, ['1'])])
    expect(await found('1')).toEqual(['b'])
  })

  it('a chunk of several calls adds the entries of all customers', async () => {
    const { apply, found, indexOf } = fresh()
    const uuids = Array.from({ length: 600 }, (_, i) => `c${i}`)
    await apply(uuids.map((uuid) => customerOf(uuid, 1, ['1', '2'])))
    expect((await found('2')).length).toBe(600)
    expect(await indexOf('c599')).toBe('["dealer:d","phone:1","phone:2"]')
  })

  it('an older event changes no index', async () => {
    const { apply, found } = fresh()
    await apply([customerOf('a', 5, ['1'])])
    expect(await apply([customerOf('a', 4, ['2'])])).toEqual(['stale'])
    expect([await found('1'), await found('2')]).toEqual([['a'], []])
  })

  it.each([['few'], ['many']])(
    'the entry in the dealer’s index of a customer with %s terms gets the time of each update',
    async (terms) => {
      const { keyPrefix, apply } = fresh()
      const phones = terms === 'few' ? ['1'] : MANY
      await apply([customerOf('a', 5, phones)])
      // No term changes.
      await apply([customerOf('a', 7, phones)])
      expect(await redis.zrange(`${keyPrefix}index:dealer:{d}`, '0', '-1', 'WITHSCORES')).toEqual(['a', '7'])
    },
  )

  it('an update that changes no term writes only the customer’s entry in the dealer’s index', async () => {
    const { keyPrefix, apply } = fresh()
    await apply([customerOf('a', 5, ['1'])])
    await redis.zadd(`${keyPrefix}index:phone:{1}`, '1', 'a')
    await apply([customerOf('a', 7, ['1'])])
    expect(await redis.zscore(`${keyPrefix}index:phone:{1}`, 'a')).toBe('1')
  })

  it('an entry that Redis has lost is added again if its event is applied again', async () => {
    const { keyPrefix, apply, found, storeOf } = fresh()
    await apply([customerOf('a', 5, ['1'])])
    await redis.del(`${keyPrefix}index:phone:{1}`)
    expect(await apply([customerOf('a', 5, ['1'])])).toEqual(['duplicate'])
    expect(await found('1')).toEqual(['a'])
    await redis.del(`${keyPrefix}index:phone:{1}`)
    expect(await apply([customerOf('a', 5, ['1'])], storeOf(redis, 2))).toEqual(['applied'])
    expect(await found('1')).toEqual(['a'])
  })

  it('if two events have the same millisecond, the field _index names the entry that stays', async () => {
    const { apply, erase, found, indexOf, indexKeys } = fresh()
    await apply([customerOf('a', 5, ['1'], 'a')])
    await apply([customerOf('a', 5, ['2'], 'b')])
    expect([await found('1'), await found('2')]).toEqual([['a'], ['a']])
    expect(await indexOf('a')).toBe('["dealer:d","phone:1"]\n["dealer:d","phone:2"]')
    await erase(erasureOf('a'))
    expect(await indexKeys()).toEqual([])
  })

  it('an erased customer has no entry', async () => {
    const { keyPrefix, apply, erase, indexKeys } = fresh()
    await apply([customerOf('a', 1, ['1', '2'])])
    await erase(erasureOf('a'))
    expect(await indexKeys()).toEqual([])
    expect(await redis.hget(erasedKey('a', keyPrefix), '_index')).toBe(null)
  })

  it('after a fill has deleted an erased customer, the customer has no entry', async () => {
    const { keyPrefix, store, apply, indexKeys } = fresh()
    await apply([customerOf('a', 4, ['1'])])
    await store.deleteErased('a', 3)
    expect((await indexKeys()).length).toBe(2)
    await store.deleteErased('a', 4)
    expect(await indexKeys()).toEqual([])
    expect(await redis.exists(erasedKey('a', keyPrefix))).toBe(0)
  })

  it('an erasure that was interrupted removes no entry of a later event of the customer', async () => {
    const { storeOf, apply, erase, eraseBy, found } = fresh()
    await apply([customerOf('a', 1, ['1'])])
    const first = erasureOf('a', { scope: 'until-now', erasedAt: 50 })
    await expect(eraseBy(storeOf(dying(1, false)), first)).rejects.toThrow(Killed)
    await apply([customerOf('a', 70, ['1'])])
    // No term changes, so the score of the entry stays 70.
    await apply([customerOf('a', 80, ['1'])])
    await erase({ ...erasureOf('a', { scope: 'until-now', erasedAt: 75 }), offset: '1' })
    expect(await found('1')).toEqual(['a'])
  })

  it('a tombstone that a fill reads removes no entry of a later event of the customer', async () => {
    const { store, storeOf, apply, eraseBy, found } = fresh()
    await apply([customerOf('a', 1, ['1'])])
    const erasure = erasureOf('a', { scope: 'until-now', erasedAt: 50 })
    await expect(eraseBy(storeOf(dying(1, false)), erasure)).rejects.toThrow(Killed)
    await apply([customerOf('a', 70, ['1'])])
    await apply([customerOf('a', 80, ['1'])])
    await store.deleteErased('a', 75)
    expect(await found('1')).toEqual(['a'])
  })

  it('thousands of terms in the field _index block Redis only for a moment', async () => {
    const { apply, indexOf } = fresh()
    const phones = (from: number) => Array.from({ length: 10_000 }, (_, i) => `+1415${from + i}`)
    await apply([customerOf('a', 5, phones(2_000_000), 'a')])
    // Both lines stay, because both events have the same timestamp.
    await apply([customerOf('a', 5, phones(3_000_000), 'b')])
    expect((await indexOf('a'))?.split('\n').length).toBe(2)
    // If the time grew with the square of the number of terms, the client would give up before
    // Redis answers this call.
    expect(await apply([customerOf('a', 6, ['1'])])).toEqual(['applied'])
  })

  it('a hash without terms, written while indexes are switched off, has no entry', async () => {
    const { apply, indexKeys, indexOf } = fresh()
    await apply([customerOf('a', 1, ['1'])])
    const { terms: _, ...without } = customerOf('a', 2, [])
    await apply([without])
    expect([await indexKeys(), await indexOf('a')]).toEqual([[], null])
  })
})

it('a projector of a lower projection without indexes keeps the entries of an equal event', async () => {
  const { apply, found, indexOf, storeOf } = fresh()
  await apply([ofProjection(customerOf('a', 5, ['1']), 2)], storeOf(redis, 2))
  const { terms: _, ...without } = customerOf('a', 5, ['1'])
  expect(await apply([without])).toEqual(['duplicate'])
  expect([await found('1'), await indexOf('a')]).toEqual([['a'], '["dealer:d","phone:1"]'])
})

describe('the call that applies customers', () => {
  const calling = (setup: ReturnType<typeof fresh>) => {
    const scripts: string[] = []
    return { scripts, by: setup.storeOf(watched((name) => scripts.push(name))) }
  }

  it('one call applies customers, adds their entries and moves the position', async () => {
    const setup = fresh()
    const { apply, found, store } = setup
    await apply([])
    const { scripts, by } = calling(setup)
    await apply([customerOf('a', 1, ['1']), customerOf('b', 1, ['1', '2'])], by)
    // No term changes.
    await apply([customerOf('a', 2, ['1']), customerOf('b', 1, ['1', '2'])], by)
    expect(scripts).toEqual(['applySnapshots', 'applySnapshots'])
    expect([await found('1'), await found('2')]).toEqual([['a', 'b'], ['b']])
    expect(await store.positions([0])).toEqual(new Map([[0, '3']]))
  })

  it.each([
    ['a term changes', ['2']],
    ['a customer has many terms', ['1', ...MANY]],
  ])('the call that applies customers does not move the position if %s', async (_, phones) => {
    const setup = fresh()
    const { apply, found } = setup
    await apply([customerOf('a', 1, ['1'])])
    const { scripts, by } = calling(setup)
    await apply([customerOf('a', 2, phones), customerOf('b', 1, ['3'])], by)
    expect(scripts).toEqual(['applySnapshots', 'updateTerms', 'confirmTerms', 'movePosition'])
    expect([await found(phones[0] ?? ''), await found('3')]).toEqual([['a'], ['b']])
  })

  it.each(['d', 'a:b}', 'a"b', 'a\\', 'a\\"', '\0\n\u{7f}', 'é😀', '%1', ''])(
    'entries are added under the keys of the terms, even if a term has special characters: %j',
    async (value) => {
      const setup = fresh()
      const { keyPrefix, apply } = setup
      await apply([])
      const { scripts, by } = calling(setup)
      const terms = [`dealer:${value}`, `phone:${value}`] as const
      await apply([{ ...customerOf('a', 1, []), terms }], by)
      await apply([{ ...customerOf('a', 2, []), terms }], by)
      expect(scripts).toEqual(['applySnapshots', 'applySnapshots'])
      const scores = await Promise.all(terms.map((term) => redis.zscore(indexKey(term, keyPrefix), 'a')))
      expect(scores).toEqual(['2', '1'])
    },
  )

  it.each(['phone:{1}', 'dealer:{d}'])(
    'an entry that Redis refuses is added later, even by a newer event of the customer: %s',
    async (name) => {
      const { keyPrefix, apply, found, indexOf, store } = fresh()
      await apply([])
      const key = `${keyPrefix}index:${name}`
      await redis.set(key, 'of another program')
      await expect(apply([customerOf('a', 1, ['1']), customerOf('b', 1, ['1'])])).rejects.toThrow('WRONGTYPE')
      for (const customerUuid of ['a', 'b']) expect(await indexOf(customerUuid)).toBe('?\n["dealer:d","phone:1"]')
      expect(await store.positions([0])).toEqual(new Map([[0, '1']]))
      await redis.del(key)
      await apply([customerOf('a', 2, ['1']), customerOf('b', 2, ['1'])])
      expect([await found('1'), await indexOf('a')]).toEqual([['a', 'b'], '["dealer:d","phone:1"]'])
      expect(await redis.zrange(`${keyPrefix}index:dealer:{d}`, '0', '-1')).toEqual(['a', 'b'])
    },
  )

  it('if Redis refuses an update of an entry in a dealer’s index, the entry is updated later', async () => {
    const { keyPrefix, apply, indexOf, store } = fresh()
    await apply([customerOf('a', 1, ['1']), customerOf('b', 1, ['1'])])
    const key = `${keyPrefix}index:dealer:{d}`
    await redis.set(key, 'of another program')
    // No term changes.
    const updates = [customerOf('a', 2, ['1']), customerOf('b', 2, ['1'])]
    await expect(apply(updates)).rejects.toThrow('WRONGTYPE')
    expect(await store.positions([0])).toEqual(new Map([[0, '1']]))
    await redis.del(key)
    await apply(updates)
    expect(await redis.zrange(key, '0', '-1', 'WITHSCORES')).toEqual(['a', '2', 'b', '2'])
    expect(await indexOf('b')).toBe('["dealer:d","phone:1"]')
  })

  it('one call adds the entries of customers of several dealers', async () => {
    const { keyPrefix, apply } = fresh()
    await apply([])
    const customers = Array.from({ length: 300 }, (_, i) => ({
      ...customerOf(`c${i}`, i + 1, []),
      terms: [`dealer:d${i % 3}`] as const,
    }))
    await apply(customers)
    for (const dealer of [0, 1, 2]) {
      const entries = await redis.zrange(`${keyPrefix}index:dealer:{d${dealer}}`, '0', '-1', 'WITHSCORES')
      const own = customers.filter((_, i) => i % 3 === dealer)
      expect(entries).toEqual(own.flatMap(({ customerUuid, version }) => [customerUuid, String(version.timestamp)]))
    }
  })
})

describe('a projector that has lost its partition', () => {
  it('a late projector adds no entry after another projector has written a chunk', async () => {
    const { store, storeOf, apply, found } = fresh()
    await apply([customerOf('a', 1, ['1'])])
    const late = storeOf(
      watched(async (script) => {
        if (script === 'updateTerms') await store.applyChunk([customerOf('a', 3, ['3'])], 0, '1', '2')
      }),
    )
    await expect(late.applyChunk([customerOf('a', 2, ['2'])], 0, '1', '2')).rejects.toThrow(LostChunkError)
    expect([await found('1'), await found('2'), await found('3')]).toEqual([[], [], ['a']])
  })

  it('a late projector adds no entry of a customer that was erased in the meantime', async () => {
    const { storeOf, apply, erase, indexKeys } = fresh()
    await apply([customerOf('a', 1, ['1'])])
    const late = storeOf(
      watched(async (script) => {
        if (script === 'updateTerms') await erase(erasureOf('a'))
      }),
    )
    await expect(late.applyChunk([customerOf('a', 2, ['2'])], 0, '1', '2')).rejects.toThrow(LostChunkError)
    expect(await indexKeys()).toEqual([])
  })
})

it('a failover that loses the entries but not the customers does not move the position', async () => {
  const { keyPrefix, storeOf, apply, found } = fresh()
  await apply([customerOf('a', 1, ['0'])])
  const positions = `${keyPrefix}positions:v1`
  let token: string | null = null
  const store = storeOf(
    watched(
      async (script) => {
        if (script === 'updateTerms') token = await redis.hget(positions, 't/0#token')
      },
      async (script) => {
        // The new primary has all writes that were made before this call.
        if (script !== 'updateTerms') return
        await redis.del(`${keyPrefix}index:phone:{1}`, `${keyPrefix}index:dealer:{d}`)
        await redis.hset(positions, 't/0#token', token ?? '')
      },
    ),
  )
  await expect(store.applyChunk([customerOf('a', 2, ['1'])], 0, '1', '2')).rejects.toThrow(LostChunkError)
  await apply([customerOf('a', 2, ['1'])])
  expect(await found('1')).toEqual(['a'])
})

it.each([
  ['a new document', []],
  ['a document of the stored event', [customerOf('a', 1, ['1', ...MANY])]],
])('a fill with %s leaves no old entry if a newer event is applied before the entries are added', async (_, stored) => {
  const { store, storeOf, apply, found } = fresh()
  await apply(stored)
  let isOvertaken = false
  const filling = storeOf(
    watched(async (script) => {
      if (script !== 'updateTerms' || isOvertaken) return
      isOvertaken = true
      await apply([customerOf('a', 2, ['2'])], store)
    }),
  )
  await filling.applyStates([customerOf('a', 1, ['1', ...MANY])], 0, DOCUMENTS)
  expect([await found('1'), await found('2')]).toEqual([[], ['a']])
})

it('whichever call fails, each term is found after a retry, and an erasure leaves no entry', async () => {
  const event = fc.record({
    customer: fc.constantFrom('a', 'b'),
    timestamp: fc.integer({ min: 1, max: 6 }),
    phones: fc.uniqueArray(fc.constantFrom('1', '2', '3'), { maxLength: 3 }),
    calls: fc.integer({ min: 0, max: 5 }),
    isLastSent: fc.boolean(),
    isFill: fc.boolean(),
    more: fc.constantFrom([], [], MANY),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 12 }), async (events) => {
      const { keyPrefix, storeOf, apply, erase, indexKeys } = fresh()
      const versions = new Map<string, IndexedCustomer>()
      for (const { customer, timestamp, phones, more, calls, isLastSent, isFill } of events) {
        // Events with the same version have the same content.
        const given = versions.get(`${customer}/${timestamp}`) ?? customerOf(customer, timestamp, [...phones, ...more])
        versions.set(`${customer}/${timestamp}`, given)
        const by = storeOf(dying(calls, isLastSent))
        // The owner of the partition repeats a chunk until its position has moved.
        for (const each of [by, storeOf()])
          await (isFill ? each.applyStates([given], 0, DOCUMENTS) : apply([given], each)).catch((error) => {
            if (!(error instanceof Killed)) throw error
          })
      }
      for (const customerUuid of ['a', 'b']) {
        const hash = await redis.hgetall(customerKey(customerUuid, keyPrefix))
        for (const phone of hash.phones?.split(' ').filter(Boolean) ?? [])
          expect(await redis.zscore(`${keyPrefix}index:phone:{${phone}}`, customerUuid)).not.toBe(null)
        const entries = await Promise.all((await indexKeys()).map((key) => redis.zscore(key, customerUuid)))
        const current = versions.get(`${customerUuid}/${hash._eventTimestamp}`)?.terms ?? []
        expect(entries.filter((score) => score !== null).length).toBe(current.length)
      }
      await erase(erasureOf('a'), erasureOf('b'))
      expect(await indexKeys()).toEqual([])
    }),
    { numRuns: 60 },
  )
})

it('each term is found, in whatever order fills and the owners of two partitions work', async () => {
  const event = fc.record({
    actor: fc.constantFrom('fill', 'raw', 'other partition'),
    timestamp: fc.integer({ min: 1, max: 8 }),
    phones: fc.uniqueArray(fc.constantFrom('1', '2', '3'), { maxLength: 2 }),
    more: fc.constantFrom([], [], MANY),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 10 }), fc.scheduler(), async (events, scheduler) => {
      const { keyPrefix, storeOf, store, erase, found, indexKeys } = fresh()
      await store.movePosition(0, undefined, '0')
      await store.movePosition(1, undefined, '0')
      const versions = new Map<number, IndexedCustomer>()
      for (const { timestamp, phones, more } of events)
        if (!versions.has(timestamp)) versions.set(timestamp, customerOf('a', timestamp, [...phones, ...more]))
      const actors = Object.groupBy(events, ({ actor }) => actor)
      const work = Object.values(actors).map(async (own) => {
        const by = storeOf(watched(() => scheduler.schedule(Promise.resolve())))
        for (const { actor, timestamp } of own) {
          const given = versions.get(timestamp)!
          const partition = actor === 'raw' ? 0 : 1
          for (let isDone = false; !isDone; )
            try {
              if (actor === 'fill') await by.applyStates([given], 0, DOCUMENTS)
              else {
                const from = (await store.positions([partition])).get(partition)
                await by.applyChunk([given], partition, from, String(Number(from) + 1))
              }
              isDone = true
            } catch (error) {
              if (!(error instanceof LostChunkError)) throw error
            }
        }
      })
      await scheduler.waitFor(Promise.all(work))
      const hash = await redis.hgetall(customerKey('a', keyPrefix))
      const phones = ['1', '2', '3']
      const entries = await Promise.all(phones.map(async (phone) => (await found(phone)).length === 1))
      const numbers = (hash.phones ?? '').split(' ')
      expect(phones.filter((_, i) => entries[i])).toEqual(phones.filter((phone) => numbers.includes(phone)))
      await erase(erasureOf('a'))
      expect(await indexKeys()).toEqual([])
    }),
    { numRuns: 200 },
  )
})
