import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import fc from 'fast-check'
import { expect, it, onTestFinished, vi } from 'vitest'
import { fakeKafka, LOW } from './fixtures/fake-kafka.ts'
import { setUp, silent } from './fixtures/fake-projection.ts'
import { emptyRedis } from './fixtures/fake-redis.ts'

/** Returns a record of the state topic: a document, or a tombstone if `timestamp` is undefined. */
const stateRecord = (customerUuid: string, timestamp: number | undefined): FetchedRecord =>
  ({
    key: Buffer.from(customerUuid),
    value:
      timestamp === undefined
        ? null
        : Buffer.from(
            JSON.stringify({
              customerUuid,
              version: { timestamp, id: `e${timestamp}` },
              customer: { customerUuid },
              receivedAt: 1,
              source: { topic: 't', partition: 0, offset: '1' },
            }),
          ),
    timestamp: '1000',
  }) as FetchedRecord

/** Replaces the offset with a number that is too large for a JavaScript number. */
const withLongOffset = (record: FetchedRecord): FetchedRecord => ({
  ...record,
  value: Buffer.from(String(record.value).replace('"offset":"1"', '"offset":12345678901234567890')),
})

/** Adds a member that this version does not know. */
const ofNewerSchema = (record: FetchedRecord): FetchedRecord => ({
  ...record,
  value: Buffer.from(JSON.stringify({ ...JSON.parse(String(record.value)), consent: { email: true } })),
})

const withState = (states: readonly FetchedRecord[], committed = '30') => {
  const kafka = fakeKafka()
  kafka.states.push(...states)
  kafka.committed.set(0, { offset: committed, metadata: 'topic/state-1' })
  return setUp({ stateTopic: 's', kafka })
}
const versions = ({ redis }: ReturnType<typeof setUp>) =>
  Object.fromEntries([...redis.customers].map(([uuid, { version }]) => [uuid, version.timestamp]))

it('an empty Redis is filled from the state topic, and then gets the events since the committed offset', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21), stateRecord('a', 22)])
  const { assign, projection, batch, redis, seeks } = world
  await assign()
  expect([redis.position, seeks[0]]).toEqual(['30', '30'])
  await vi.waitFor(() => expect(redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 22, b: 21 })
  await vi.waitFor(() => expect(seeks.length).toBe(2))
  await projection.onBatch(batch(30, ['b']))
  expect([versions(world), redis.position]).toEqual([{ a: 22, b: 30 }, '31'])
})

it.each<[string, (world: ReturnType<typeof withState>) => unknown]>([
  ['the group has no offset', ({ kafka }) => kafka.committed.clear()],
  [
    'an earlier version has committed the offset',
    ({ kafka }) => kafka.committed.set(0, { offset: '30', metadata: '' }),
  ],
  ['the state topic was deleted and created again', ({ kafka }) => (kafka.stateTopicId = 'state-2')],
  [
    'the offset was committed for an earlier topic of this name',
    ({ kafka }) => kafka.committed.set(0, { offset: '30', metadata: 'earlier/state-1' }),
  ],
  ['the state topic has lost its first records', ({ kafka }) => (kafka.stateLow = '1')],
  [
    'the offset is after the last record',
    ({ kafka }) => kafka.committed.set(0, { offset: '9999', metadata: 'topic/state-1' }),
  ],
])('an empty Redis gets all records that Kafka has if %s', async (_, change) => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21)])
  world.kafka.low = '0'
  change(world)
  await world.assign()
  expect([world.redis.position, world.redis.fill, world.seeks]).toEqual(['0', undefined, ['0']])
})

it('an empty Redis is filled from both topics if neither topic has all customers', async () => {
  const world = withState([stateRecord('a', 20)])
  world.kafka.committed.clear()
  await world.assign()
  await vi.waitFor(() => expect(versions(world)).toEqual({ a: 20 }))
  // No published position is stored, because the state topic may lack documents before the
  // position.
  expect([world.redis.position, world.redis.published]).toEqual([LOW, undefined])
})

