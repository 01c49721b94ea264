import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import { createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import {
  type CustomerHash,
  compareVersions,
  customerFromHash,
  customerKey,
  customerToHash,
  parseEvent,
  type Version,
} from '@customer-stream/schemas'
import { freshNames, openTcpProxy } from '@customer-stream/testing'
import { anyText } from '@customer-stream/testing/any-text'
import { startRedis, testRedisUrl } from '@customer-stream/testing/vitest'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createStore, type Store } from './store.ts'

const TOPIC = 'raw'
const connections: RedisClient[] = []
const connect = async (url: string): Promise<RedisClient> => {
  const settings = loadSettings(redisSettings, { REDIS_URL: url, REDIS_COMMAND_TIMEOUT_MS: '5000' })
  const redis = createRedis(settings, createLogger('test', 'silent'))
  connections.push(redis)
  await redis.connect()
  return redis
}
let redis: RedisClient
beforeAll(async () => {
  redis = await connect(testRedisUrl())
})
afterAll(() => {
  for (const connection of connections) connection.disconnect()
})

const fresh = (client: RedisClient = redis, projection = 1) => {
  const { keyPrefix } = freshNames()
  const store = (version = projection) => createStore(client, { keyPrefix, topic: TOPIC, projection: version })
  return {
    store: store(),
    storeOf: store,
    keyOf: (customerUuid: string) => customerKey(customerUuid, keyPrefix),
    keyPrefix,
  }
}
const snapshot = (
  { timestamp, id }: Version,
  fields: object = {},
  customerUuid = 'c',
  projection = 1,
): CustomerHash => {
  const body = JSON.stringify({
    id,
    timestamp,
    type: 'customers',
    payload: { customerWithVehicles: { customer: { ...fields, customerUuid } } },
  })
  const event = parseEvent(Buffer.from(body))
  if (!event.ok || event.value.kind !== 'customers') throw new Error(body)
  const hash = customerToHash(event.value, {
    topic: TOPIC,
    partition: 0,
    offset: '0',
    receivedAt: 1,
    appliedAt: 1,
    projection,
  })
  if (!hash.ok) throw new Error(hash.reason)
  return hash.value
}
const asObject = ({ fieldsAndValues }: CustomerHash) =>
  Object.fromEntries(fieldsAndValues.flatMap((field, i) => (i % 2 ? [] : [[field, fieldsAndValues[i + 1]]])))

/** Applies a chunk at the current position. */
const apply = async (store: Store, customers: readonly CustomerHash[]) => {
  const from = (await store.positions([0])).get(0)
  const { moved, stored } = await store.applyChunk(customers, 0, from, String(Number(from ?? 0) + 1))
  expect(moved).toBe(true)
  return stored
}

