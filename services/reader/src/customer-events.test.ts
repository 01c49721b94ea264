import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { partitionOf, type StoredCustomer, type Version } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { describe, expect, it } from 'vitest'
import {
  createFindOutcome,
  createReadEvents,
  type Evidence,
  MAX_EVENTS,
  MAX_READ_BYTES,
  MAX_RECORDS,
} from './customer-events.ts'

describe('outcomes', () => {
  const at = (timestamp: number): Version => ({ timestamp, id: 'e' })
  const event = (offset: number, version: Version | undefined, reason?: string) => ({
    offset,
    receivedAt: 0,
    version,
    reason,
    state: undefined,
    bytes: Buffer.alloc(0),
    contentType: undefined,
  })
  const events = [event(0, at(5)), event(1, at(3)), event(2, at(5)), event(3, undefined, 'not-json'), event(4, at(9))]
  const outcomes = (evidence: Evidence) => events.map(createFindOutcome(evidence)).map(({ outcome }) => outcome)

  it('a history of all events has the outcome of each event', () => {
    expect(outcomes({ current: 4, next: 5, hasUnknownBefore: false })).toEqual([
      ...['applied', 'older', 'repeat', 'unusable', 'applied'],
    ])
  })

  it('in a history without the first events, only the event in Redis is known to be applied', () => {
    expect(outcomes({ current: 4, next: 5, hasUnknownBefore: true })).toEqual([
      ...[undefined, 'older', 'repeat', 'unusable', 'applied'],
    ])
  })

  it('an event that the projector has not read is waiting, and an outcome without proof is undefined', () => {
    expect(outcomes({ current: 0, next: 2, hasUnknownBefore: true })).toEqual([
      ...['applied', 'older', 'waiting', 'waiting', 'waiting'],
    ])
    expect(outcomes({ current: undefined, next: undefined, hasUnknownBefore: false })[0]).toBeUndefined()
  })
})

