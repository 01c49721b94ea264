import type { FetchedBatch } from '@customer-stream/runtime/kafka'
import { describe, expect, it, vi } from 'vitest'
import { LOW } from './fixtures/fake-kafka.ts'
import { setUp } from './fixtures/fake-projection.ts'

describe('a paused partition', () => {
  const settled = () => new Promise(setImmediate)

  it('a partition pauses while quarantine refuses its record, and the record is stored once', async () => {
    const { assign, projection, batch, redis, paused, quarantined, before } = setUp()
    await assign()
    const back = Promise.withResolvers<void>()
    before.quarantine = () => back.promise
    // The first chunk is applied, because all its records are usable.
    expect(await projection.onBatch(batch(10, ['a', 'b', undefined, 'd']))).toBe('12')
    expect([redis.position, [...paused]]).toEqual(['12', [0]])
    back.resolve()
    while (paused.size > 0) await settled()
    expect(await projection.onBatch(batch(12, [undefined, 'd']))).toBe('14')
    expect([redis.position, quarantined.length]).toEqual(['14', 1])
  })

  it('the loss of a partition ends its pause and the attempts to send its record', async () => {
    const { assign, projection, batch, redis, paused, before } = setUp()
    await assign()
    before.quarantine = () => {
      throw new Error('Kafka is down')
    }
    await projection.onBatch(batch(10, [undefined]))
    expect([[...paused], projection.waitingFor]).toEqual([[0], 'quarantine: Kafka is down'])
    projection.positions.assign([])
    expect([...paused]).toEqual([])
    // The outage is over when the attempts have ended.
    await vi.waitFor(() => expect(projection.waitingFor).toBe(undefined))
    expect(redis.position).toBe(LOW)
  })

  /** A timestamp with which the projection throws. Kafka never sends this timestamp. */
  const BUG = Symbol('bug') as unknown as string
  const withBug = (batch: FetchedBatch, offset: number): FetchedBatch => ({
    ...batch,
    records: batch.records.map((record) => (record.offset === String(offset) ? { ...record, timestamp: BUG } : record)),
  })

  it('a partition pauses if the projection of a record throws, and the log names the record', async () => {
    const { assign, projection, batch, redis, paused, reports } = setUp({ chunkRecords: 100 })
    await assign()
    const seven = withBug(batch(10, ['a', 'b', 'c', 'd', 'e', 'f', 'g']), 14)
    expect(await projection.onBatch(seven)).toBe('14')
    expect([redis.position, [...redis.customers.keys()], [...paused]]).toEqual(['14', ['a', 'b', 'c', 'd'], [0]])
    expect(reports).toEqual([expect.stringContaining('QUARANTINE_RECORDS=t/0/14')])
    expect(projection.undisturbedMs()).toBe(0)
    projection.positions.assign([])
    expect([reports.at(-1), [...paused]]).toEqual([undefined, []])
  })

  it('a partition continues when Kafka has deleted its blocked record, and the loss is counted', async () => {
    const { assign, projection, batch, redis, reports, kafka, seeks, watermarks, registry } = setUp()
    await assign()
    await projection.onBatch(withBug(batch(10, ['a']), 10))
    expect(reports).toEqual([expect.stringContaining('QUARANTINE_RECORDS=t/0/10')])
    kafka.low = '20'
    await projection.positions.loadNewlyLed(watermarks())
    expect([redis.position, seeks.at(-1), reports.at(-1)]).toEqual(['20', '20', undefined])
    expect(await registry.metrics()).toMatch(/^projector_lost_records_total\S* 10$/m)
    projection.positions.assign([])
  })

  it('a projection quarantines a record that QUARANTINE_RECORDS names, and continues', async () => {
    const { assign, projection, batch, redis, quarantined, reports } = setUp({ named: ['t/0/11'] })
    await assign()
    expect(await projection.onBatch(batch(10, ['a', 'b', 'c']))).toBe('13')
    expect([redis.position, [...redis.customers.keys()], reports]).toEqual(['13', ['a', 'c'], []])
    expect(quarantined).toMatchObject([{ headers: { reason: 'named-by-setting', offset: '11' } }])
  })

  const unreadable = (batch: FetchedBatch): FetchedBatch => ({
    ...batch,
    records: [],
    nextOffset: batch.fetchedFrom,
    unreadable: { offset: '9', nextOffset: '20', error: new Error('unknown codec') },
  })

  it('a partition pauses at an unreadable batch, and the log names the offsets', async () => {
    const { assign, projection, batch, redis, paused, reports } = setUp()
    await assign()
    expect(await projection.onBatch(unreadable(batch(10, [])))).toBeUndefined()
    expect([redis.position, [...paused]]).toEqual([LOW, [0]])
    expect(reports).toEqual([
      expect.stringMatching(/t\/0\/9 \(offsets 9 to 19\).*unknown codec.*QUARANTINE_RECORDS=t\/0\/9/),
    ])
    // The broker has repaired the batch.
    expect(await projection.onBatch(batch(10, ['a']))).toBe('11')
    expect([reports.at(-1), [...paused]]).toEqual([undefined, []])
  })

  it('a projection skips an unreadable batch that QUARANTINE_RECORDS names, and quarantines its offsets', async () => {
    const { assign, projection, batch, redis, quarantined } = setUp({ named: ['t/0/9'] })
    await assign()
    expect(await projection.onBatch(unreadable(batch(10, [])))).toBe('20')
    expect(redis.position).toBe('20')
    expect(quarantined).toMatchObject([
      {
        key: null,
        value: null,
        headers: { reason: 'unreadable-batch', detail: 'offsets 9 to 19: unknown codec', offset: '9' },
      },
    ])
  })
})