describe('applyChunk', () => {
  it('a newer event replaces the whole hash and keeps no field of the older event', async () => {
    const { store, keyOf } = fresh()
    const customers = ['a', 'b']
    const older = customers.map((uuid) =>
      snapshot({ timestamp: 1, id: 'a' }, { firstName: 'Ann', company: 'gone' }, uuid),
    )
    const newer = customers.map((uuid) => snapshot({ timestamp: 2, id: 'b' }, { firstName: 'Anna' }, uuid))
    expect(await apply(store, older)).toEqual(['applied', 'applied'])
    expect(await apply(store, newer)).toEqual(['applied', 'applied'])
    expect(await Promise.all(customers.map((uuid) => redis.hgetall(keyOf(uuid))))).toEqual(newer.map(asObject))
  })

  it('one call returns the outcomes applied, duplicate and stale for many customers', async () => {
    const { store } = fresh()
    const at = (timestamp: number, customer: string) => snapshot({ timestamp, id: 'e' }, {}, customer)
    expect(await apply(store, [at(5, 'a'), at(5, 'b'), at(5, 'c')])).toEqual(['applied', 'applied', 'applied'])
    expect(await apply(store, [at(6, 'a'), at(5, 'b'), at(4, 'c'), at(1, 'd')])).toEqual([
      'applied',
      'duplicate',
      'stale',
      'applied',
    ])
    expect(await apply(store, [])).toEqual([])
  })

  it('events in any order, with any repeats, end in the hash of the newest event', async () => {
    const version = fc.record({
      timestamp: fc.integer({ min: 1, max: 3 }),
      id: anyText({ minLength: 1, maxLength: 3 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(version, { minLength: 1, maxLength: 8 }), async (versions) => {
        const { store, keyOf } = fresh()
        for (const v of versions) await apply(store, [snapshot(v, { firstName: `${v.timestamp} ${v.id}` })])
        for (const v of versions) await apply(store, [snapshot(v, { firstName: `${v.timestamp} ${v.id}` })])
        const newest = versions.reduce((kept, next) => (compareVersions(next, kept) > 0 ? next : kept))
        const stored = customerFromHash(await redis.hgetall(keyOf('c')))
        expect(stored).toMatchObject({
          ok: true,
          value: { version: newest, customer: { firstName: `${newest.timestamp} ${newest.id}` } },
        })
      }),
      { numRuns: 60 },
    )
  })

  it('a hash may have a field __proto__, emoji, NUL, an empty text and 10 000 unknown fields', async () => {
    const { store, keyOf } = fresh()
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`field ${i}`, `value ${i}`]))
    const fields = { ...many, ...JSON.parse('{"__proto__":"p","constructor":"c","😀":"\\u0000","empty":""}') }
    const hash = snapshot({ timestamp: 1, id: 'e' }, fields)
    expect(await apply(store, [hash])).toEqual(['applied'])
    expect(new Map(Object.entries(await redis.hgetall(keyOf('c'))))).toEqual(new Map(Object.entries(asObject(hash))))
    expect(await redis.hlen(keyOf('c'))).toBe(hash.fieldsAndValues.length / 2)
  })

  it.each([
    ['{}', '{}'],
    ['}{', '}{'],
    ['a blank at either end', ' a b '],
    ['a newline and NUL', 'a\nb\0c'],
    ['-', '-'],
    ['an emoji', '😀'],
    ['10 000 characters', 'x'.repeat(10_000)],
  ])('the store finds a customer whose uuid is %s', async (_, uuid) => {
    const { store, keyOf } = fresh()
    await apply(store, [snapshot({ timestamp: 1, id: 'e' }, {}, uuid)])
    expect(await redis.hget(keyOf(uuid), 'customerUuid')).toBe(uuid)
  })

  it('an event replaces a customer’s key even if the key is not a hash', async () => {
    const { store, keyOf } = fresh()
    await redis.set(keyOf('c'), 'not a hash')
    expect(await apply(store, [snapshot({ timestamp: 1, id: 'e' })])).toEqual(['applied'])
    expect(await redis.type(keyOf('c'))).toBe('hash')
  })

  it('a higher projection writes the same event again, a lower projection does not', async () => {
    const { storeOf, keyOf } = fresh()
    const version = { timestamp: 5, id: 'e' }
    await apply(storeOf(1), [snapshot(version, { firstName: 'old layout' })])
    // The rebuild has not read this record yet.
    await redis.hset(keyOf('c'), '_source', `${TOPIC}/0/9`)
    expect(await apply(storeOf(2), [snapshot({ timestamp: 4, id: 'z' }, {}, 'c', 2)])).toEqual(['stale'])
    expect(await apply(storeOf(2), [snapshot(version, { firstName: 'new layout' }, 'c', 2)])).toEqual(['applied'])
    expect(await apply(storeOf(1), [snapshot(version, { firstName: 'old layout' })])).toEqual(['duplicate'])
    expect(await redis.hget(keyOf('c'), 'firstName')).toBe('new layout')
  })
})

