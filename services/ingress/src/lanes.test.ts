import { NotStoredError, type OutgoingRecord, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { topicNames } from '@customer-stream/schemas'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createLanes } from './lanes.ts'

const topics = topicNames()
const { customers, other, quarantine } = topics
const recordOf = (topic: string, value: string): OutgoingRecord => ({
  topic,
  key: Buffer.from('k'),
  value: Buffer.from(value),
  timestamp: 1,
})
const numbered = (count: number) => Array.from({ length: count }, (_, i) => `v${i}`)

/** Lanes to a Kafka that does as `send` says. */
const setUp = (send: (records: readonly OutgoingRecord[]) => Promise<void>) => {
  const refused: { topic: string; quarantined: boolean }[] = []
  const lanes = createLanes(
    topics,
    () => ({ send, partitionOf: ({ key }: OutgoingRecord) => key?.length }) as unknown as VerifiedProducer,
    {
      maxRecords: 1000,
      maxBytes: 1e7,
      onRefused: (topic, _error, quarantined) => refused.push({ topic, quarantined }),
    },
  )
  return { lanes, refused }
}

/** Takes at most four records at once, and no record whose value `isBad` in its topic. */
const kafkaThatRefuses = (isBad: (value: string, topic: string) => boolean) => {
  const stored: OutgoingRecord[] = []
  const { lanes, refused } = setUp(async (records) => {
    if (records.length > 4) throw new NotStoredError('refused', 'MESSAGE_TOO_LARGE')
    if (records.some(({ topic, value }) => isBad(String(value), topic))) throw new NotStoredError('refused', 'INVALID_TIMESTAMP'.repeat(20))
    stored.push(...records)
  })
  const valuesIn = (topic: string) => stored.filter((record) => record.topic === topic).map(({ value }) => String(value))
  return { lanes, refused, stored, valuesIn }
}

const copyHeaders = { reason: 'refused-by-kafka', stage: 'ingress', detail: 'INVALID_TIMESTAMP'.repeat(20).slice(0, 200), topic: customers }

describe('a batch from the spool', () => {
  it('that Kafka refuses as a whole is sent in parts, each record once', async () => {
    const { lanes, refused, valuesIn } = kafkaThatRefuses(() => false)
    const keep = vi.fn()
    await lanes.send(
      numbered(30).map((value) => recordOf(customers, value)),
      keep,
    )
    expect([valuesIn(customers), refused, keep.mock.calls]).toEqual([numbered(30), [], []])
  })

  it('gives a record that Kafka will never take to quarantine, and holds nothing else up', async () => {
    const { lanes, refused, stored, valuesIn } = kafkaThatRefuses((value, topic) => value === 'v2' && topic === customers)
    const keep = vi.fn()
    await lanes.send(
      numbered(5).map((value) => recordOf(customers, value)),
      keep,
    )
    expect(valuesIn(customers)).toEqual(['v0', 'v1', 'v3', 'v4'])
    const copy = { topic: quarantine, key: null, value: Buffer.from('v2'), timestamp: 1, headers: copyHeaders }
    expect(stored.filter(({ topic }) => topic === quarantine)).toEqual([copy])
    expect(refused).toEqual([{ topic: customers, quarantined: true }])
    expect(keep).not.toHaveBeenCalled()
  })

  it('has its file kept when quarantine refuses the record too', async () => {
    const { lanes, refused, valuesIn } = kafkaThatRefuses((value) => value === 'v2')
    const keep = vi.fn()
    await lanes.send(
      numbered(5).map((value) => recordOf(customers, value)),
      keep,
    )
    expect(valuesIn(customers)).toEqual(['v0', 'v1', 'v3', 'v4'])
    expect([keep.mock.calls.length, refused]).toEqual([1, [{ topic: customers, quarantined: false }]])
  })

  it('waits when quarantine does not answer: that says nothing about the record', async () => {
    const { lanes, refused } = setUp(async ([record]) => {
      throw new NotStoredError(record?.topic === quarantine ? 'unavailable' : 'refused', record?.topic)
    })
    const keep = vi.fn()
    await expect(lanes.send([recordOf(customers, 'v')], keep)).rejects.toThrow(quarantine)
    expect([keep.mock.calls, refused]).toEqual([[], []])
  })

  it('leaves those of a partition that fails, and stores the others', async () => {
    const stored: string[] = []
    const { lanes } = setUp(async (records) => {
      if (records.some(({ key }) => String(key) === 'bad')) throw new NotStoredError('unavailable', 'no leader')
      stored.push(...records.map(({ value }) => String(value)))
    })
    const all = ['good', 'bad', 'better', 'bad'].map((key, i) => ({ ...recordOf(customers, `v${i}`), key: Buffer.from(key) }))
    expect(await lanes.send(all, () => undefined)).toEqual([all[1], all[3]])
    expect(stored.toSorted()).toEqual(['v0', 'v2'])
    await expect(
      lanes.send(
        all.filter(({ key }) => String(key) === 'bad'),
        () => undefined,
      ),
    ).rejects.toThrow('no leader')
  })

  it('that was spooled under another prefix goes to the topics of today, and what has none to quarantine', async () => {
    const { lanes, valuesIn } = kafkaThatRefuses(() => false)
    await lanes.send([recordOf('old.customers.raw', 'c'), recordOf('old.other.raw', 'o'), recordOf('old', 'x')], () => undefined)
    expect([valuesIn(customers), valuesIn(other), valuesIn(quarantine)]).toEqual([['c'], ['o'], ['x']])
  })
})

describe('a request whose record Kafka refuses', () => {
  it('is not promised, and a copy goes to quarantine', async () => {
    const { lanes, refused, stored } = kafkaThatRefuses((_, topic) => topic === customers)
    expect(await lanes.publish(recordOf(customers, 'v'), Number.POSITIVE_INFINITY)).toBe('refused')
    while (refused.length === 0) await new Promise(setImmediate)
    expect(stored).toEqual([{ topic: quarantine, key: null, value: Buffer.from('v'), timestamp: 1, headers: copyHeaders }])
    expect(refused).toEqual([{ topic: customers, quarantined: true }])
    await lanes.drain()
  })

  it('is told once when quarantine refuses the copy', async () => {
    // The record and its copy; a copy of the copy would end as well, so that one too many shows.
    let refusals = 0
    const { lanes, refused } = kafkaThatRefuses(() => ++refusals <= 3)
    expect(await lanes.publish(recordOf(customers, 'v'), Number.POSITIVE_INFINITY)).toBe('refused')
    while (refused.length === 0) await new Promise(setImmediate)
    await lanes.drain()
    expect(refused).toEqual([{ topic: customers, quarantined: false }])
  })
})

describe('a send that has not ended for half a minute is named, which an answer of Kafka to others would hide', () => {
  afterEach(() => void vi.restoreAllMocks())

  it.each(['publish', 'send'] as const)('by %s', async (way) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    const { lanes } = setUp(() => {
      begun.resolve()
      return promise
    })
    const record = recordOf(other, 'v')
    const done = way === 'publish' ? lanes.publish(record, Number.POSITIVE_INFINITY) : lanes.send([record], () => undefined)
    await begun.promise
    expect(lanes.stuck()).toBeUndefined()
    const startedAt = performance.now()
    vi.spyOn(performance, 'now').mockReturnValue(startedAt + 31_000)
    expect(lanes.stuck()).toBe(`a send to ${other} has not ended for 31 s`)
    resolve()
    await done
    expect(lanes.stuck()).toBeUndefined()
    await lanes.drain()
  })
})
