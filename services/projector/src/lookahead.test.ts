import type { FetchedBatch } from '@customer-stream/runtime/kafka'
import { compareVersions } from '@customer-stream/schemas'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LOW } from './fixtures/fake-kafka.ts'
import { setUp } from './fixtures/fake-projection.ts'
import { emptyRedis } from './fixtures/fake-redis.ts'
import { createLookahead } from './lookahead.ts'

interface Event {
  readonly customer: string
  readonly timestamp: number
  readonly id: string
  readonly isUsable: boolean
}
type Topic = readonly (Event & { readonly offset: number })[]

const recordOf = ({ customer, timestamp, id, isUsable, offset }: Topic[number]) => {
  const payload = JSON.stringify({ customerWithVehicles: { customer: { customerUuid: customer } } })
  // Without the last brace the event is unusable. Only a parser notices the missing brace.
  const event = { id, timestamp, type: 'customers', payload: isUsable ? payload : payload.slice(0, -1) }
  const value = Buffer.from(JSON.stringify(event))
  return { offset: String(offset), timestamp: '1000', key: Buffer.from(customer), value, headers: {} }
}
const endOf = (topic: Topic) => (topic.at(-1)?.offset ?? 9) + 1

/** Fetches like kafkajs: begins at the end of the last batch, or at the last seek. */
const openConsumer = async (topic: Topic, options: Parameters<typeof setUp>[0]) => {
  const world = setUp({ chunkRecords: 100, high: String(endOf(topic)), ...options })
  await world.assign()
  let at = Number(world.seeks.at(-1))
  const fetch = (size: number, signal = new AbortController().signal): FetchedBatch | undefined => {
    const records = topic.filter(({ offset }) => offset >= at).slice(0, size)
    const last = records.at(-1)
    if (last === undefined) return undefined
    const [fetchedFrom, nextOffset] = [String(at), String(last.offset + 1)]
    return {
      partition: 0,
      fetchedFrom,
      nextOffset,
      highWatermark: String(endOf(topic)),
      signal,
      records: records.map(recordOf),
    }
  }
  return {
    ...world,
    /** Returns false at the end of the topic. */
    next: async (size: number, signal?: AbortSignal) => {
      const batch = fetch(size, signal)
      if (batch === undefined) return false
      const sought = world.seeks.length
      const next = await world.projection.onBatch(batch)
      at = Number(world.seeks.length > sought ? world.seeks.at(-1) : (next ?? at))
      return true
    },
    outcomes: async () => {
      const { values } = await (world.registry.getSingleMetric('projector_events_total')?.get() ?? { values: [] })
      return Object.fromEntries(values.map(({ labels, value }) => [labels.outcome, value]))
    },
  }
}

const newestOf = (topic: Topic) => {
  const newest = new Map<string, Event>()
  for (const event of topic) {
    const known = newest.get(event.customer)
    if (event.isUsable && (known === undefined || compareVersions(event, known) > 0)) newest.set(event.customer, event)
  }
  return new Map([...newest].map(([customer, { id }]) => [customer, id]))
}
const storedIn = (redis: ReturnType<typeof emptyRedis>) =>
  new Map([...redis.customers].map(([customer, { version }]) => [customer, version.id]))

/**
 * Returns a topic with many records. If the topic has fewer `customers`, more of its events are
 * superseded.
 */
