import { setTimeout as sleep } from 'node:timers/promises'
import { createRegistry } from '@customer-stream/runtime'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createChunkWriter } from './chunk-writer.ts'
import { silent } from './fixtures/fake-projection.ts'
import { createHolds } from './holds.ts'
import { createProjectorMetrics } from './metrics.ts'
import { createOutages } from './outages.ts'
import type { NewestCustomer } from './project.ts'
import { LostChunkError, type Store, type StoreOutcome } from './store.ts'

/**
 * One Redis and one partition of the state topic, which several projectors use at the same time.
 */
interface World {
  readonly customers: Map<string, number>
  position: number
  token: string | undefined
  /** Customer and version of each record of the state topic, in order. */
  readonly log: [customer: string, version: number][]
}

/** An event of the raw partition. Its offset is its index. */
interface Event {
  readonly customer: string
  readonly version: number
}

/** The documents of each chunk are published. */
const CHUNK = { stateTopicId: 'state-1' }

const newestOf = (events: readonly Event[], from: number, to: number): NewestCustomer[] => {
  const newest = new Map<string, { readonly version: number; readonly offset: number }>()
  for (let offset = from; offset < to; offset++) {
    const { customer, version } = events[offset]!
    if (version > (newest.get(customer)?.version ?? 0)) newest.set(customer, { version, offset })
  }
  return [...newest].map(([customerUuid, { version, offset }]) => ({
    customerUuid,
    version: { timestamp: version, id: 'e' },
    fieldsAndValues: [],
    document: String(version),
    record: { offset: String(offset), timestamp: '1', key: null, value: null },
  }))
}

type Step = () => Promise<void>

/** Each call of Redis happens at one moment, as each script does. `step` is the way to it. */
const storeOf = (
  world: World,
  step: Step,
): Pick<Store, 'applyChunk' | 'writeChunk' | 'moveAfter' | 'lowerPosition'> => ({
  applyChunk: async (_customers, _partition, from, to) => {
    await step()
    if (world.position !== Number(from) && world.position !== Number(to)) return { moved: false, stored: [] }
    world.position = Number(to)
    return { moved: true, stored: [] }
  },
  writeChunk: async (customers, _partition, from, to) => {
    await step()
    const token = crypto.randomUUID()
    if (world.position !== Number(from) && world.position !== Number(to)) return { isInPlace: false, stored: [], token }
    world.token = token
    const stored = customers.map(({ customerUuid, version: { timestamp } }): StoreOutcome => {
      const known = world.customers.get(customerUuid) ?? 0
      if (timestamp > known) world.customers.set(customerUuid, timestamp)
      return timestamp > known ? 'applied' : timestamp === known ? 'duplicate' : 'stale'
    })
    return { isInPlace: true, stored, token }
  },
  moveAfter: async (_partition, from, to, token) => {
    await step()
    if (world.position !== Number(from) && world.position !== Number(to)) return false
    if (world.token !== token) throw new LostChunkError()
    world.token = undefined
    world.position = Number(to)
    return true
  },
  lowerPosition: async (_partition, to) => {
    await step()
    world.token = undefined
    if (world.position <= Number(to)) return false
    world.position = Number(to)
    return true
  },
})

// One for all runs, because each registry observes the garbage collector.
const metrics = createProjectorMetrics(createRegistry('test'), { groupId: 'g', topic: 't' })

const writerOf = (world: World, step: Step, isPatient = true) => {
  const backoff = { initialMs: 0, maxMs: 0 }
  const { retryThroughOutage } = createOutages({ causeOf: (error) => error, metrics, logger: silent, backoff })
  const wait = () => (isPatient ? new Promise<void>(() => undefined) : Promise.resolve())
  let resume = Promise.withResolvers<void>()
  const hold = () => {
    resume = Promise.withResolvers<void>()
    return () => resume.resolve()
  }
  const holds = createHolds({ consumer: { hold }, retryThroughOutage, metrics, wait })
  const send = async (records: readonly OutgoingRecord[]) => {
    await step()
    for (const { key, value } of records) world.log.push([String(key), Number(value)])
  }
  const store = storeOf(world, step)
  const writer = createChunkWriter(
    { store, state: { send }, holds, retryThroughOutage, metrics, logger: silent },
    'state',
  )
  return { writer, holds, untilResumed: () => resume.promise }
}

