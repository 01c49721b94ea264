import { decide, type PlacedRecord, type Version } from '@customer-stream/schemas'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DeliveryStore, readPosition, storeChunk } from './delivery-store.ts'
import { createMemoryStore, type MemoryStore, withSteps } from './fixtures/memory-store.ts'
import { bodyOf } from './fixtures/raw-topic.ts'
import { type InvalidDecision, SubscriberError } from './index.ts'

const recordAt = (offset: number, value: string | null): PlacedRecord => ({
  topic: 't',
  partition: 0,
  offset: String(offset),
  timestamp: '1000',
  key: null,
  value: value === null ? null : Buffer.from(value),
})
type Chunk = readonly [PlacedRecord, ...PlacedRecord[]]
const chunkOf = (...values: (string | null)[]) => values.map((value, i) => recordAt(i, value)) as unknown as Chunk

const skip = { onInvalid: (): InvalidDecision => 'skip' }

class Crash extends Error {}

/** Runs a member of the group, which reads the log from the stored position to the end. */
const runMember = async (log: readonly PlacedRecord[], store: DeliveryStore, maxRecords: number): Promise<void> => {
  for (let commits = 0; ; ) {
    let from = await readPosition(store, 't', 0)
    for (;;) {
      commits += 1
      // Limit the loop, because a wrong position could make it endless.
      if (commits > 1000) throw new Error('the member does not come to the end of the log')
      const [first, ...rest] = log.filter(({ offset }) => BigInt(offset) >= BigInt(from ?? 0)).slice(0, maxRecords)
      if (!first) return
      const next = await storeChunk([first, ...rest], from, { store, ...skip })
      if (next === undefined) break
      from = next
    }
  }
}

/** Starts a member again after each crash, as a supervisor does. */
const supervise = async (log: readonly PlacedRecord[], store: DeliveryStore, maxRecords: number): Promise<void> => {
  for (;;) {
    try {
      return await runMember(log, store, maxRecords)
    } catch (error) {
      if (!((error as SubscriberError).cause instanceof Crash)) throw error
    }
  }
}

const contentOf = ({ positions, customers, log }: MemoryStore) => ({
  positions: [...positions],
  customers: new Map([...customers].map(([uuid, { version, source }]) => [uuid, { version, source }])),
  log,
})