const topicOf = (random: () => number, { customers = 200, unusable = 0, records = 6000 }): Topic => {
  let offset = Number(LOW)
  return Array.from({ length: records }, () => {
    offset += random() < 0.05 ? 3 : 1
    const timestamp = 1 + Math.floor(random() * 500)
    return {
      customer: `customer-${Math.floor(random() * customers)}`,
      timestamp,
      id: `e${timestamp}-${Math.floor(random() * 3)}`,
      isUsable: random() >= unusable,
      offset,
    }
  })
}
const randomOf = (seed: number) => {
  let state = seed
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

describe('a partition that is far behind', () => {
  it('in a partition far behind, only the newest events are applied, and each record is counted once', async () => {
    const topic = topicOf(randomOf(1), {})
    const redis = emptyRedis()
    const consumer = await openConsumer(topic, { redis, lookaheadRecords: 10_000 })
    while (await consumer.next(500));
    const newest = newestOf(topic)
    expect([redis.position, storedIn(redis)]).toEqual([String(endOf(topic)), newest])
    const { applied, stale = 0, duplicate = 0 } = await consumer.outcomes()
    expect([applied, stale + duplicate]).toEqual([newest.size, topic.length - newest.size])
    expect(duplicate).toBeGreaterThan(0)
    expect(consumer.sent.reduce((a, b) => a + b)).toBe(newest.size)
  })

  /** Returns a topic whose last record is unusable, and is the newest event of customer-0. */
  const withUnusableEnd = (): Topic =>
    topicOf(randomOf(2), {}).map((event, i, { length }) =>
      i === length - 1 ? { ...event, customer: 'customer-0', timestamp: 900, isUsable: false } : event,
    )

  it('a window is applied again if an event that superseded others is unusable', async () => {
    const topic = withUnusableEnd()
    const redis = emptyRedis()
    const { next, quarantined } = await openConsumer(topic, { redis, lookaheadRecords: 10_000 })
    while (await next(500));
    expect(storedIn(redis)).toEqual(newestOf(topic))
    expect(quarantined.length).toBe(1)
  })

  it('a process that takes over a partition within a window applies the window again from its start', async () => {
    const topic = withUnusableEnd()
    const redis = emptyRedis()
    const first = await openConsumer(topic, { redis, lookaheadRecords: 10_000 })
    while (Number(redis.position) < endOf(topic) - 1000) await first.next(500)
    const { next } = await openConsumer(topic, { redis, lookaheadRecords: 0 })
    expect(redis.position).toBe(LOW)
    while (await next(500));
    expect(storedIn(redis)).toEqual(newestOf(topic))
  })

  it('a customer’s older event is applied if a later record of the customer has no readable version', () => {
    const peek = ({ key, timestamp }: { key: Buffer | null; timestamp: string }) =>
      timestamp === '0' ? undefined : { customerUuid: String(key), version: { timestamp: Number(timestamp), id: 'e' } }
    const lookahead = createLookahead({ maxRecords: 10_000, peek, customerOf: ({ key }) => String(key) })
    const record = (offset: number, customer: string, timestamp: number) => ({
      offset: String(offset),
      timestamp: String(timestamp),
      key: Buffer.from(customer),
      value: null,
    })
    const others = Array.from({ length: 6000 }, (_, i) => record(i + 3, `c${i % 100}`, i + 1))
    const [older, uncertain, newer] = [record(0, 'x', 8), record(1, 'x', 0), record(2, 'x', 9)]
    const records = [older, uncertain, newer, ...others]
    const nextOffset = String(records.length)
    const signal = new AbortController().signal
    const batch = { partition: 0, fetchedFrom: '0', nextOffset, highWatermark: nextOffset, signal, records }
    expect(lookahead.step(batch, '0')).toBe('seek')
    const left = lookahead.withoutSuperseded(0, records)
    expect(left.slice(0, 3)).toEqual([older, uncertain, newer])
    expect(left.length).toBe(103)
  })

  // Each seed has its own test, because all runs together need seconds of CPU.
  it.each([7, 8])('a rebuild ends at the newest usable events after any faults (seed %i)', async (firstSeed) => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1e9 }), async (seed) => {
        const random = randomOf(seed)
        const topic = topicOf(random, { unusable: random() < 0.5 ? 0.003 : 0, customers: 20 + random() * 500 })
        const redis = emptyRedis()
        const open = () => openConsumer(topic, { redis, lookaheadRecords: Math.floor(500 + random() * 6000) })
        let consumer = await open()
        let troubles = 6
        for (let steps = 0; redis.position !== String(endOf(topic)); steps++) {
          expect(steps).toBeLessThan(2000)
          const signal = new AbortController()
          const trouble = troubles > 0 && random() < 0.15
          if (trouble) troubles -= 1
          if (trouble) consumer.before[random() < 0.5 ? 'apply' : 'move'] = () => signal.abort()
          await consumer.next(Math.ceil(random() * 800), signal.signal)
          consumer.before.apply = undefined
          consumer.before.move = undefined
          // The process ends, and another process continues.
          if (trouble && random() < 0.5) consumer = await open()
          // Redis is lost.
          else if (trouble && random() < 0.3) {
            redis.customers.clear()
            redis.position = undefined
            redis.window = undefined
            await consumer.projection.checkPositions()
            consumer = await open()
          }
        }
        expect(storedIn(redis)).toEqual(newestOf(topic))
      }),
      { seed: firstSeed, numRuns: 4 },
    )
  })
})

