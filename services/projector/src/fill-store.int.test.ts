import { randomUUID } from 'node:crypto'
import { type CustomerHash, clusterPositionsKeys, customerKey, indexKey, positionsKey } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectBothKinds, REDIS_KINDS } from '@customer-stream/testing/vitest'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createFillStore, type Fill, progressText } from './fill-store.ts'
import { LostChunkError } from './position-store.ts'
import { createStore } from './store.ts'

const TOPIC = 'raw'
const FIELD = `${TOPIC}/0`
const clients = connectBothKinds()

const start = { stateTopicId: 'state-1', next: '0', end: '100', rawFrom: '30', isComplete: true }
const first = { ...start, progress: '', keepsNewer: true }
const last = { ...first, keepsNewer: false }
const snapshot = (customerUuid: string, timestamp: number, projection = 1, source = `${FIELD}/5`): CustomerHash => ({
  customerUuid,
  version: { timestamp, id: 'e' },
  fieldsAndValues: Object.entries({
    customerUuid,
    _eventTimestamp: `${timestamp}`,
    _eventId: 'e',
    _projection: `${projection}`,
    _source: source,
  }).flat(),
})

describe.each(REDIS_KINDS)('on %s', (kind) => {
  const fresh = (projection = 1) => {
    const client = clients[kind]
    const { keyPrefix } = freshNames()
    const options = { keyPrefix, topic: TOPIC, projection }
    const key =
      kind === 'one Redis' ? positionsKey(projection, keyPrefix) : clusterPositionsKeys(projection, keyPrefix)[3]!
    return {
      client,
      key,
      fillStore: createFillStore(client, options),
      store: createStore(client, options),
      hashOf: (customerUuid: string) => client.hgetall(customerKey(customerUuid, keyPrefix)),
    }
  }
  const begun = async (
    fillStore: ReturnType<typeof fresh>['fillStore'],
    fill: Omit<Fill, 'id' | 'hasKept'> = start,
  ) => {
    await fillStore.beginFill(0, fill)
    return (await fillStore.fills([0])).get(0)!
  }

  it('the first raw offset of a fill becomes the published position, and the progress is stored', async () => {
    const { fillStore, store } = fresh()
    expect(await fillStore.fills([0, 1])).toEqual(new Map())
    const fill = await begun(fillStore)
    expect(fill).toMatchObject(start)
    expect(await store.publishedPositions([0])).toEqual(new Map([[0, { stateTopicId: 'state-1', offset: '30' }]]))
    const moved = await fillStore.moveFill(0, fill, { next: '7', isComplete: true, hasKept: false })
    expect(moved).toMatchObject({ ...start, next: '7' })
    expect(await fillStore.fills([0, 1])).toEqual(new Map([[0, moved]]))
  })

  it('an incomplete fill stores no published position', async () => {
    const { fillStore, store } = fresh()
    expect(await begun(fillStore, { ...start, isComplete: false })).toMatchObject({ isComplete: false })
    expect((await store.publishedPositions([0])).get(0)).toBeUndefined()
  })

  it('an earlier fill changes nothing after a new fill of the partition has begun', async () => {
    const { fillStore, store } = fresh()
    const earlier = await begun(fillStore)
    const fill = await begun(fillStore)
    await store.movePosition(0, undefined, '40')
    expect(await fillStore.moveFill(0, earlier, { next: '99', isComplete: true, hasKept: false })).toBeUndefined()
    await fillStore.endFill(0, earlier)
    expect(await fillStore.fills([0])).toEqual(new Map([[0, fill]]))
    expect((await store.positions([0])).get(0)).toBe('40')
  })

  it('the end of a fill moves the position back, never forward', async () => {
    const { fillStore, store } = fresh()
    const fill = await begun(fillStore)
    await store.movePosition(0, undefined, '40')
    await fillStore.endFill(0, fill)
    // Repeat the call, as a projector does if the first reply was lost.
    await fillStore.endFill(0, fill)
    expect([await fillStore.fills([0]), (await store.positions([0])).get(0)]).toEqual([new Map(), '30'])
    const again = await begun(fillStore)
    await store.movePosition(0, '30', '20')
    await fillStore.endFill(0, again)
    expect((await store.positions([0])).get(0)).toBe('20')
  })

  it('a chunk written before a fill does not move the position after the fill', async () => {
    const { fillStore, store } = fresh()
    await store.movePosition(0, undefined, '30')
    const { token } = await store.writeChunk([snapshot('a', 1)], 0, '30', '31')
    const fill = await begun(fillStore)
    await fillStore.endFill(0, fill)
    await expect(store.moveAfter(0, '30', '31', token)).rejects.toThrow(LostChunkError)
  })

  it('a chunk or an erasure with documents to publish is refused during a fill', async () => {
    const { fillStore, store } = fresh()
    const fill = await begun(fillStore)
    await store.movePosition(0, undefined, '30')
    const write = () => store.writeChunk([snapshot('a', 1)], 0, '30', '31')
    const erasure = { erasedAt: 1, scope: 'forever', reason: 'asked', requestedBy: 'test' } as const
    const erase = () => store.writeErasures([{ customerUuid: 'a', erasure, offset: '0' }], 0, '30', 'id')
    expect([await write(), await erase()]).toMatchObject([{ isInPlace: false }, { isInPlace: false }])
    const many = Array.from({ length: 300 }, (_, i) => snapshot(`b-${i}`, 1))
    expect(await store.applyChunk(many, 0, '30', '31')).toMatchObject({ moved: true })
    await fillStore.endFill(0, fill)
    expect([await write(), await erase()]).toMatchObject([{ isInPlace: true }, { isInPlace: true }])
  })

  it('the progress of a fill shows whether the fill has kept hashes that may be false', async () => {
    const { fillStore } = fresh()
    const fill = await begun(fillStore)
    const kept = await fillStore.moveFill(0, fill, { next: '7', isComplete: true, hasKept: true })
    expect(await fillStore.fills([0])).toEqual(new Map([[0, kept]]))
    const resolved = await fillStore.moveFill(0, kept!, { next: '8', isComplete: true, hasKept: false })
    expect(await fillStore.fills([0])).toEqual(new Map([[0, resolved]]))
    expect([kept?.hasKept, resolved?.hasKept]).toEqual([true, false])
  })

  it('the store ignores a field whose value is not the progress of a fill', async () => {
    const { fillStore, client, key } = fresh()
    await client.hset(key, `${FIELD}#fill`, 'nonsense')
    expect(await fillStore.fills([0])).toEqual(new Map())
  })

  it('a fill keeps a newer hash and replaces an older hash', async () => {
    const { store, hashOf } = fresh()
    await store.applyChunk([snapshot('a', 5), snapshot('b', 5)], 0, undefined, '1')
    const many = Array.from({ length: 300 }, (_, i) => snapshot(`many-${i}`, 1))
    await store.applyStates([snapshot('a', 4), snapshot('b', 6), ...many], 0, first)
    expect((await hashOf('a'))._eventTimestamp).toBe('5')
    expect((await hashOf('b'))._eventTimestamp).toBe('6')
    expect((await hashOf('many-299'))._eventTimestamp).toBe('1')
  })

  // Redis closes the connection if a call has more than 1,048,576 arguments.
  it('a fill stores many customers with many fields', async () => {
    const { store, hashOf } = fresh()
    const fields = Array.from({ length: 8001 }, (_, i) => [`f${i}`, `${i}`]).flat()
    const many = Array.from({ length: 70 }, (_, i) => {
      const { fieldsAndValues, ...rest } = snapshot(`many-${i}`, 1)
      return { ...rest, fieldsAndValues: [...fieldsAndValues, ...fields] }
    })
    expect(await store.applyStates(many, 0, first)).toMatchObject({ stored: many, kept: [] })
    for (const i of [0, 69]) expect(await hashOf(`many-${i}`)).toMatchObject({ f0: '0', f8000: '8000' })
  })

  it('a fill sends at most 250 customers to Redis at the same time', async () => {
    const { store, client } = fresh()
    const scripts = client as unknown as { applySnapshots: (...args: unknown[]) => Promise<unknown> }
    const { applySnapshots } = scripts
    onTestFinished(() => void Object.assign(scripts, { applySnapshots }))
    let sent = 0
    let most = 0
    scripts.applySnapshots = async (...args) => {
      const [, , [, , , , , customers]] = args as [number, string[], number[]]
      sent += Number(customers)
      most = Math.max(most, sent)
      try {
        return await applySnapshots.apply(client, args)
      } finally {
        sent -= Number(customers)
      }
    }
    const many = Array.from({ length: 600 }, (_, i) => snapshot(`many-${i}`, 1))
    expect(await store.applyStates(many, 0, first)).toMatchObject({ stored: many, kept: [] })
    expect(most).toBe(250)
  })

  it('a fill keeps newer hashes of a lower projection, and replaces false hashes only at its end', async () => {
    const { store, hashOf } = fresh(2)
    const sources = { false: `${FIELD}/5`, foreign: 'other/0/5', later: `${FIELD}/30` }
    const claims = Object.entries(sources).map(([name, source]) => snapshot(name, 9, 1, source))
    await store.applyStates(claims, 0, first)
    const documents = Object.keys(sources).map((name) => snapshot(name, 4, 2))
    const versions = async () =>
      Promise.all(Object.keys(sources).map(async (name) => (await hashOf(name))._eventTimestamp))

    const [isFalse, foreign] = documents
    const complete = await store.applyStates(documents, 0, first)
    expect(complete).toMatchObject({ stored: documents, kept: [isFalse, foreign] })
    const partial = await store.applyStates(documents, 0, { ...first, isComplete: false })
    expect(partial).toMatchObject({ stored: documents, kept: [foreign] })
    expect(await versions()).toEqual(['9', '9', '9'])

    await store.applyStates(documents, 0, { ...last, isComplete: false })
    expect(await versions()).toEqual(['9', '4', '9'])
    await store.applyStates(documents, 0, last)
    expect(await versions()).toEqual(['4', '4', '9'])
  })

  it('a fill writes a document that is as new as the hash of a lower projection', async () => {
    const { store, hashOf } = fresh(2)
    await store.applyStates([snapshot('a', 9, 1)], 0, first)
    expect(await store.applyStates([snapshot('a', 9, 2)], 0, first)).toMatchObject({ kept: [] })
    expect((await hashOf('a'))._projection).toBe('2')
  })

  it('the store deletes an erased customer, but keeps a customer with a later event', async () => {
    const { store, client, hashOf } = fresh()
    const received = (customerUuid: string, at: number): CustomerHash => ({
      ...snapshot(customerUuid, 1),
      fieldsAndValues: [...snapshot(customerUuid, 1).fieldsAndValues, '_receivedAt', String(at)],
    })
    await store.applyStates([received('a', 10), received('b', 11)], 0, first)
    for (const customerUuid of ['a', 'b', 'none']) await store.deleteErased(customerUuid, 10)
    expect([await hashOf('a'), (await hashOf('b'))._receivedAt, await hashOf('none')]).toEqual([{}, '11', {}])
    expect(client.status).toBe('ready')
  })
})

