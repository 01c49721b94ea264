import { getEventListeners } from 'node:events'
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import { stateOf, writeState } from '@customer-stream/schemas'
import { describe, expect, it, vi } from 'vitest'
import { createErasures } from './erasures.ts'
import { fakeKafka } from './fixtures/fake-kafka.ts'
import { fakeOutages, setUp, silent } from './fixtures/fake-projection.ts'
import { emptyRedis } from './fixtures/fake-redis.ts'

/** Returns the customer of each published tombstone. */
const tombstones = (published: readonly { readonly key: Buffer | null; readonly value: Buffer | null }[]) =>
  published.flatMap(({ key, value }) => (value === null ? [String(key)] : []))
const withErasures = (options: Parameters<typeof setUp>[0] = {}) =>
  setUp({ stateTopic: 'state', hasErasures: true, ...options })

describe('erasures', () => {
  it('erasures are executed before any event is applied', async () => {
    const { assign, erase, projection, batch, redis, published, steps } = withErasures()
    erase('a')
    erase('b')
    await assign()
    expect(redis.executed).toMatchObject({ topicId: 'erasures-1', offset: '2' })
    expect(tombstones(published)).toEqual(['a', 'b'])
    expect(steps).not.toContain('apply')
    await projection.onBatch(batch(10, ['a', 'c']))
    expect([...redis.customers.keys()]).toEqual(['c'])
    // The event of an erased customer publishes the tombstone again.
    expect(tombstones(published)).toEqual(['a', 'b', 'a'])
  })

  it('an idle partition executes each new erasure once', async () => {
    const { assign, erase, projection, batch, redis, published } = withErasures()
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    await projection.executeErasures()
    erase('a')
    await projection.executeErasures()
    await projection.executeErasures()
    expect([...redis.customers.keys()]).toEqual(['b'])
    expect(tombstones(published)).toEqual(['a'])
    expect(redis.position).toBe('12')
  })

  it('after a loss of Redis, erasures are executed again before any event is applied', async () => {
    const { assign, erase, projection, batch, redis, steps } = withErasures({ chunkRecords: 1 })
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    erase('a')
    await projection.executeErasures()
    Object.assign(redis, emptyRedis())
    steps.length = 0
    await projection.checkPositions()
    // The mark must be set before the fill writes the customer's document into Redis.
    expect(redis.erased.has('a')).toBe(true)
    await vi.waitFor(() => expect(redis.executed?.offset).toBe('1'))
    expect(steps.indexOf('erase')).toBeLessThan(steps.indexOf('fill'))
    await projection.onBatch(batch(10, ['a', 'b']))
    expect([...redis.customers.keys()]).toEqual(['b'])
  })

  it('erasures are executed again if the erasures topic was created again', async () => {
    const logged: unknown[] = []
    const logger = { ...silent, error: (fields: unknown) => logged.push(fields) } as never
    const { assign, erase, projection, kafka, redis } = withErasures({ logger })
    erase('a')
    await assign()
    expect(logged).toEqual([])
    kafka.erasuresTopicId = 'erasures-2'
    await projection.executeErasures()
    await projection.executeErasures()
    expect(redis.executed).toMatchObject({ topicId: 'erasures-2', offset: '1' })
    expect(logged).toMatchObject([{ event: 'erasures-topic-replaced', before: 'erasures-1', now: 'erasures-2' }])
  })

  it('the tombstone of an erasure in the future has the current time', async () => {
    const { assign, erase, published } = withErasures()
    const before = Date.now()
    erase('a', { scope: 'until-now', erasedAt: Number.MAX_SAFE_INTEGER })
    erase('b', { erasedAt: 7 })
    await assign()
    const [future, past] = published
    expect(future?.timestamp).toBeGreaterThanOrEqual(before)
    expect(future?.timestamp).toBeLessThanOrEqual(Date.now())
    expect(past?.timestamp).toBe(7)
  })

  it('the log counts erased customers, and customers that keep a newer event', async () => {
    const logged: unknown[] = []
    const logger = { ...silent, info: (fields: unknown) => logged.push(fields) } as never
    const { assign, erase, projection, batch, registry } = withErasures({ logger })
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    // The time of this erasure is in seconds instead of milliseconds, so the erasure covers no
    // event.
    erase('a', { scope: 'until-now', erasedAt: 1 })
    erase('b')
    await projection.executeErasures()
    const erased = { event: 'erased', partition: 0 }
    expect(logged).toEqual([
      { ...erased, customers: 0, kept: 1, offset: '1' },
      { ...erased, customers: 1, kept: 0, offset: '2' },
    ])
    expect(await registry.getSingleMetricAsString('projector_erasures_total')).toMatch(/} 2$/m)
  })

  it('the missing tombstone of an erasure is published when the state topic is switched on', async () => {
    const [redis, kafka] = [emptyRedis(), fakeKafka()]
    const without = withErasures({ redis, kafka, stateTopic: undefined })
    without.erase('a')
    await without.assign()
    await without.projection.positions.commit()
    expect([redis.executed?.offset, without.published]).toEqual(['1', []])
    const first = withErasures({ redis, kafka })
    first.erase('a')
    await first.assign()
    await first.projection.executeErasures()
    expect(tombstones(first.published)).toEqual(['a'])
    // The state topic was created again, so it lacks the tombstone.
    kafka.stateTopicId = 'state-2'
    await first.projection.executeErasures()
    await first.projection.executeErasures()
    expect(tombstones(first.published)).toEqual(['a', 'a'])
  })

  it('if the erasures topic has no leader, only partitions without a stored position in that topic wait', async () => {
    const kafka = fakeKafka()
    kafka.isErasuresLed = false
    const redis = emptyRedis()
    const lacking = withErasures({ kafka, redis })
    lacking.projection.positions.assign([0])
    await vi.waitFor(() => expect(redis.position).toBe('10'))
    // A batch waits until the positions are loaded.
    await lacking.projection.onBatch(lacking.batch(10, ['a']))
    expect(lacking.seeks).toEqual([])
    redis.executed = { topicId: 'erasures-1', offset: '0' }
    await lacking.projection.positions.loadNewlyLed(lacking.watermarks())
    expect(lacking.seeks).toEqual(['10'])
  })

  it('erasures are retried if Kafka returns no records', async () => {
    const { assign, erase, projection, before, redis } = withErasures()
    await assign()
    erase('a')
    before['fetch erasures'] = (count) => {
      if (count === 1) throw new Error('no leader')
    }
    await projection.executeErasures()
    expect([projection.waitingFor, redis.executed?.offset]).toEqual(['erasures: no leader', '0'])
    await projection.executeErasures()
    expect(redis.executed?.offset).toBe('1')
  })

  it('records of the erasures topic that are not erasures are skipped and counted', async () => {
    const { assign, erasures, erase, redis, registry } = withErasures()
    erasures.push({ key: Buffer.from('a'), value: Buffer.from('no JSON') }, { key: Buffer.from('a'), value: null })
    erase('b')
    await assign()
    expect([...redis.erased.keys()]).toEqual(['b'])
    expect(await registry.getSingleMetricAsString('projector_unusable_erasures_total')).toMatch(/} 2$/m)
  })

  it('a partition waits while its erasures cannot be read', async () => {
    const { erase, kafka, redis, projection, seeks, watermarks } = withErasures()
    kafka.areErasuresReadable = false
    erase('a')
    projection.positions.assign([0])
    await vi.waitFor(() =>
      expect(projection.waitingFor).toBe(
        'erasures: offsets 0 to 0 of partition 0 of the erasures topic cannot be read: damaged',
      ),
    )
    expect([seeks, redis.executed]).toEqual([[], undefined])
    kafka.areErasuresReadable = true
    await projection.positions.loadNewlyLed(watermarks())
    await vi.waitFor(() => expect(redis.erased.has('a')).toBe(true))
  })

  it('an erasure during a fill sets only the mark of its customer, and is executed after the fill', async () => {
    const event = (timestamp: number) => ({
      kind: 'customers' as const,
      customerUuid: 'a',
      envelope: { id: 'e', timestamp },
      customerWithVehicles: { customer: { customerUuid: 'a' } },
    })
    const recordOf = (offset: number, timestamp: number): FetchedRecord => {
      const state = stateOf(event(timestamp) as never, { topic: 't', partition: 0, offset: '1', receivedAt: timestamp })
      if (!state.ok) throw new Error(state.reason)
      const value = Buffer.from(writeState(state.value))
      return { offset: String(offset), timestamp: '1', key: Buffer.from('a'), value, headers: {} }
    }
    const kafka = fakeKafka()
    // The customer was erased up to timestamp 5, and has a newer event.
    kafka.states.push(recordOf(0, 4), recordOf(1, 9))
    kafka.committed = new Map([[0, { offset: '20', metadata: 'state-1' }]])
    const { projection, erase, redis, published, before, steps } = withErasures({ kafka })
    erase('a', { scope: 'until-now', erasedAt: 5 })
    const filling = Promise.withResolvers<void>()
    before['fetch state'] = () => {
      expect([redis.erased.has('a'), redis.executed, tombstones(published)]).toEqual([true, undefined, []])
      filling.resolve()
    }
    projection.positions.assign([0])
    await filling.promise
    await vi.waitFor(() => expect(redis.executed?.offset).toBe('1'))
    expect(steps.filter((step) => step === 'erase').length).toBe(2)
    expect(redis.customers.get('a')?.version.timestamp).toBe(9)
    expect(tombstones(published)).toEqual([])
  })
})