describe('a chunk of deliveries', () => {
  // Use few customers and versions, so that most records are repeats or stale.
  const delivery = fc
    .tuple(fc.constantFrom('a', 'b'), fc.integer({ min: 1, max: 4 }), fc.constantFrom('\u{1F600}', '\uFFFD'))
    .map((parts) => bodyOf(...parts))
  const value = fc.oneof({ weight: 6, arbitrary: delivery }, { weight: 1, arbitrary: fc.constantFrom(null, 'no json') })
  /** Lists of records whose offsets have gaps, like a partition after compaction. */
  const logOf = fc.array(fc.tuple(value, fc.integer({ min: 1, max: 2 })), { maxLength: 12 }).map((entries) => {
    let offset = 0
    return entries.map(([body, gap]) => {
      offset += gap
      return recordAt(offset, body)
    })
  })

  it('the store gets each newer event once, in order, and ends with the newest versions', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(delivery, { maxLength: 12 }), fc.integer({ min: 1, max: 4 }), async (bodies, max) => {
        const store = createMemoryStore()
        await runMember(chunkOf(...bodies), store, max)
        const newest = new Map<string, Version>()
        const expected = bodies.flatMap((body) => {
          const { id, timestamp, payload } = JSON.parse(body)
          const { customerUuid } = JSON.parse(payload).customerWithVehicles.customer
          if (decide(newest.get(customerUuid), { id, timestamp }) !== 'apply') return []
          newest.set(customerUuid, { id, timestamp })
          return [`${customerUuid} ${timestamp} ${id}`]
        })
        expect(store.log).toEqual(expected)
        expect(new Map([...store.customers].map(([uuid, { version }]) => [uuid, version]))).toEqual(newest)
      }),
    )
  })

  it('after any crashes of two members, the store has the same content as without crashes', async () => {
    const size = fc.integer({ min: 1, max: 4 })
    const crashes = fc.array(fc.boolean(), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(logOf, size, size, crashes, fc.scheduler(), async (log, sizeOfA, sizeOfB, plan, scheduler) => {
        const undisturbed = createMemoryStore()
        await runMember(log, undisturbed, 3)

        const memory = createMemoryStore()
        let steps = 0
        const store = withSteps(memory, async (name) => {
          await scheduler.schedule(Promise.resolve(), name)
          const isCrash = plan[steps]
          steps += 1
          if (isCrash) throw new Crash(name)
        })
        await scheduler.waitFor(Promise.all([supervise(log, store, sizeOfA), supervise(log, store, sizeOfB)]))
        expect(contentOf(memory)).toEqual(contentOf(undisturbed))
      }),
      { numRuns: 500 },
    )
  })

  it('if onInvalid returns stop, the earlier records are stored, and the error names the place', async () => {
    const store = createMemoryStore()
    const chunk = chunkOf(bodyOf('a', 1), 'no json', bodyOf('a', 2))
    await expect(storeChunk(chunk, undefined, { store })).rejects.toThrow('t/0 offset 1: not-json: ')
    expect([store.log, store.positions.get(0)]).toEqual([['a 1 e'], '1'])
    await expect(storeChunk([chunk[1]!, chunk[2]!], '1', { store })).rejects.toThrow('t/0 offset 1: not-json: ')
    expect(store.positions.get(0)).toBe('1')
  })

  it('an invalid record is parked before the position moves', async () => {
    const store = createMemoryStore()
    const parked: string[] = []
    const next = await storeChunk(chunkOf(null, bodyOf('a', 1)), undefined, {
      store,
      onInvalid: () => 'park',
      park: ({ record, reason }) => void parked.push(`${record.offset} ${reason} ${store.positions.get(0)}`),
    })
    expect([next, parked]).toEqual(['2', ['0 not-json undefined']])
  })

  it('if no record is usable, the position moves without a request for versions', async () => {
    const memory = createMemoryStore()
    const calls: string[] = []
    const store = withSteps(memory, async (name) => void calls.push(name))
    expect(await storeChunk(chunkOf(null), undefined, { store, ...skip })).toBe('1')
    expect(calls).toEqual(['before commit', 'after commit'])
  })

  it('a chunk asks the store once for the version of each customer', async () => {
    const asked: (readonly string[])[] = []
    const memory = createMemoryStore()
    const versions = (uuids: readonly string[]) => {
      asked.push(uuids)
      return memory.versions(uuids)
    }
    await storeChunk(chunkOf(bodyOf('b', 1), bodyOf('a', 1), bodyOf('b', 2)), undefined, {
      store: { ...memory, versions },
    })
    expect(asked).toEqual([['b', 'a']])
  })

  it('a chunk refuses an event that is further in the future than maxFutureMs', async () => {
    const store = createMemoryStore()
    const chunk = chunkOf(bodyOf('a', 1011))
    await expect(storeChunk(chunk, undefined, { store, maxFutureMs: 10 })).rejects.toThrow('too-far-in-future')
    await storeChunk(chunk, undefined, { store, maxFutureMs: 11 })
    expect(store.log).toEqual(['a 1011 e'])
  })

  it.each<[string, Partial<Record<keyof DeliveryStore, unknown>>]>([
    ['store.versions failed: oops', { versions: () => Promise.reject(new Error('oops')) }],
    ['store.commit failed: full', { commit: () => Promise.reject(new Error('full')) }],
    ['store.commit returned undefined, not true or false', { commit: async () => undefined }],
    [
      'store.versions failed: the version of customer a: the timestamp is not an integer from 1 to 2^53-1',
      { versions: () => new Map([['a', { timestamp: new Date(5), id: 'e' }]]) },
    ],
    [
      'store.versions failed: the version of customer a: the event has no id',
      { versions: () => new Map([['a', { timestamp: 5 }]]) },
    ],
  ])('if a chunk cannot be stored, the error names its place: %s', async (message, methods) => {
    const memory = createMemoryStore()
    const store = { ...memory, ...methods } as DeliveryStore
    const failed = storeChunk(chunkOf(bodyOf('a', 6)), undefined, { store })
    await expect(failed).rejects.toThrow(`t/0 offset 0: ${message}`)
    await expect(failed).rejects.toBeInstanceOf(SubscriberError)
    expect(memory.log).toEqual([])
  })
})

describe('the position in a store', () => {
  it.each([undefined, null])('if store.position returns %s, the store has no position', async (position) => {
    expect(await readPosition({ ...createMemoryStore(), position: () => position }, 't', 3)).toBeUndefined()
  })

  it.each([
    ['store.position returned the number 5, not a decimal number as text', () => 5],
    ['store.position returned the string -1, not a decimal number as text', () => '-1'],
    ['store.position returned the string , not a decimal number as text', () => ''],
    ['store.position failed: oops', () => Promise.reject(new Error('oops'))],
  ])('if a position cannot be read, the error names the partition: %s', async (message, position) => {
    const store = { ...createMemoryStore(), position } as unknown as DeliveryStore
    await expect(readPosition(store, 't', 3)).rejects.toThrow(`t/3: ${message}`)
  })
})
