import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import { stateOf, writeState } from '@customer-stream/schemas'
import { describe, expect, it, vi } from 'vitest'
import { emptyRedis, fakeKafka, setUp } from './fixtures/fake-projection.ts'

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
    expect(redis.executed).toEqual({ topicId: 'erasures-1', offset: '2' })
    expect(tombstones(published)).toEqual(['a', 'b'])
    expect(steps).not.toContain('apply')
    await projection.onBatch(batch(10, ['a', 'c']))
    expect([...redis.customers.keys()]).toEqual(['c'])
    // The event of an erased customer publishes the tombstone again.
    expect(tombstones(published)).toEqual(['a', 'b', 'a'])
  })

  it('new erasures are executed while the partition is idle, each once', async () => {
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

  it('erasures are executed again if Redis was lost, before the events', async () => {
    const { assign, erase, projection, batch, redis, steps } = withErasures({ chunkRecords: 1 })
    await assign()
    await projection.onBatch(batch(10, ['a', 'b']))
    erase('a')
    await projection.executeErasures()
    Object.assign(redis, emptyRedis())
    steps.length = 0
    await projection.checkPositions()
    // The fill brings the document of the customer after the mark is set.
    expect(redis.erased.has('a')).toBe(true)
    await vi.waitFor(() => expect(redis.executed?.offset).toBe('1'))
    expect(steps.indexOf('erase')).toBeLessThan(steps.indexOf('fill'))
    await projection.onBatch(batch(10, ['a', 'b']))
    expect([...redis.customers.keys()]).toEqual(['b'])
  })

  it('erasures are executed again if the erasures topic was created again', async () => {
    const { assign, erase, projection, kafka, redis } = withErasures()
    erase('a')
    await assign()
    kafka.erasuresTopicId = 'erasures-2'
    await projection.executeErasures()
    expect(redis.executed).toEqual({ topicId: 'erasures-2', offset: '1' })
  })

  it('erasures without a leader hold up a partition only if Redis may lack marks', async () => {
    const kafka = fakeKafka()
    kafka.isErasuresLed = false
    const redis = emptyRedis()
    const lacking = withErasures({ kafka, redis })
    lacking.projection.positions.assign([0])
    await vi.waitFor(() => expect(redis.position).toBe('10'))
    await new Promise((resolve) => setTimeout(resolve, 20))
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
    expect(redis.executed?.offset).toBe('1')
  })

  it('records that are not erasures are skipped and counted', async () => {
    const { assign, erasures, erase, redis, registry } = withErasures()
    erasures.push({ key: Buffer.from('a'), value: Buffer.from('no JSON') }, { key: Buffer.from('a'), value: null })
    erase('b')
    await assign()
    expect([...redis.erased.keys()]).toEqual(['b'])
    expect(await registry.getSingleMetricAsString('projector_unusable_erasures_total')).toMatch(/} 2$/m)
  })

  it('erasures that cannot be read are not skipped: the partition waits', async () => {
    const { erase, kafka, redis, projection, seeks } = withErasures()
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
    await vi.waitFor(() => expect(redis.erased.has('a')).toBe(true))
  })

  it('erasures set only marks while the partition is filled, and are executed again after the fill', async () => {
    const event = (timestamp: number) => ({
      ...{ kind: 'customers' as const, customerUuid: 'a', envelope: { id: 'e', timestamp } },
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
