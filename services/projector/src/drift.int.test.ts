import { createRegistry } from '@customer-stream/runtime/service'
import { driftKey, type RawRecord } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { connectBothKinds, REDIS_KINDS } from '@customer-stream/testing/vitest'
import { describe, expect, it, vi } from 'vitest'
import { createDrift } from './drift.ts'
import { createProjectorMetrics } from './metrics.ts'

const clients = connectBothKinds()

/** Returns a record of a customers event with these fields of the customer. */
const record = (customer: object, timestamp = 1000): RawRecord => ({
  offset: '0',
  timestamp: String(timestamp),
  key: Buffer.from('a'),
  value: Buffer.from(
    JSON.stringify({
      type: 'customers',
      payload: { customerWithVehicles: { customer: { customerUuid: 'a', ...customer } } },
    }),
  ),
})

describe.each(REDIS_KINDS)('on %s', (kind) => {
  const setUp = (keyPrefix = freshNames().keyPrefix) => {
    const redis = clients[kind]
    const registry = createRegistry('test')
    const metrics = createProjectorMetrics(registry, { groupId: 'g', topic: 't' })
    const warn = vi.fn()
    let clock = 0
    const drift = createDrift({ redis, metrics, logger: { warn }, now: () => clock }, { keyPrefix })
    const logged = () => warn.mock.calls.map(([fields]) => fields as { event: string; path?: string })
    return {
      drift,
      keyPrefix,
      logged,
      wait: (ms: number) => {
        clock += ms
      },
      stored: () => redis.hgetall(driftKey(keyPrefix)),
      counted: async () => (await registry.getSingleMetric('projector_drift_differences')?.get())?.values[0]?.value,
    }
  }

  it('differences of several projectors are added, and each is logged once', async () => {
    const first = setUp()
    const second = setUp(first.keyPrefix)
    first.drift.sample([record({ vip: true }, 2000)])
    first.drift.sample([record({ vip: true }, 3000)])
    second.drift.sample([record({ vip: true, firstName: 7 }, 1000)])
    for (const { drift } of [first, second, first]) await drift.save()
    expect(await first.stored()).toEqual({
      'unknown-field boolean customer.vip': '1000/3000/3',
      'other-type integer customer.firstName': '1000/1000/1',
    })
    expect(first.logged()).toMatchObject([{ event: 'drift', path: 'customer.vip' }])
    expect(second.logged()).toMatchObject([{ event: 'drift', path: 'customer.firstName' }])
    expect([await first.counted(), await second.counted()]).toEqual([2, 2])
  })

  it('at most 1,000 differences are stored', async () => {
    const { drift, stored, counted, logged } = setUp()
    for (let round = 0; round < 15; round++) {
      const names = Array.from({ length: 90 }, (_, i) => `x${'abcdefghijklmno'[round]}_${'y'.repeat(i % 45)}${i > 44}`)
      drift.sample([record(Object.fromEntries(names.map((name) => [name, 1])))])
      await drift.save()
    }
    expect([Object.keys(await stored()).length, await counted(), logged().length]).toEqual([1000, 1000, 1000])
  })

  it('if Redis refuses the command, the differences are stored later', async () => {
    const { drift, stored, keyPrefix } = setUp()
    await clients[kind].set(driftKey(keyPrefix), 'not a hash')
    drift.sample([record({ vip: true })])
    await expect(drift.save()).rejects.toThrow('WRONGTYPE')
    await clients[kind].del(driftKey(keyPrefix))
    await drift.save()
    expect(await stored()).toEqual({ 'unknown-field boolean customer.vip': '1000/1000/1' })
  })

  it('records that are not customers events have no differences', async () => {
    const { drift, stored } = setUp()
    for (const value of [null, Buffer.from('not JSON'), Buffer.from('{"type":"mpis"}')]) {
      drift.sample([{ ...record({}), value }])
      await drift.save()
    }
    drift.sample([])
    expect(await stored()).toEqual({})
  })
})