describe('events that were left out', () => {
  const END = 6010
  /**
   * Returns a topic in which customer c has an event at offset 11, and a newer event at offset 18.
   * By default the newer event is unusable.
   */
  const topicWith = (changes: Readonly<Record<number, object>> = {}) =>
    Array.from({ length: END - 10 }, (_, i) => {
      const offset = i + 10
      const event = { customer: offset < 30 ? `d${offset}` : 'x', timestamp: 30 + (offset % 900), id: `e${offset}` }
      if (offset === 11) Object.assign(event, { customer: 'c', timestamp: 10 })
      if (offset === 18) Object.assign(event, { customer: 'c', timestamp: 20 })
      return { ...recordOf({ ...event, isUsable: offset !== 18, offset }), ...changes[offset] }
    })
  const batchOf = (records: ReturnType<typeof topicWith>, from: number, to = END): FetchedBatch => ({
    partition: 0,
    fetchedFrom: String(from),
    nextOffset: String(to),
    highWatermark: String(END),
    signal: new AbortController().signal,
    records: records.filter(({ offset }) => Number(offset) >= from && Number(offset) < to),
  })
  const open = async (options: Parameters<typeof setUp>[0]) => {
    const world = setUp({ high: String(END), lookaheadRecords: 10_000, ...options })
    await world.assign()
    return world
  }
  const unusable = (offset: number, customer: string) =>
    recordOf({ customer, timestamp: 10, id: 'e', isUsable: false, offset })

  it('the next owner applies events that the last owner left out', async () => {
    const redis = emptyRedis()
    const topic = topicWith()
    const last = await open({ redis })
    await last.projection.onBatch(batchOf(topic, 10))
    const next = setUp({ redis, high: String(END) })
    next.before.positions = async (count) => {
      if (count === 2) await last.projection.onBatch(batchOf(topic, 10, 14))
    }
    await next.assign()
    await next.projection.onBatch(batchOf(topic, Number(next.seeks.at(-1))))
    expect([redis.position, redis.customers.get('c')?.version.timestamp]).toEqual([String(END), 10])
  })

  it('unusable events that were left out go to quarantine if their window ends early', async () => {
    const topic = topicWith({ 11: unusable(11, 'c'), 14: { value: Buffer.from('poison') } })
    const { projection, before, paused, seeks, quarantined } = await open({ chunkRecords: 100 })
    await projection.onBatch(batchOf(topic, 10))
    const back = Promise.withResolvers<void>()
    before.quarantine = () => back.promise
    await projection.onBatch(batchOf(topic, 10, 13))
    await projection.onBatch(batchOf(topic, 13, 16))
    expect(paused.size).toBe(1)
    back.resolve()
    while (paused.size > 0) await new Promise(setImmediate)
    await projection.onBatch(batchOf(topic, 13, 25))
    expect(seeks.at(-1)).toBe('10')
    await projection.onBatch(batchOf(topic, 10))
    expect(new Set(quarantined.map(({ headers }) => headers?.offset))).toEqual(new Set(['11', '14', '18']))
  })

  it('the events before a record without a key are applied, even if a newer event follows', async () => {
    const redis = emptyRedis()
    const old = recordOf({ customer: 'c', timestamp: 5, id: 'e13', isUsable: true, offset: 13 })
    const newest = recordOf({ customer: 'c', timestamp: 20, id: 'e18', isUsable: true, offset: 18 })
    const topic = topicWith({ 13: { ...old, key: null }, 18: newest })
    const { projection } = await open({ redis })
    await projection.onBatch(batchOf(topic, 10))
    await projection.onBatch(batchOf(topic, 10, 15))
    expect(redis.customers.get('c')?.version.timestamp).toBe(10)
  })
})