describe('on one Redis, when a replica without the last writes becomes the primary', () => {
  const open = async () => {
    const client = clients['one Redis']
    const { keyPrefix } = freshNames()
    const options = { keyPrefix, topic: TOPIC, projection: 1 }
    const [fillStore, store] = [createFillStore(client, options), createStore(client, options)]
    await fillStore.beginFill(0, start)
    const fill = (await fillStore.fills([0])).get(0)!
    return { client, fillStore, store, fill, keyPrefix, key: positionsKey(1, keyPrefix) }
  }
  const TOKEN = `${FIELD}#fill#token`
  const next = { next: '7', isComplete: true, hasKept: false }

  it('a failover that loses customers does not move the progress of a fill', async () => {
    const { client, fillStore, store, fill, key } = await open()
    const documents = { ...fill, progress: progressText(fill), keepsNewer: false }
    await store.applyStates([snapshot('a', 1)], 0, documents)
    const token = await client.hget(key, TOKEN)
    const applied = await store.applyStates([snapshot('b', 1)], 0, documents)
    await client.hset(key, TOKEN, token ?? '')
    await expect(fillStore.moveFill(0, fill, next, applied)).rejects.toThrow(LostChunkError)
    // The last step of a fill reads documents a second time, so it does not change the progress.
    await expect(fillStore.moveFill(0, fill, fill, applied)).rejects.toThrow(LostChunkError)
    const again = await store.applyStates([snapshot('b', 1)], 0, documents)
    expect(await fillStore.moveFill(0, fill, next, again)).toMatchObject(next)
  })

  it('a fill that needs several calls does not continue after Redis has lost customers', async () => {
    const { client, store, fill, key } = await open()
    const scripts = client as unknown as { applySnapshots: (...args: unknown[]) => Promise<unknown> }
    const { applySnapshots } = scripts
    onTestFinished(() => void Object.assign(scripts, { applySnapshots }))
    let calls = 0
    scripts.applySnapshots = async (...args) => {
      calls += 1
      if (calls === 2) await client.hdel(key, TOKEN)
      return applySnapshots.apply(client, args)
    }
    const many = Array.from({ length: 300 }, (_, i) => snapshot(`many-${i}`, 1))
    const documents = { ...fill, progress: progressText(fill), keepsNewer: false }
    await expect(store.applyStates(many, 0, documents)).rejects.toThrow(LostChunkError)
  })

  it('an earlier fill writes no customer after a new fill of the partition has begun', async () => {
    const { client, fillStore, store, fill, keyPrefix } = await open()
    await fillStore.beginFill(0, start)
    const applied = await store.applyStates([snapshot('a', 1)], 0, { ...first, progress: progressText(fill) })
    expect(await fillStore.moveFill(0, fill, next, applied)).toBeUndefined()
    expect(await client.exists(customerKey('a', keyPrefix))).toBe(0)
  })
})

