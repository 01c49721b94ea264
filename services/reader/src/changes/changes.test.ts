import type { Readable } from 'node:stream'
import { createRegistry } from '@customer-stream/runtime/service'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createReaderMetrics } from '../metrics.ts'
import { createChangeLog } from './change-log.ts'
import type { ViewOptions } from './change-view.ts'
import { type ChangesOptions, createChanges, type StreamRequest } from './changes.ts'
import { positionText, readPosition } from './stream-position.ts'

const TOPIC = 'abcdef01'.repeat(4)

const record = (offset: number, customerUuid: string, dealerUuid: string | null, more: object = {}) => ({
  offset: String(offset),
  timestamp: '0',
  key: Buffer.from(customerUuid),
  value:
    dealerUuid === null
      ? null
      : Buffer.from(
          JSON.stringify({
            customerUuid,
            version: { timestamp: offset + 1, id: 'e' },
            dealerUuid,
            receivedAt: 1,
            customer: { customerUuid, firstName: 'Ada', ...more },
            source: { topic: 'raw', partition: 0, offset: '0' },
          }),
        ),
})

type Records = ReturnType<typeof record>[]

/** Opens streams on a log in memory. `partitions` is the content of the topic. */
const setUp = ({
  maxChanges = 100,
  maxBytes = 1e6,
  ...options
}: Partial<ChangesOptions> & { maxChanges?: number; maxBytes?: number } = {}) => {
  const partitions: Records[] = [[], [], []]
  const stopping = new AbortController()
  const registry = createRegistry('test')
  const metrics = createReaderMetrics(registry)
  const kafka = { isAvailable: true, leaderless: -1, onWatermarks: () => {} }
  const changes = createChanges(
    {
      topic: {
        watermarks: async () => {
          kafka.onWatermarks()
          const marks = partitions.map(({ length }) => ({ low: '0', stable: `${length}`, high: `${length}` }))
          return new Map([...marks.entries()].filter(([partition]) => partition !== kafka.leaderless))
        },
        read: async (partition, offset, until) => {
          // A fetch returns only a part of the range.
          const records = partitions[partition]!.slice(offset, Math.min(until, offset + 2))
          return { records, nextOffset: String(offset + records.length) }
        },
      },
      metrics,
      stopping: stopping.signal,
      isAvailable: () => kafka.isAvailable,
    },
    { maxStreams: 10, maxKeyStreams: 10, heartbeatMs: 1e6, ...options },
    createChangeLog({ maxChanges, maxBytes }),
  )
  const begin = (id = TOPIC) =>
    changes.tail.onBegin(id, new Map(partitions.map(({ length }, i) => [i, String(length)])))
  begin()
  const add = (partition: number, customerUuid: string, dealerUuid: string | null, more?: object) => {
    const records = partitions[partition]!
    records.push(record(records.length, customerUuid, dealerUuid, more))
    changes.tail.onPart(partition, { records: records.slice(-1), nextOffset: String(records.length) })
  }
  onTestFinished(() => stopping.abort())
  const running = changes.run()
  return { changes, add, begin, stopping, registry, partitions, kafka, running }
}

const viewOf = (dealers: readonly string[] | '*', more: Partial<ViewOptions> = {}): ViewOptions => ({
  customers: undefined,
  isMasked: false,
  shown: [],
  seesAllDealers: dealers === '*',
  dealers: dealers === '*' ? undefined : new Set(dealers),
  ...more,
})

const request = (more: Partial<StreamRequest> = {}): StreamRequest => ({
  key: 'k',
  view: viewOf('*'),
  after: undefined,
  onChanged: () => undefined,
  isValid: () => true,
  ...more,
})

interface Event {
  readonly id: string
  readonly name: string
  readonly customerUuid: string
}

/** Reads a stream as a browser does. */
const readEvents = (body: Readable) => {
  const events: Event[] = []
  const seen = { text: '', lastId: '', hasEnded: false, isDestroyed: false }
  body.on('end', () => {
    seen.hasEnded = true
  })
  body.on('close', () => {
    seen.isDestroyed = true
  })
  let rest = ''
  body.on('data', (chunk) => {
    seen.text += chunk
    const blocks = `${rest}${chunk}`.split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
      seen.lastId = field('id') ?? seen.lastId
      const [event, data] = [field('event'), field('data')]
      if (event && data) events.push({ id: seen.lastId, name: event, customerUuid: JSON.parse(data).customerUuid })
    }
  })
  return { events, seen, names: () => events.map(({ name, customerUuid }) => `${name} ${customerUuid}`) }
}