it.each([
  ['warns that customers may be missing if Kafka has deleted records', LOW, 1],
  ['does not warn if Kafka has all records', '0', 0],
])('a projector with an empty Redis and no state topic %s', async (_, low, warnings) => {
  const kafka = fakeKafka()
  kafka.low = low
  const warn = vi.spyOn(silent, 'warn')
  onTestFinished(() => warn.mockRestore())
  await setUp({ kafka }).assign()
  const events = warn.mock.calls.map(([fields]) => (fields as { event: string }).event)
  expect(events.filter((event) => event === 'oldest-records-gone').length).toBe(warnings)
})

it('a partition with a valid position is not filled from the state topic', async () => {
  const world = withState([stateRecord('a', 20)])
  Object.assign(world.redis, { position: '30', published: { stateTopicId: 'state-1', offset: '30' } })
  await world.assign()
  expect([world.redis.fill, versions(world)]).toEqual([undefined, {}])
})

it('all raw records are applied if the position is beyond the end of the partition', async () => {
  const world = withState([stateRecord('a', 20)])
  world.redis.position = '1001'
  await world.assign()
  expect([world.redis.position, world.redis.fill]).toEqual([LOW, undefined])
})

it('a deleted record does not count as lost if the state topic has its document', async () => {
  const world = withState([stateRecord('a', 20)])
  world.kafka.low = '25'
  world.redis.position = '12'
  await world.assign()
  expect(world.redis.position).toBe('30')
  await vi.waitFor(() => expect(versions(world)).toEqual({ a: 20 }))
  expect(await world.registry.metrics()).toMatch(/^projector_lost_records_total\S* 0$/m)
})

it('a partition gets no position until its partition of the state topic has a leader', async () => {
  const world = withState([stateRecord('a', 20)])
  world.kafka.isStateLed = false
  world.projection.positions.assign([0])
  await vi.waitFor(() => expect(world.steps).toContain('watermarks'))
  await world.projection.positions.loadNewlyLed(world.watermarks())
  expect([world.redis.position, world.seeks]).toEqual([undefined, []])
  world.kafka.isStateLed = true
  await world.projection.positions.loadNewlyLed(world.watermarks())
  expect(world.redis.position).toBe('30')
})

it('no older document of a customer is published during a fill', async () => {
  const world = withState([stateRecord('a', 99)])
  const { assign, projection, batch, redis, before, published, seeks } = world
  const { promise: mayFill, resolve: goOn } = Promise.withResolvers<void>()
  before.fill = () => mayFill
  await assign()
  // The fill has not ended, so Redis does not have the newer event of the customer yet.
  await projection.onBatch(batch(30, ['a', 'b']))
  await projection.positions.commit()
  expect([versions(world), published, redis.position]).toEqual([{ a: 30, b: 31 }, [], '32'])
  expect(world.kafka.committed.get(0)?.offset).toBe('30')
  goOn()
  await vi.waitFor(() => expect(seeks).toEqual(['30', '30']))
  expect(versions(world)).toEqual({ a: 99, b: 31 })
  await projection.onBatch(batch(30, ['a', 'b']))
  expect(published.map(({ key }) => String(key))).toEqual(['b'])
  expect(redis.published).toEqual({ stateTopicId: 'state-1', offset: '32' })
})

it('a fill continues at the offset where another projector has stopped', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21)])
  world.redis.position = '31'
  world.redis.published = { stateTopicId: 'state-1', offset: '30' }
  const progress = { next: '1', end: '2', rawFrom: '30', isComplete: true, hasKept: false }
  world.redis.fill = { id: 'x', stateTopicId: 'state-1', ...progress }
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ b: 21 })
})

it('after a restored master of Redis Cluster has lost customers, the fill writes these customers again', async () => {
  const world = withState([stateRecord('a', 20)])
  await world.assign()
  await vi.waitFor(() => expect(world.seeks.length).toBe(2))
  world.redis.customers.clear()
  const progress = { next: '0', end: '1', rawFrom: '30', isComplete: true, hasKept: false }
  world.redis.fill = { id: 'x', stateTopicId: 'state-1', ...progress }
  await world.projection.checkPositions()
  await vi.waitFor(() => expect(versions(world)).toEqual({ a: 20 }))
})

it('if the state topic is created again during a fill, the fill ends, and all records are applied', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21)])
  const { promise: never } = Promise.withResolvers<void>()
  world.before.fill = () => never
  await world.assign()
  world.kafka.stateTopicId = 'state-2'
  world.kafka.states.length = 0
  await world.projection.checkPositions()
  expect([world.redis.position, world.redis.fill]).toEqual([LOW, undefined])
})