describe('on Redis Cluster, when a master is replaced', () => {
  const open = async () => {
    const client = clients['Redis Cluster']
    const { keyPrefix } = freshNames()
    const fillStore = createFillStore(client, { keyPrefix, topic: TOPIC, projection: 1 })
    await fillStore.beginFill(0, start)
    const fill = (await fillStore.fills([0])).get(0)!
    const copies = clusterPositionsKeys(1, keyPrefix)
    return { client, fillStore, fill, copies, keyPrefix }
  }

  it('a fill continues from the lowest of all copies of the progress', async () => {
    const { client, fillStore, fill, copies } = await open()
    const old = await client.hget(copies[2]!, `${FIELD}#fill`)
    const moved = await fillStore.moveFill(0, fill, { next: '7', isComplete: true, hasKept: false })
    await client.hset(copies[2]!, `${FIELD}#fill`, old ?? '')
    expect(await fillStore.moveFill(0, moved!, { next: '8', isComplete: true, hasKept: false })).toBeUndefined()
    const found = (await fillStore.fills([0])).get(0)!
    expect(found).toMatchObject({ ...start, next: '0' })
    expect(await fillStore.moveFill(0, found, { next: '7', isComplete: true, hasKept: false })).toMatchObject({
      next: '7',
    })
  })

  it('a fill continues if one master has lost its copy of the progress', async () => {
    const { client, fillStore, copies } = await open()
    await client.hdel(copies[2]!, `${FIELD}#fill`)
    const found = (await fillStore.fills([0])).get(0)!
    expect(await fillStore.moveFill(0, found, { next: '7', isComplete: true, hasKept: false })).toMatchObject({
      next: '7',
    })
  })

  it('the progress of a fill does not move past lost customers', async () => {
    const { client, fillStore, fill, keyPrefix } = await open()
    const customer = snapshot(randomUUID(), 4)
    const applied = { stored: [customer], kept: [], indexUpdates: [], token: '' }
    await expect(fillStore.moveFill(0, fill, { next: '7', isComplete: true, hasKept: false }, applied)).rejects.toThrow(
      LostChunkError,
    )
    expect((await fillStore.fills([0])).get(0)).toMatchObject({ next: '0' })
    await client.hset(customerKey(customer.customerUuid, keyPrefix), {
      _eventTimestamp: '4',
      _eventId: 'e',
      _projection: '1',
    })
    const found = (await fillStore.fills([0])).get(0)!
    expect(await fillStore.moveFill(0, found, { next: '7', isComplete: true, hasKept: false }, applied)).toMatchObject({
      next: '7',
    })
  })
  it('the progress of a fill does not move past lost entries of indexes', async () => {
    const { client, fillStore, fill, keyPrefix } = await open()
    const store = createStore(client, { keyPrefix, topic: TOPIC, projection: 1 })
    const documents = [{ ...snapshot('a', 4), terms: ['phone:+1', 'vin:V'] as const }]
    const applied = await store.applyStates(documents, 0, first)
    await client.del(indexKey('phone:+1', keyPrefix))
    await expect(fillStore.moveFill(0, fill, { next: '7', isComplete: true, hasKept: false }, applied)).rejects.toThrow(
      LostChunkError,
    )
    const found = (await fillStore.fills([0])).get(0)!
    const again = await store.applyStates(documents, 0, first)
    expect(await client.zrange(indexKey('phone:+1', keyPrefix), '0', '-1')).toEqual(['a'])
    expect(await fillStore.moveFill(0, found, { next: '7', isComplete: true, hasKept: false }, again)).toMatchObject({
      next: '7',
    })
  })

  it('the progress of a rebuild does not move past hashes of the lower projection', async () => {
    const { client, fillStore, fill, keyPrefix } = await open()
    const customer = snapshot('a', 4)
    const applied = { stored: [customer], kept: [], indexUpdates: [], token: '' }
    const hash = { _eventTimestamp: '4', _eventId: 'e', _projection: '0' }
    await client.hset(customerKey('a', keyPrefix), hash)
    await expect(fillStore.moveFill(0, fill, { next: '7', isComplete: true, hasKept: false }, applied)).rejects.toThrow(
      LostChunkError,
    )
  })
})