describe('a hash that other programs have changed', () => {
  it("an event removes the time to live of a customer's hash", async () => {
    const { store, keyOf } = fresh()
    await apply(store, [snapshot({ timestamp: 1, id: 'e' })])
    await redis.expire(keyOf('c'), 1000)
    await apply(store, [snapshot({ timestamp: 2, id: 'e' })])
    expect(await redis.ttl(keyOf('c'))).toBe(-1)
  })

  it('an event removes every old field, even if two names of new fields are equal in UTF-8', async () => {
    const { store, keyOf } = fresh()
    await apply(store, [snapshot({ timestamp: 1, id: 'e' }, { gone: 'old' })])
    await apply(store, [snapshot({ timestamp: 2, id: 'e' }, { '\ud800': 'a', '\ud801': 'b' })])
    const fields = await redis.hgetall(keyOf('c'))
    expect(fields).not.toHaveProperty('gone')
    expect(fields['\ufffd']).toBe('b')
  })
})

describe('missing rights in Redis', () => {
  it.each(['hdel', 'hlen', 'hkeys', 'persist'])(
    'without the right +%s, an apply fails and leaves no half-replaced hash',
    async (command) => {
      const server = await startRedis({})
      onTestFinished(() => server.stop())
      const admin = await connect(server.url)
      await admin.call('ACL', 'SETUSER', 'few', 'on', '>secret', '~*', '+@all', `-${command}`)
      const { host } = new URL(server.url)
      const { keyPrefix } = freshNames()
      const stores = [admin, await connect(`redis://few:secret@${host}`)].map((client) =>
        createStore(client, { keyPrefix, topic: TOPIC, projection: 1 }),
      )
      const [byAdmin, byFew] = stores as unknown as unknown as [Store, Store]
      await apply(byAdmin, [snapshot({ timestamp: 1, id: 'e' }, { company: 'old' })])
      const newer = [snapshot({ timestamp: 2, id: 'e' }, { firstName: 'new' })]
      await expect(apply(byFew, newer)).rejects.toThrow(/NOPERM|can't run this command|no permissions/)
      expect(await byAdmin.positions([0])).toEqual(new Map([[0, '1']]))
      await admin.call('ACL', 'SETUSER', 'few', `+${command}`)
      expect(await apply(byFew, newer)).toEqual(['applied'])
      expect(await admin.hgetall(customerKey('c', keyPrefix))).toEqual(asObject(newer[0] as CustomerHash))
    },
  )
})

describe('a Redis that is replaced behind its address', () => {
  /**
   * Opens a proxy to `first`. Script call number `nth` and all later data go to `second`. The
   * switch happens when the first server has answered all earlier scripts and `promote` has ended.
   * The client's connection stays open.
   */
  const openSwitch = async (first: string, second: string, nth: number, promote: () => Promise<unknown>) => {
    const dial = (url: string) => connectSocket(Number(new URL(url).port), new URL(url).hostname)
    const server = createServer((client) => {
      const old = dial(first)
      let [scripts, held, next] = [0, '', undefined as Socket | undefined]
      const isSwitching = () => scripts >= nth
      client.on('data', (data) => {
        let text = data.toString('latin1')
        if (next) return void next.write(data)
        if (isSwitching()) {
          held += text
          return
        }
        for (const { index } of text.matchAll(/\*\d+\r\n\$\d\r\neval(sha)?\r\n/gi)) {
          scripts += 1
          if (!isSwitching()) continue
          held = text.slice(index)
          text = `${text.slice(0, index)}*2\r\n$4\r\nECHO\r\n$4\r\nlast\r\n`
          break
        }
        old.write(text, 'latin1')
      })
      old.on('data', (reply) => {
        const end = reply.indexOf('$4\r\nlast\r\n')
        client.write(end < 0 ? reply : reply.subarray(0, end))
        if (end < 0) return
        promote().then(
          () => {
            next = dial(second)
            next.on('data', (later) => client.write(later))
            next.write(held, 'latin1')
          },
          () => client.destroy(),
        )
      })
      for (const event of ['close', 'error']) {
        client.on(event, () => {
          old.destroy()
          next?.destroy()
        })
      }
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  /** Starts a primary and its replica. The network between both servers can be stalled. */
  const startReplicated = async () => {
    const servers = await Promise.all([startRedis({}, 'local'), startRedis({}, 'local')])
    onTestFinished(() => Promise.all(servers.map((server) => server.stop())).then(() => undefined))
    const [primary, replica] = await Promise.all([connect(servers[0].url), connect(servers[1].url)])
    const { hostname, port } = new URL(servers[0].url)
    const network = await openTcpProxy({ host: hostname, port: Number(port) })
    onTestFinished(() => network.close())
    await replica.replicaof('127.0.0.1', network.port)
    await waitUntil(
      'the replica is in sync',
      () => replica.info('replication'),
      (info) => info.includes('master_link_status:up'),
    )
    /** Waits for the replica. The command WAIT covers only the writes of its own connection. */
    const untilInSync = async () => {
      const offsetOf = async (server: RedisClient, name: string) =>
        Number(new RegExp(`${name}:(\\d+)`).exec(await server.info('replication'))?.[1])
      const written = await offsetOf(primary, 'master_repl_offset')
      await waitUntil(
        'the replica has all writes',
        () => offsetOf(replica, 'slave_repl_offset'),
        (received) => received >= written,
      )
    }
    return { urls: [servers[0].url, servers[1].url] as const, primary, replica, network, untilInSync }
  }

  // A chunk of 600 customers needs four script calls: three for the customers, and one that moves
  // the position. "Before script 5" means after the whole chunk.
  it.each([
    ['no customer', 1],
    ['no customer', 2],
    ['no customer', 3],
    ['no customer', 4],
    ['no customer', 5],
    ['all earlier calls', 2],
    ['all earlier calls', 3],
    ['all earlier calls', 4],
    ['all earlier calls', 5],
  ])(
    'if a replica with %s of a chunk is promoted before script %i, it has the customers before its position',
    { timeout: 60_000 },
    async (what, nth) => {
      const { urls, primary, replica, network, untilInSync } = await startReplicated()
      const { keyPrefix } = freshNames()
      const options = { keyPrefix, topic: TOPIC, projection: 1 }
      const direct = createStore(primary, options)
      // After these calls the primary has the scripts, so the client sends each later call once.
      await direct.applyChunk([], 1, undefined, '1')
      await direct.movePosition(0, undefined, '7')
      await untilInSync()
      const inSync = what === 'all earlier calls'
      if (!inSync) network.set('stalled')
      const promote = async () => {
        if (inSync) await untilInSync()
        await replica.replicaof('NO', 'ONE')
      }
      const client = await connect(await openSwitch(urls[0], urls[1], nth, promote))
      const customers = Array.from({ length: 600 }, (_, i) => snapshot({ timestamp: 1, id: 'e' }, {}, `c${i}`))
      const { moved } = await createStore(client, options)
        .applyChunk(customers, 0, '7', '607')
        .catch(() => ({ moved: false }))
      if (nth === 5) await promote()

      const promoted = createStore(replica, options)
      const position = (await promoted.positions([0])).get(0)
      const isThere = () =>
        Promise.all(customers.map(({ customerUuid }) => replica.exists(customerKey(customerUuid, keyPrefix))))
      const present = (await isThere()).filter(Boolean).length
      const isWhole = inSync || nth === 1
      // Before script 5 the chunk is complete, so the position has moved, but only on the lost
      // primary.
      expect([moved, position, present]).toEqual([isWhole || nth === 5, isWhole ? '607' : '7', isWhole ? 600 : 0])
      expect(await promoted.applyChunk(customers, 0, position, '607')).toMatchObject({ moved: true })
      expect(await isThere()).not.toContain(0)
    },
  )

  it('a chunk is written only if the position is the start or the end of the chunk', async () => {
    const { store, keyOf } = fresh()
    await store.movePosition(0, undefined, '7')
    expect(await store.applyChunk([snapshot({ timestamp: 1, id: 'e' })], 0, '6', '8')).toEqual({
      moved: false,
      stored: [],
    })
    expect(await redis.exists(keyOf('c'))).toBe(0)
    expect(await store.applyChunk([snapshot({ timestamp: 1, id: 'e' })], 0, '6', '7')).toEqual({
      moved: true,
      stored: ['applied'],
    })
  })
})

/**
 * Compiles a locale from the sources of the C library, because few machines have this locale.
 * Returns undefined if the sources are missing.
 */
const compileLocale = (name: string): string | undefined => {
  const folder = mkdtempSync(join(tmpdir(), 'locale-'))
  try {
    execFileSync('localedef', ['-i', name, '-f', 'UTF-8', join(folder, `${name}.UTF-8`)], { stdio: 'ignore' })
    return folder
  } catch {
    return undefined
  }
}

describe('the order of versions in Lua', () => {
  const localeFolder = compileLocale('en_US')
  const environments: [string, Record<string, string>][] = [
    ['C', { LC_ALL: 'C' }],
    // Without the sources of glibc's locales, only the locale C is tested.
    ...(localeFolder === undefined
      ? []
      : [['en_US.UTF-8', { LC_ALL: 'en_US.UTF-8', LOCPATH: localeFolder }] satisfies [string, Record<string, string>]]),
  ]

  it.each(environments)('Lua orders ids by bytes, like compareVersions, in the locale %s', async (locale, env) => {
    const server = await startRedis({ env }, 'local')
    try {
      const client = await connect(server.url)
      // Lua's own order follows the locale, so the script must not use it.
      expect(await client.eval("return tostring('a' < 'B')", 0)).toBe(locale === 'C' ? 'false' : 'true')
      const id = fc.oneof(
        anyText({ minLength: 1, maxLength: 3 }),
        fc.constantFrom('a', 'B', 'ab-z', 'aba', 'é', 'e', '😀', '\uFFFD', 'a\0'),
      )
      await fc.assert(
        fc.asyncProperty(id, id, async (a, b) => {
          const { store } = fresh(client)
          await apply(store, [snapshot({ timestamp: 1, id: a })])
          const order = Math.sign(compareVersions({ timestamp: 1, id: b }, { timestamp: 1, id: a }))
          expect(order).toBe(Buffer.compare(Buffer.from(b), Buffer.from(a)))
          expect(await apply(store, [snapshot({ timestamp: 1, id: b })])).toEqual([
            ['stale', 'duplicate', 'applied'][order + 1],
          ])
        }),
        { numRuns: 200 },
      )
    } finally {
      await server.stop()
    }
  })
})

describe('a Redis without memory', () => {
  it('a Redis without free memory refuses the whole call and changes nothing', async () => {
    const server = await startRedis({ args: ['--maxmemory-policy', 'noeviction'] })
    try {
      const client = await connect(server.url)
      const { store, keyOf } = fresh(client)
      const before = snapshot({ timestamp: 1, id: 'e' }, { firstName: 'before' })
      await apply(store, [before])
      // Filling the memory instead would not be reliable, because Redis frees its buffers later.
      await client.config('SET', 'maxmemory', '1')
      const after = [
        snapshot({ timestamp: 2, id: 'e' }, { firstName: 'after' }),
        snapshot({ timestamp: 1, id: 'e' }, {}, 'new customer'),
      ]
      await expect(apply(store, after)).rejects.toThrow('OOM')
      await expect(store.movePosition(1, undefined, '7')).rejects.toThrow('OOM')
      expect(await client.hgetall(keyOf('c'))).toEqual(asObject(before))
      await client.config('SET', 'maxmemory', '0')
      expect(await apply(store, after)).toEqual(['applied', 'applied'])
    } finally {
      await server.stop()
    }
  })
})

describe('publishedPositions', () => {
  const event = snapshot({ timestamp: 1, id: 'e' })

  it('the published position is the offset up to which a state topic has all documents', async () => {
    const { store } = fresh()
    expect(await store.publishedPositions([0])).toEqual(new Map([[0, undefined]]))
    await store.applyChunk([], 0, undefined, '5', { stateTopicId: 'one' })
    expect(await store.publishedPositions([0])).toEqual(new Map([[0, { stateTopicId: 'one', offset: '5' }]]))
    const { token } = await store.writeChunk([event], 0, '5', '7')
    await store.moveAfter(0, '5', '7', token, { stateTopicId: 'two' })
    expect(await store.publishedPositions([0])).toEqual(new Map([[0, { stateTopicId: 'two', offset: '7' }]]))
  })

  it('the published position stays unchanged if a projector without a state topic moves the position', async () => {
    const { store } = fresh()
    await store.applyChunk([], 0, undefined, '5', { stateTopicId: 'one' })
    await store.applyChunk([event], 0, '5', '9')
    expect(await store.publishedPositions([0])).toEqual(new Map([[0, { stateTopicId: 'one', offset: '5' }]]))
  })
})

describe('writeChunk and moveAfter', () => {
  const event = snapshot({ timestamp: 1, id: 'e' })

  it('writeChunk does not move the position, and moveAfter moves it', async () => {
    const { store } = fresh()
    await store.movePosition(0, undefined, '6')
    const { isInPlace, stored, token } = await store.writeChunk([event], 0, '6', '7')
    expect({ isInPlace, stored, positions: await store.positions([0]) }).toEqual({
      isInPlace: true,
      stored: ['applied'],
      positions: new Map([[0, '6']]),
    })
    expect(await store.moveAfter(0, '6', '7', token, { window: { start: '6', end: '9' } })).toBe(true)
    expect(await store.unfinishedWindows([0])).toEqual(new Map([[0, { position: '7', start: '6', end: '9' }]]))
  })

  it('writeChunk writes many customers in several calls', async () => {
    const { store } = fresh()
    const many = Array.from({ length: 600 }, (_, i) => snapshot({ timestamp: 1, id: 'e' }, {}, `c${i}`))
    const { stored, token } = await store.writeChunk(many, 0, undefined, '600')
    expect(stored).toEqual(many.map(() => 'applied'))
    expect(await store.moveAfter(0, undefined, '600', token)).toBe(true)
  })

  it('writeChunk writes nothing if another projector has moved the position', async () => {
    const { store, keyOf } = fresh()
    await store.movePosition(0, undefined, '9')
    expect(await store.writeChunk([event], 0, '6', '7')).toMatchObject({ isInPlace: false, stored: [] })
    expect(await redis.exists(keyOf('c'))).toBe(0)
  })

  it('moveAfter fails if another projector has written a chunk after writeChunk', async () => {
    const { store } = fresh()
    const { token } = await store.writeChunk([event], 0, undefined, '7')
    await store.writeChunk([event], 0, undefined, '8')
    await expect(store.moveAfter(0, undefined, '7', token)).rejects.toThrow('token')
  })

  it('moveAfter moves no position that another projector has moved to the same offset', async () => {
    const { store } = fresh()
    const mine = await store.writeChunk([event], 0, undefined, '7')
    const other = await store.writeChunk([event], 0, undefined, '7')
    expect(await store.moveAfter(0, undefined, '7', other.token)).toBe(true)
    await expect(store.moveAfter(0, undefined, '7', mine.token)).rejects.toThrow('token')
  })

  it('moveAfter returns false if another projector has moved the position past the chunk', async () => {
    const { store } = fresh()
    const mine = await store.writeChunk([event], 0, undefined, '7')
    const other = await store.writeChunk([event], 0, undefined, '9')
    expect(await store.moveAfter(0, undefined, '9', other.token)).toBe(true)
    expect(await store.moveAfter(0, undefined, '7', mine.token)).toBe(false)
  })
})

describe('lowerPosition', () => {
  it('moveAfter fails if lowerPosition was called after writeChunk', async () => {
    const { store } = fresh()
    const { token } = await store.writeChunk([snapshot({ timestamp: 1, id: 'e' })], 0, undefined, '7')
    expect(await store.lowerPosition(0, '3')).toBe(false)
    await expect(store.moveAfter(0, undefined, '7', token)).rejects.toThrow('token')
  })

  it('lowerPosition moves a position back, never forward', async () => {
    const { store } = fresh()
    expect(await store.lowerPosition(0, '5')).toBe(false)
    await store.movePosition(0, undefined, '10')
    for (const [to, moves, then] of [
      ['11', false, '10'],
      ['10', false, '10'],
      ['9', true, '9'],
    ] as const) {
      expect(await store.lowerPosition(0, to)).toBe(moves)
      expect(await store.positions([0])).toEqual(new Map([[0, then]]))
    }
  })
})

describe('movePosition', () => {
  it('movePosition moves only from the stored position, and a repeated move succeeds', async () => {
    const { store } = fresh()
    expect(await store.positions([0, 1])).toEqual(
      new Map([
        [0, undefined],
        [1, undefined],
      ]),
    )
    expect(await store.movePosition(0, '3', '5')).toBe(false)
    expect(await store.movePosition(0, undefined, '5')).toBe(true)
    expect(await store.movePosition(0, undefined, '5')).toBe(true)
    expect(await store.movePosition(0, undefined, '6')).toBe(false)
    expect(await store.movePosition(0, '5', '6')).toBe(true)
    expect(await store.positions([1, 0])).toEqual(
      new Map([
        [1, undefined],
        [0, '6'],
      ]),
    )
  })
})

describe('unfinishedWindows', () => {
  it('a window is unfinished until the position has reached its end', async () => {
    const { store } = fresh()
    const window = { start: '9', end: '12' }
    await store.movePosition(0, undefined, '9')
    const unfinished = async () => [...(await store.unfinishedWindows([0, 1]))]
    expect(await unfinished()).toEqual([])
    await store.applyChunk([snapshot({ timestamp: 1, id: 'a' })], 0, '9', '11', { window })
    expect(await unfinished()).toEqual([[0, { position: '11', ...window }]])
    const many = Array.from({ length: 300 }, (_, i) => snapshot({ timestamp: 1, id: 'a' }, {}, `c${i}`))
    await store.applyChunk(many, 0, '11', '12', { window })
    expect(await unfinished()).toEqual([])
  })

  it('the stored window belongs to the process that moved the position', async () => {
    const { store } = fresh()
    await store.movePosition(0, undefined, '9')
    await store.applyChunk([], 0, '9', '11', { window: { start: '9', end: '20' } })
    const late = await store.applyChunk([], 0, '9', '10', { window: { start: '9', end: '11' } })
    expect(late.moved).toBe(false)
    expect(await store.unfinishedWindows([0])).toEqual(new Map([[0, { position: '11', start: '9', end: '20' }]]))
  })

  it('if a previous projection ended inside a window, its position counts as the start of the window', async () => {
    const { storeOf } = fresh()
    const previous = storeOf(1)
    await previous.movePosition(0, undefined, '9')
    await previous.applyChunk([], 0, '9', '11', { window: { start: '9', end: '12' } })
    expect(await storeOf(2).previousPosition(0)).toBe('9')
    await previous.movePosition(0, '11', '9')
    await previous.forgetWindow(0)
    await previous.movePosition(0, '9', '11')
    expect(await storeOf(2).previousPosition(0)).toBe('11')
  })
})