it('if the state topic is switched off during a fill, all records are applied', async () => {
  const redis = emptyRedis()
  const progress = { next: '0', end: '2', rawFrom: '30', isComplete: true, hasKept: false }
  Object.assign(redis, { position: '31', fill: { id: 'x', stateTopicId: 'state-1', ...progress } })
  const world = setUp({ redis })
  await world.assign()
  expect([redis.position, redis.fill, world.seeks]).toEqual([LOW, undefined, [LOW]])
})

it('a fill skips and counts records that are not documents, and deletes an erased customer', async () => {
  const world = withState([
    stateRecord('a', 20),
    { ...stateRecord('a', 21), value: Buffer.from('not JSON') },
    { ...stateRecord('a', 22), key: Buffer.from('b') },
    { ...stateRecord('a', 22), key: null },
    withLongOffset(stateRecord('a', 23)),
    stateRecord('c', 20),
    stateRecord('c', undefined),
  ])
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 20 })
  expect(await world.registry.metrics()).toMatch(/^projector_unusable_states_total\S* 4$/m)
})

it('a fill applies a document of a newer schema, which has an unknown member', async () => {
  const world = withState([
    stateRecord('a', 20),
    ofNewerSchema(stateRecord('a', 21)),
    ofNewerSchema(stateRecord('b', 22)),
  ])
  world.kafka.statesPerFetch = 100
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 21, b: 22 })
  expect(await world.registry.metrics()).toMatch(/^projector_unusable_states_total\S* 0$/m)
})

it('a fill reports unreadable documents, and all raw records are applied afterwards', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21), stateRecord('c', 22)])
  world.kafka.unreadableState = '1'
  const { promise: mayFill, resolve: goOn } = Promise.withResolvers<void>()
  world.before.fill = () => mayFill
  await world.assign()
  await world.projection.onBatch(world.batch(30, ['d']))
  expect(world.redis.position).toBe('31')
  goOn()
  await vi.waitFor(() => expect(world.seeks.at(-1)).toBe(LOW))
  expect([versions(world), world.redis.position, world.redis.fill]).toEqual([{ a: 20, c: 22, d: 30 }, LOW, undefined])
  expect(await world.registry.metrics()).toMatch(/^projector_unreadable_states_total\S* 1$/m)
})

it('a fill reports that Kafka returns no records, and ends when Kafka returns them', async () => {
  const world = withState([stateRecord('a', 20)])
  world.kafka.statesPerFetch = 0
  await world.assign()
  await vi.waitFor(() => expect(world.projection.waitingFor).toMatch(/^state: Kafka returns no records of partition 0/))
  world.kafka.statesPerFetch = 1
  await vi.waitFor(() => expect([versions(world), world.redis.fill]).toEqual([{ a: 20 }, undefined]))
  expect(world.projection.waitingFor).toBeUndefined()
})

it('a fill does not report missing records while a quota delays them', async () => {
  const world = withState([stateRecord('a', 20)])
  Object.assign(world.kafka, { statesPerFetch: 0, areStatesDelayed: true })
  const waiting = vi.fn()
  world.before['fetch state'] = (count) => {
    waiting(world.projection.waitingFor)
    if (count === 50) Object.assign(world.kafka, { statesPerFetch: 1, areStatesDelayed: false })
  }
  await world.assign()
  await vi.waitFor(() => expect([versions(world), world.redis.fill]).toEqual([{ a: 20 }, undefined]))
  expect(new Set(waiting.mock.calls.flat())).toEqual(new Set([undefined]))
})

it('a fill reads the documents of all events before the committed offset', async () => {
  const world = withState([stateRecord('a', 20)])
  // Another projector publishes a document, and commits the offset that follows the document's
  // event.
  world.before.committed = () => {
    world.kafka.states.push(stateRecord('b', 21))
  }
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 20, b: 21 })
})

it('a fill applies a document that was published again while compaction removed the earlier copy', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21)])
  const { states } = world.kafka
  world.before['fetch state'] = (count) => {
    if (count > 1) return
    states.push(...states.splice(1, 1, stateRecord('c', 22)))
  }
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 20, b: 21, c: 22 })
})