/**
 * A projector that believes to own the partition. Reads from the position in Redis, and reads it
 * again whenever a chunk did not move it.
 */
const runProjector = async (
  world: World,
  events: readonly Event[],
  {
    step,
    sizes,
    signal,
    isPatient,
    stays,
  }: { step: Step; sizes: readonly number[]; signal: AbortSignal; isPatient?: boolean; stays?: boolean },
): Promise<void> => {
  const { writer, holds, untilResumed } = writerOf(world, step, isPatient)
  let expected = world.position
  const reload = async () => {
    expected = world.position
  }
  for (let chunk = 0; expected < events.length && !signal.aborted; chunk++) {
    const to = Math.min(events.length, expected + (sizes[chunk % sizes.length] ?? 1))
    const newest = newestOf(events, expected, to)
    const written = await writer.write({ partition: 0, signal }, newest, String(expected), String(to), CHUNK, reload)
    // Its documents are late. It loses the partition meanwhile, or goes on when they are stored.
    if (written === undefined && !stays) return holds.endAll()
    if (written === undefined) {
      await untilResumed()
      continue
    }
    expected = written.moved ? to : world.position
  }
  await writer.stop()
}

// Without patience, the documents of the first projector are late, and it leaves. The second one
// waits until they are stored, and goes on.
it.each([
  ['at once', true, false, 300],
  ['late', false, false, 500],
  ['late by both', false, true, 900],
])(
  'two projectors of one partition leave the newest version as the last record, published %s',
  async (_, isPatient, stays, numRuns) => {
    const event = fc.record({ customer: fc.constantFrom('a', 'b'), version: fc.integer({ min: 1, max: 9 }) })
    const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { minLength: 1, maxLength: 6 }),
        sizes,
        sizes,
        fc.scheduler(),
        async (events, one, other, scheduler) => {
          const world: World = { customers: new Map(), position: 0, token: undefined, log: [] }
          const step: Step = () => scheduler.schedule(Promise.resolve(), 'step')
          const { signal } = new AbortController()
          const both = Promise.all([
            runProjector(world, events, { step, sizes: one, signal, isPatient, stays: false }),
            runProjector(world, events, { step, sizes: other, signal, isPatient: !stays, stays }),
          ])
          await scheduler.waitFor(both)
          await scheduler.waitIdle()
          // The partition has one owner in the end. It applies what is left.
          await runProjector(world, events, { step: async () => undefined, sizes: one, signal })
          expect(new Map(world.log)).toEqual(world.customers)
        },
      ),
      { numRuns, seed: 3 },
    )
  },
  // Nothing in it waits. It takes some seconds of CPU.
  60_000,
)

it('a projector that ends between its document and the repair leaves an older document last', async () => {
  // The one interleaving that no rule covers. Readers compare versions, and `verify` finds it.
  const events: Event[] = [
    { customer: 'a', version: 1 },
    { customer: 'a', version: 2 },
  ]
  const world: World = { customers: new Map(), position: 0, token: undefined, log: [] }
  const { promise: resumed, resolve: resume } = Promise.withResolvers<void>()
  let calls = 0
  /** Pauses before the document, and never comes back from the step after it. */
  const step: Step = async () => {
    calls += 1
    if (calls === 2) await resumed
    if (calls === 3) await new Promise(() => undefined)
  }
  const { signal } = new AbortController()
  void writerOf(world, step).writer.write(
    { partition: 0, signal },
    newestOf(events, 0, 1),
    '0',
    '1',
    CHUNK,
    async () => {},
  )
  while (calls < 2) await sleep(0)
  await runProjector(world, events, { step: async () => undefined, sizes: [1], signal })
  resume()
  while (calls < 3) await sleep(0)
  expect(world.log).toEqual([
    ['a', 1],
    ['a', 2],
    ['a', 1],
  ])
  expect(world.customers).toEqual(new Map([['a', 2]]))
})