describe('reading', () => {
  const gone = new AbortController().signal
  /** Creates a topic with one partition of these records. */
  const setUp = (records: readonly { key: string; value: Buffer }[], perFetch = 1000) => {
    const fetched: number[] = []
    const readEvents = createReadEvents(
      {
        topic: 'raw',
        countPartitions: async () => 1,
        watermarks: async () => new Map([[0, { low: '0', stable: `${records.length}`, high: `${records.length}` }]]),
        offsetAt: async (_, timestampMs) => Math.min(timestampMs, records.length),
        read: async (_, offset, until) => {
          fetched.push(offset)
          const next = Math.min(until, offset + perFetch)
          const part = records.slice(offset, next).map(({ key, value }, i) => ({
            offset: String(offset + i),
            timestamp: String(Date.now()),
            key: Buffer.from(key),
            value,
          }))
          return { records: part, nextOffset: String(next) }
        },
      },
      { read: async () => ({ isFilled: true, indexes: undefined, nextOffset: () => records.length }) },
    )
    return { readEvents, fetched }
  }
  const of = (customerUuid: string) => ({
    key: customerUuid,
    value: Buffer.from(makeCustomersEvent({ customerUuid }).body),
  })

  it('a history has the newest events of the customer, and says which records were read', async () => {
    const other = of('other')
    const records = [of('c'), ...Array(MAX_RECORDS).fill(other), of('c')]
    const { readEvents, fetched } = setUp(records)
    const found = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect(found.events.map(({ offset }) => offset)).toEqual([MAX_RECORDS + 1])
    expect(found).toMatchObject({ from: 2, end: MAX_RECORDS + 2, isComplete: false })
    expect(fetched.length).toBeLessThan(2 * (MAX_RECORDS / 1000))
    const later = await readEvents({ customerUuid: 'c', since: 5, current: undefined, gone })
    expect(later).toMatchObject({ from: 5, isComplete: true })
  })

  it('after partitions were added, a history is incomplete, and an outcome without proof is undefined', async () => {
    const [former, customerUuid] = [0, 'd']
    const events = [1000, 2000].map((timestamp) => makeCustomersEvent({ customerUuid, timestamp }).body)
    const partitions = [Array(3).fill(events[0]), events]
    const readOf = (since: number) =>
      createReadEvents(
        {
          topic: 'raw',
          countPartitions: async () => 2,
          watermarks: async () =>
            new Map(partitions.map(({ length }, i) => [i, { low: '0', stable: `${length}`, high: `${length}` }])),
          offsetAt: async (partition) => (partition === former ? since : 0),
          read: async (partition, offset, until) => ({
            records: partitions[partition]!.slice(offset, until).map((body, i) => ({
              ...{ offset: String(offset + i), timestamp: String(Date.now()), headers: {} },
              ...{ key: Buffer.from(customerUuid), value: Buffer.from(body) },
            })),
            nextOffset: String(until),
          }),
        },
        { read: async () => ({ isFilled: true, indexes: undefined, nextOffset: () => 2 }) },
      )({ customerUuid, since, current: { source: 'raw/1/1' } as StoredCustomer, gone })
    expect(partitionOf(customerUuid, 2)).not.toBe(former)
    const outcomes = [{ outcome: 'applied' }, { outcome: undefined }]
    expect(await readOf(2)).toMatchObject({ from: 0, isComplete: false, events: outcomes })
    expect(await readOf(3)).toMatchObject({ from: 0, isComplete: true, events: outcomes })
  })

  it('a history has at most 100 events, and a larger history says that events are missing', async () => {
    const { readEvents } = setUp(Array.from({ length: MAX_EVENTS + 1 }, () => of('c')))
    const { events, isComplete } = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect([events.length, events[0]?.offset, isComplete]).toEqual([MAX_EVENTS, MAX_EVENTS, false])
  })

  it('a history reads the newest records first, up to a limit of bytes, and says which records were read', async () => {
    const large = { key: 'other', value: Buffer.alloc(1024 * 1024) }
    const { readEvents, fetched } = setUp([of('c'), ...Array(1000).fill(large), of('c')], 1)
    const found = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect(found.events.map(({ offset }) => offset)).toEqual([1001])
    expect(found).toMatchObject({ from: 1002 - fetched.length, end: 1002, isComplete: false })
    expect(fetched.length).toBeGreaterThan((0.9 * MAX_READ_BYTES) / large.value.byteLength)
    expect(fetched.length).toBeLessThanOrEqual(MAX_READ_BYTES / large.value.byteLength)
  })

  it('if older records are suddenly large, a history says that only the newest records were read', async () => {
    const large = { key: 'other', value: Buffer.alloc(4 * 1024 * 1024) }
    const { readEvents, fetched } = setUp([...Array(100).fill(large), ...Array(25).fill(of('c'))], 1)
    const found = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect(found).toMatchObject({ from: 100, end: 125, isComplete: false })
    expect([found.events.length, fetched.length]).toEqual([25, 25 + 16])
  })

  it('a history has at least the newest record, even if the newest records are too large together', async () => {
    const large = { key: 'other', value: Buffer.alloc(6 * 1024 * 1024) }
    const { readEvents } = setUp([...Array(100).fill(large), of('c'), large, of('c')], 1)
    const found = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect(found.events.map(({ offset }) => offset)).toEqual([102, 100])
    expect(found).toMatchObject({ end: 103, isComplete: false })
  })

  it('if a newer event does not fit into the answer, no older event takes its place', async () => {
    const sized = (company: string) => ({
      key: 'c',
      value: Buffer.from(makeCustomersEvent({ customerUuid: 'c', customer: { company } }).body),
    })
    const [large, small] = [sized('x'.repeat(4e6)), sized('x'.repeat(1e6))]
    const { readEvents } = setUp([of('c'), ...Array(30).fill(of('other')), large, small])
    const { events, isComplete } = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect([events.map(({ offset }) => offset), isComplete]).toEqual([[32], false])
  })

  it('a history keeps only the newest large events in memory, and none after the client disconnects', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage: () => void = runInNewContext('gc')
    const used = () => {
      collectGarbage()
      const { heapUsed, arrayBuffers } = process.memoryUsage()
      return heapUsed + arrayBuffers
    }
    const RECORDS = 60
    const { body } = makeCustomersEvent({ customerUuid: 'c', customer: { company: 'x'.repeat(1e6) } })
    const client = new AbortController()
    const before = used()
    let most = 0
    let reads = 0
    const readEvents = createReadEvents(
      {
        topic: 'raw',
        countPartitions: async () => 1,
        watermarks: async () => new Map([[0, { low: '0', stable: `${RECORDS}`, high: `${RECORDS}` }]]),
        offsetAt: async () => 0,
        read: async (_, offset) => {
          reads += 1
          if (reads === RECORDS) most = used() - before
          const record = { offset: `${offset}`, timestamp: '1', key: Buffer.from('c'), value: Buffer.from(body) }
          return { records: [record], nextOffset: `${offset + 1}` }
        },
      },
      { read: async () => ({ isFilled: true, indexes: undefined, nextOffset: () => RECORDS }) },
    )
    const query = { customerUuid: 'c', since: 0, current: undefined, gone: client.signal }
    const { events } = await readEvents(query)
    expect(events.map(({ offset }) => offset)).toEqual([59, 58, 57, 56])
    expect(most).toBeLessThan(50e6)
    reads = 0
    client.abort()
    await readEvents(query)
    expect(reads).toBe(0)
  })

  it('a record of another customer under the same key is left out, and an unusable record is kept', async () => {
    const { readEvents } = setUp([
      { key: 'c', value: of('other').value },
      { key: 'c', value: Buffer.from('{') },
      of('c'),
    ])
    const { events } = await readEvents({ customerUuid: 'c', since: 0, current: undefined, gone })
    expect(events.map(({ offset, reason }) => [offset, reason])).toEqual([
      [2, undefined],
      [1, 'not-json'],
    ])
  })
})