it("a fill keeps a customer's newest document, even if the fetch also has an older document", async () => {
  const foreign = (record: FetchedRecord) => ({ ...record, value: Buffer.from(` ${record.value}`) })
  const world = withState([
    stateRecord('a', 22),
    stateRecord('a', 20),
    foreign(stateRecord('b', 22)),
    stateRecord('b', 20),
    foreign(stateRecord('b', 21)),
    stateRecord('c', 22),
    stateRecord('c', undefined),
    stateRecord('c', 20),
  ])
  world.kafka.statesPerFetch = 100
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 22, b: 22, c: 20 })
})

/**
 * Returns a fake Redis and Kafka for a projector whose projection is higher than the projection of
 * the hashes.
 */
const withEarlierHashes = (states: readonly FetchedRecord[], hashes: Readonly<Record<string, number>>) => {
  const world = withState(states)
  for (const [customerUuid, timestamp] of Object.entries(hashes)) {
    const version = { timestamp, id: `e${timestamp}` }
    world.redis.customers.set(customerUuid, { customerUuid, version, fieldsAndValues: [] })
    world.redis.ofLowerProjection.add(customerUuid)
  }
  return world
}

it('a fill reads the documents once if each kept hash has a document that is as new as the hash', async () => {
  const world = withEarlierHashes([stateRecord('a', 20), stateRecord('b', 21), stateRecord('a', 22)], { a: 22, b: 20 })
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect([versions(world), world.redis.ofLowerProjection]).toEqual([{ a: 22, b: 21 }, new Set()])
  expect(world.steps.filter((step) => step === 'fill').length).toBe(3)
})

it('a fill replaces a hash that is newer than every document', async () => {
  const world = withEarlierHashes([stateRecord('a', 20), stateRecord('a', 21)], { a: 99 })
  await world.assign()
  await vi.waitFor(() => expect(world.redis.fill).toBeUndefined())
  expect(versions(world)).toEqual({ a: 21 })
})

it('during a fill with a higher projection no customer goes back to an older document', async () => {
  const document = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 1, max: 9 }))
  const property = fc.asyncProperty(
    fc.array(document, { minLength: 1, maxLength: 12 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.integer({ min: 1, max: 12 })),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 12 }),
    async (documents, hashes, statesPerFetch, stopAt) => {
      const newest: Record<string, number> = {}
      for (const [customer, timestamp] of documents) newest[customer] = Math.max(newest[customer] ?? 0, timestamp)
      const first = withEarlierHashes(
        documents.map(([customer, timestamp]) => stateRecord(customer, timestamp)),
        hashes,
      )
      const { redis, kafka } = first
      kafka.statesPerFetch = statesPerFetch
      let shown = { ...hashes }
      const wentBack: string[] = []
      const check = () => {
        const now = versions(first)
        for (const [customer, timestamp] of Object.entries(now)) {
          // A false hash claims to be newer than all documents of its customer. The fill must
          // replace it with the newest document.
          const isFalse = (hashes[customer] ?? 0) > (newest[customer] ?? 0)
          if (!isFalse && timestamp < (shown[customer] ?? 0)) wentBack.push(customer)
        }
        shown = now
      }
      let isStopped = false
      first.before.fill = async (count) => {
        check()
        isStopped = count === stopAt
        if (isStopped) await new Promise(() => undefined)
      }
      await first.assign()
      while (redis.fill && !isStopped) await new Promise(setImmediate)
      // Another projector continues at the stored progress.
      const second = setUp({ stateTopic: 's', kafka, redis })
      second.before.fill = check
      await second.assign()
      while (redis.fill) await new Promise(setImmediate)
      check()
      expect([wentBack, versions(second)]).toEqual([[], { ...hashes, ...newest }])
    },
  )
  await fc.assert(property, { numRuns: 300 })
})

it('an earlier fill that ends late does not change the progress of the new fill', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21)])
  const first = Promise.withResolvers<void>()
  const second = Promise.withResolvers<void>()
  world.before['fetch state'] = (count) => (count === 1 ? first.promise : second.promise)
  await world.assign()
  await world.assign()
  await vi.waitFor(() => expect(world.steps.filter((step) => step === 'fetch state').length).toBe(2))
  first.resolve()
  await new Promise(setImmediate)
  expect(world.projection.fillProgress).toMatch(/: 0 of 2 records/)
  second.resolve()
  await vi.waitFor(() => expect(world.projection.fillProgress).toBeUndefined())
})