/** Waits until the assertion holds. */
const untilHolds = (assertion: () => unknown) => vi.waitFor(assertion, { interval: 2 })

const open = async (site: ReturnType<typeof setUp>, more: Partial<StreamRequest> = {}) => {
  const opened = await site.changes.open(request(more))
  if (opened.kind !== 'stream') throw new Error(opened.kind)
  const reading = readEvents(opened.body)
  await untilHolds(() => expect(reading.seen.lastId).not.toBe(''))
  return { ...reading, body: opened.body }
}

it('the id of each event continues a stream exactly after the event', async () => {
  const site = setUp({ maxChanges: 7, maxStreams: 100, maxKeyStreams: 100 })
  const all = await open(site)
  const start = all.seen.lastId
  for (let i = 0; i < 30; i++) {
    site.add([0, 1, 2, 0, 1, 0][i % 6]!, `c${i}`, 'a')
    if (i % 6 === 5) await untilHolds(() => expect(all.events).toHaveLength(i + 1))
  }
  expect(all.names()).toEqual(Array.from({ length: 30 }, (_, i) => `changed c${i}`))
  const checks: (() => void)[] = []
  const openAfter = async (id: string, expected: readonly string[]) => {
    const stream = await open(site, { after: readPosition(id) })
    await untilHolds(() => expect(stream.names().toSorted(), id).toEqual(expected.toSorted()))
    const sent = stream.names()
    checks.push(() => expect(stream.names()).toEqual([...sent, 'changed last']))
    return stream
  }
  for (const [i, id] of [start, ...all.events.map((event) => event.id)].entries()) {
    const later = await openAfter(id, all.names().slice(i))
    // The event ids must also be exact while a stream catches up.
    const [first] = later.events
    await openAfter(first?.id ?? id, later.names().slice(1))
  }
  // Add an event. If a stream had sent an earlier event again, that event would come before `last`.
  site.add(0, 'last', 'a')
  await untilHolds(() => {
    for (const check of checks) check()
  })
})

it('a burst that is larger than the log is read from Kafka, because the client is not slow', async () => {
  const site = setUp({ maxChanges: 7 })
  const { names, seen, events } = await open(site)
  for (let i = 0; i < 30; i++) site.add(i % 3, `c${i}`, 'a')
  const burst = Array.from({ length: 30 }, (_, i) => `changed c${i}`).toSorted()
  await untilHolds(() => expect(names().toSorted()).toEqual(burst))
  site.add(0, 'last', 'a')
  await untilHolds(() => expect(names().slice(30)).toEqual(['changed last']))
  expect(seen.isDestroyed).toBe(false)
  expect(readPosition(events.at(-1)?.id ?? '')?.offsets).toEqual([11, 10, 10])
})

it('a heartbeat moves the position of a stream without events', async () => {
  const site = setUp({ heartbeatMs: 10 })
  const { seen, events } = await open(site, { view: viewOf(['b']) })
  const before = seen.lastId
  site.add(1, 'c', 'a')
  await vi.waitFor(() => expect(readPosition(seen.lastId)?.offsets).toEqual([0, 1, 0]))
  expect(seen.text).toContain(': heartbeat\n')
  expect(readPosition(before)?.offsets).toEqual([0, 0, 0])
  expect(events).toEqual([])
})