it('a partition whose erasures cannot be read does not delay the erasures of other partitions', async () => {
  const outages = fakeOutages()
  let isReadable = false
  const erasures = createErasures({
    erasuresSource: {
      topicId: async () => 'erasures-1',
      watermarks: async () => new Map([0, 1].map((partition) => [partition, { low: '0', stable: '1', high: '1' }])),
      fetch: async (partition) => {
        if (partition === 0 && !isReadable) throw new Error('damaged')
        return { records: [], nextOffset: '1' }
      },
    },
    stateSource: undefined,
    store: {
      erasuresPositions: async () => new Map(),
      forgetErasures: async () => {},
      writeErasures: async () => ({ isInPlace: true, stored: [], token: '' }),
    },
    writer: { erase: async () => ({ moved: true, stored: [] }) },
    ...outages,
    onLate: async () => {},
    metrics: outages.metrics,
    logger: silent,
  })
  const assignment = new AbortController()
  const execute = (how: 'execute' | 'executeNew', isFilling: boolean) =>
    erasures[how](
      new Map([0, 1].map((partition) => [partition, { position: () => '0', isFilling }])),
      assignment.signal,
      (_, work) => work(),
    )
  const expected = new Map([
    [0, 'waiting'],
    [1, 'done'],
  ])
  expect(await execute('execute', false)).toEqual(expected)
  expect(await execute('execute', true)).toEqual(expected)
  expect(await execute('executeNew', false)).toEqual(expected)
  expect(outages.waitingFor()).toBe('erasures: damaged')
  isReadable = true
  expect((await execute('executeNew', false)).get(0)).toBe('done')
  expect(outages.waitingFor()).toBe(undefined)
  expect(getEventListeners(assignment.signal, 'abort')).toEqual([])
  isReadable = false
  await execute('executeNew', false)
  // Another projector has the partition now.
  assignment.abort()
  expect(outages.waitingFor()).toBe(undefined)
})

it('a projector that cannot read new erasures reports the outage, and retries', async () => {
  const { assign, erase, projection, redis, kafka } = withErasures()
  await assign()
  const { erasuresTopicId } = kafka
  Object.defineProperty(kafka, 'erasuresTopicId', {
    configurable: true,
    get: () => {
      throw new Error('no broker')
    },
  })
  await projection.executeErasures()
  // One failure is normal when a partition gets another leader.
  expect(projection.waitingFor).toBe(undefined)
  await projection.executeErasures()
  expect(projection.waitingFor).toBe('erasures: no broker')
  Object.defineProperty(kafka, 'erasuresTopicId', { value: erasuresTopicId })
  erase('a')
  await projection.executeErasures()
  expect([projection.waitingFor, redis.executed?.offset]).toEqual([undefined, '1'])
})