it('a fill reports its progress in metrics, log and readiness', async () => {
  const world = withState([stateRecord('a', 20), stateRecord('b', 21), stateRecord('c', 22), stateRecord('d', 23)])
  const { promise: mayFill, resolve: goOn } = Promise.withResolvers<void>()
  world.before.fill = (count) => (count > 1 ? mayFill : undefined)
  await world.assign()
  await vi.waitFor(() => expect(world.projection.fillProgress).toMatch(/: 1 of 4 records \(25 %\), about \d+ s left/))
  expect(await world.registry.metrics()).toMatch(/^projector_fill_remaining_records\S* 3$/m)
  goOn()
  await vi.waitFor(() => expect(world.projection.fillProgress).toBeUndefined())
  expect(await world.registry.metrics()).toMatch(/^projector_fill_remaining_records\S* 0$/m)
})

const action = fc.oneof(
  { weight: 6, arbitrary: fc.constant('records' as const) },
  { weight: 3, arbitrary: fc.constant('commit' as const) },
  { weight: 2, arbitrary: fc.constantFrom('lose Redis' as const, 'check' as const, 'restart' as const) },
  { weight: 2, arbitrary: fc.constant('delete records' as const) },
)

it('Redis and the state topic end with the newest events after any losses and restarts', async () => {
  const property = fc.asyncProperty(
    fc.array(fc.record({ customer: fc.constantFrom('a', 'b', 'c'), timestamp: fc.integer({ min: 1, max: 40 }) }), {
      minLength: 1,
      maxLength: 12,
    }),
    fc.array(action, { maxLength: 25 }),
    async (events, actions) => {
      const kafka = { ...fakeKafka(), low: '0' }
      const redis = emptyRedis()
      const high = String(events.length)
      const newest = new Map<string, number>()
      for (const { customer, timestamp } of events) newest.set(customer, Math.max(newest.get(customer) ?? 0, timestamp))
      const start = async () => {
        const world = setUp({ stateTopic: 's', chunkRecords: 2, high, redis, kafka })
        await world.assign()
        return world
      }
      let world = await start()
      let next = world.seeks.at(-1) ?? '0'
      let seen = world.seeks.length
      /** Fetches like kafkajs: begins at the last seek, or at the end of the last batch. */
      const records = async () => {
        if (world.seeks.length > seen) next = world.seeks.at(-1) ?? next
        seen = world.seeks.length
        if (Number(next) < Number(kafka.low)) next = kafka.low
        const some = events.slice(Number(next), Number(next) + 2)
        const batch = world.batch(
          Number(next),
          some.map(({ customer }) => customer),
        )
        const given = batch.records.map((record, i) => ({
          ...record,
          value: Buffer.from(
            JSON.stringify({
              id: `e${some[i]?.timestamp}`,
              timestamp: some[i]?.timestamp,
              type: 'customers',
              payload: { customerWithVehicles: { customer: { customerUuid: some[i]?.customer } } },
            }),
          ),
        }))
        next = (await world.projection.onBatch({ ...batch, records: given })) ?? next
      }
      const run = {
        records,
        commit: async () => world.projection.positions.commit(),
        'lose Redis': async () => void Object.assign(redis, emptyRedis(), { customers: new Map() }),
        check: async () => world.projection.checkPositions(),
        restart: async () => {
          world.projection.positions.assign([])
          world = await start()
          seen = 0
        },
        // Retention deletes records that were applied before the committed offset.
        'delete records': async () => {
          const offset = kafka.committed.get(0)?.offset ?? '0'
          if (Number(offset) > Number(kafka.low)) kafka.low = offset
        },
      }
      for (const each of actions) await run[each]()
      // The position may reach the end before all documents are published, because the fill is
      // still running.
      while (redis.position !== high || redis.published?.offset !== high || redis.fill) {
        await world.projection.checkPositions()
        await records()
        await new Promise(setImmediate)
      }
      expect(versions(world)).toEqual(Object.fromEntries(newest))
      const published = new Map<string, number>()
      for (const { key, value } of kafka.states)
        published.set(String(key), (JSON.parse(String(value)) as { version: { timestamp: number } }).version.timestamp)
      expect(Object.fromEntries(published)).toEqual(Object.fromEntries(newest))
    },
  )
  await fc.assert(property, { numRuns: 150 })
})