it('a key for one dealer gets no document, no move and no tombstone of other dealers', async () => {
  const site = setUp()
  const [a, b] = [await open(site, { view: viewOf(['a']) }), await open(site, { view: viewOf(['b']) })]
  const every = await open(site)
  site.add(0, 'moves', 'a')
  site.add(0, 'moves', 'b')
  site.add(0, 'moves', 'b')
  site.add(0, 'moves', null)
  site.add(1, 'ofB', 'b')
  site.add(1, 'ofB', null)
  site.add(2, 'unknown', null)
  for (const dealer of ['a', 'b']) site.add(0, `last of ${dealer}`, dealer)
  await untilHolds(() =>
    expect(every.names().slice(-3)).toEqual(['removed unknown', 'changed last of a', 'changed last of b']),
  )
  await untilHolds(() => expect(a.names()).toEqual(['changed moves', 'removed moves', 'changed last of a']))
  const ofB = ['changed moves', 'changed moves', 'removed moves', 'changed ofB', 'removed ofB', 'changed last of b']
  await untilHolds(() => expect(b.names()).toEqual(ofB))
  expect(a.seen.text).not.toMatch(/ofB|unknown|"b"/)
})

it('a stream shows only the selected customers, and reports the removal of a customer known at its start', async () => {
  const site = setUp()
  const view = viewOf(['a'], { customers: new Set(['x', 'y']), shown: [{ customerUuid: 'x', dealerUuid: 'a' }] })
  const { names } = await open(site, { view })
  site.add(0, 'z', 'a')
  site.add(0, 'x', null)
  site.add(0, 'y', null)
  site.add(0, 'y', 'a')
  await untilHolds(() => expect(names()).toEqual(['removed x', 'changed y']))
})

it('a document is shown with its types, and is masked for a key without the scope pii', async () => {
  const site = setUp()
  const [full, masked] = [await open(site), await open(site, { view: viewOf('*', { isMasked: true }) })]
  site.add(0, 'c', 'a', { loyalty: { level: 12345678901234567890n.toString() }, isBusiness: false })
  await untilHolds(() => expect([full.events, masked.events].map(({ length }) => length)).toEqual([1, 1]))
  expect(full.seen.text).toMatch(/"firstName":"Ada".*"isBusiness":false/)
  expect(masked.seen.text).toMatch(/"firstName":"\*\*\*".*"isBusiness":false/)
  expect(masked.seen.text).not.toMatch(/Ada|12345678901234567890/)
})

it('a record that is not a document is left out, and the stream continues', async () => {
  const site = setUp()
  const { names } = await open(site)
  const [damaged] = [{ ...record(0, 'c', 'a'), value: Buffer.from('{"a":\n1}') }]
  site.partitions[0]!.push(damaged)
  site.changes.tail.onPart(0, { records: [damaged], nextOffset: '1' })
  site.add(0, 'd', 'a')
  await untilHolds(() => expect(names()).toEqual(['changed d']))
})

it('an old position, a position of another topic, and a position after the end are refused', async () => {
  const site = setUp({ maxChanges: 1 })
  for (let i = 0; i < 5; i++) site.add(0, `c${i}`, 'a')
  const kind = async (text: string) => (await site.changes.open(request({ after: readPosition(text)! }))).kind
  const tag = TOPIC.slice(0, 8)
  const now = Math.floor(Date.now() / 1000)
  expect(await kind(positionText(tag, ['0', '0', '0'], now - 5 * 24 * 3600))).toBe('stream')
  expect(await kind(positionText(tag, ['0', '0', '0'], now - 7 * 24 * 3600))).toBe('gone')
  expect(await kind(positionText('00000000', ['0', '0', '0']))).toBe('gone')
  expect(await kind(positionText(tag, ['6', '0', '0']))).toBe('gone')
  expect(await kind(positionText(tag, ['0', '0', '0', '0']))).toBe('gone')
})

it('a position is accepted even if a partition was added, or has no leader at the moment', async () => {
  const site = setUp({ maxChanges: 1 })
  for (let i = 0; i < 5; i++) site.add(0, `c${i}`, 'a')
  const kindOf = async (...offsets: string[]) => {
    const after = readPosition(positionText(TOPIC.slice(0, 8), offsets))
    return (await site.changes.open(request({ after }))).kind
  }
  for (const [partition, kind] of ['unavailable', 'stream'].entries()) {
    site.kafka.leaderless = partition
    // The log has the changes of partition 1, but not those of partition 0.
    expect([await kindOf('1', '0', '0'), await kindOf('5', '0', '0')]).toEqual([kind, 'stream'])
  }
  site.kafka.leaderless = -1
  // Another process has read a record of a partition that this process does not know yet.
  site.partitions.push([record(0, 'added', 'a')])
  expect([await kindOf('5', '0', '0', '1'), await kindOf('5', '0', '0', '2')]).toEqual(['stream', 'gone'])
})

it.each(['', 'x', '7', 'abcdef01.1', 'abcdef01.1.', 'abcdef01.1.-1', 'abcdef01.1.0-', `abcdef01.1.${'z'.repeat(11)}`])(
  'the text %j is not a position',
  (text) => {
    expect(readPosition(text)).toBeUndefined()
  },
)

it('a stream whose position this process has not reached yet waits, and then sends no event again', async () => {
  const site = setUp()
  site.add(0, 'a', 'a')
  // Another process has read one more record, which this process has not read yet.
  site.partitions[0]!.push(record(1, 'b', 'a'))
  const { names, events } = await open(site, { after: readPosition(positionText(TOPIC.slice(0, 8), ['2', '0', '0']))! })
  site.add(1, 'early', 'a')
  await untilHolds(() => expect(readPosition(events[0]?.id ?? '')?.offsets).toEqual([2, 1, 0]))
  site.changes.tail.onPart(0, { records: [site.partitions[0]![1]!], nextOffset: '2' })
  site.add(0, 'c', 'a')
  await untilHolds(() => expect(names()).toEqual(['changed early', 'changed c']))
})

it('a client that reads too slowly is cut off before its events need much memory', async () => {
  const site = setUp({ maxChanges: 50 })
  const opened = await site.changes.open(request())
  if (opened.kind !== 'stream') throw new Error(opened.kind)
  // This stream gets each change later than the slow stream.
  const other = await open(site)
  const large = { note: 'x'.repeat(10_000) }
  for (let i = 0; i < 40 && !opened.body.destroyed; i++) {
    for (let j = 0; j < 5; j++) site.add(0, `c${i}`, 'a', large)
    await untilHolds(() => expect(other.events).toHaveLength(5 * i + 5))
    expect(opened.body.readableLength).toBeLessThan(200_000)
  }
  expect(opened.body.destroyed).toBe(true)
  expect(await site.registry.metrics()).toContain('reader_streams_ended_total{reason="slow",service="test"} 1')
  site.add(0, 'last', 'a')
  await untilHolds(() => expect(other.names().at(-1)).toBe('changed last'))
})

it('a client that reads nothing between two heartbeats is cut off', async () => {
  const site = setUp({ heartbeatMs: 20 })
  const opened = await site.changes.open(request())
  if (opened.kind !== 'stream') throw new Error(opened.kind)
  site.add(0, 'c', 'a', { note: 'x'.repeat(100_000) })
  await vi.waitFor(() => expect(opened.body.destroyed).toBe(true))
})

it('the number of streams is limited for each key, and for all keys together', async () => {
  const site = setUp({ maxStreams: 3, maxKeyStreams: 2 })
  const kind = async (key: string) => (await site.changes.open(request({ key }))).kind
  const { body } = await open(site)
  expect([await kind('k'), await kind('k'), await kind('l'), await kind('m')]).toEqual([
    ...['stream', 'key-full', 'stream', 'full'],
  ])
  body.destroy()
  await untilHolds(async () => expect(await kind('k')).toBe('stream'))
})

it('a stop tells the clients to connect again, and each stream ends', async () => {
  const site = setUp()
  const { seen } = await open(site)
  site.stopping.abort()
  await site.running
  await untilHolds(() =>
    expect(seen).toMatchObject({ hasEnded: true, text: expect.stringMatching(/\nretry: \d{4}\n\n$/) }),
  )
  expect((await site.changes.open(request())).kind).toBe('unavailable')
})

it('if the topic is created again, each stream ends, and positions in the deleted topic are refused', async () => {
  const site = setUp()
  const { seen } = await open(site)
  site.begin('f'.repeat(32))
  await untilHolds(() => expect(seen.hasEnded).toBe(true))
  expect((await site.changes.open(request({ after: readPosition(seen.lastId) }))).kind).toBe('gone')
})

it('a position is refused if the topic is created again while the position is checked', async () => {
  const site = setUp({ maxChanges: 1 })
  for (let i = 0; i < 5; i++) site.add(0, `c${i}`, 'a')
  site.kafka.onWatermarks = () => site.begin('f'.repeat(32))
  const after = readPosition(positionText(TOPIC.slice(0, 8), ['0', '0', '0']))
  expect((await site.changes.open(request({ after }))).kind).toBe('gone')
})

it('a key that is no longer valid ends its stream at the next heartbeat', async () => {
  const site = setUp({ heartbeatMs: 10 })
  let isValid = true
  const { seen } = await open(site, { isValid: () => isValid })
  expect(seen.hasEnded).toBe(false)
  isValid = false
  await untilHolds(() => expect(seen.hasEnded).toBe(true))
})

it('while Kafka does not answer, no stream is opened', async () => {
  const site = setUp()
  site.kafka.isAvailable = false
  expect((await site.changes.open(request())).kind).toBe('unavailable')
})

it('onChanged gets each changed customer of a batch once, and no erased customer', async () => {
  const site = setUp()
  const reported: (readonly string[])[] = []
  await open(site, { onChanged: (customers) => reported.push(customers) })
  site.partitions[0]!.push(record(0, 'a', 'a'), record(1, 'b', 'a'), record(2, 'a', null))
  site.changes.tail.onPart(0, { records: site.partitions[0]!, nextOffset: '3' })
  await untilHolds(() => expect(reported).toEqual([['a', 'b']]))
})

/** Returns the events that a stream must show if it misses no change. */
const expectedOf = ({ customers, dealers }: ViewOptions, changes: readonly (readonly [string, string | null])[]) => {
  const shown = new Set<string>()
  return changes.flatMap(([customerUuid, dealer]) => {
    if (customers?.has(customerUuid) === false) return []
    if (dealer !== null && (dealers === undefined || dealers.has(dealer))) {
      shown.add(customerUuid)
      return [`changed ${customerUuid}`]
    }
    const isRemoved = shown.delete(customerUuid) || (dealer === null && dealers === undefined)
    return isRemoved ? [`removed ${customerUuid}`] : []
  })
}

it.each([1, 2, 3, 4, 5, 6])(
  'a stream misses no customer that moves to another dealer, even if its client reads slowly (seed %i)',
  async (seed) => {
    const site = setUp({ maxChanges: 10_000, maxBytes: 1e9, maxStreams: 100, maxKeyStreams: 100 })
    let state = seed
    /** Returns a random integer from 0 to `below` - 1 (Park and Miller's generator). */
    const random = (below: number) => {
      state = (state * 48_271) % 2_147_483_647
      return state % below
    }
    const all: (readonly [string, string | null])[] = []
    const views = [
      ...[viewOf('*'), viewOf(['a']), viewOf(['b']), viewOf(['a', 'b']), viewOf(['b', 'c']), viewOf(['none'])],
      ...[viewOf('*', { customers: new Set(['c1', 'c2']) }), viewOf(['a'], { customers: new Set(['c1', 'c3']) })],
    ]
    const readers: (Awaited<ReturnType<typeof open>> & { view: ViewOptions; start: number })[] = []
    for (let step = 0; step < 60; step++) {
      const view = views[random(views.length)]!
      if (readers.length < 25) readers.push({ ...(await open(site, { view })), view, start: all.length })
      const slow = readers[random(readers.length)]!.body
      if (slow.isPaused()) slow.resume()
      else if (random(3) === 0) slow.pause()
      for (let i = random(6); i > 0; i--) {
        const customer = random(8)
        const dealer = random(15) === 0 ? null : ['a', 'b', 'c', 'd'][random(4)]!
        all.push([`c${customer}`, dealer])
        site.add(customer % 3, `c${customer}`, dealer, { note: 'x'.repeat(20_000) })
        if (random(4) === 0) await new Promise(setImmediate)
      }
    }
    for (const { body } of readers) body.resume()
    for (const { names, view, start, body } of readers) {
      await untilHolds(() => expect(names()).toEqual(expectedOf(view, all.slice(start))))
      expect(body.destroyed).toBe(false)
    }
  },
)
