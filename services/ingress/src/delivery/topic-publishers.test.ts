import { NotStoredError, type OutgoingRecord, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { topicNames } from '@customer-stream/schemas'
import { promotedBytes } from '@customer-stream/testing/promoted-bytes'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createTopicPublishers, type TopicPublishers } from './topic-publishers.ts'

const topics = topicNames()
const { customers, other, quarantine } = topics
const recordOf = (topic: string, value: string): OutgoingRecord => ({
  topic,
  key: Buffer.from('k'),
  value: Buffer.from(value),
  timestamp: 1,
})
const numbered = (count: number) => Array.from({ length: count }, (_, i) => `v${i}`)

/** Creates publishers with `send` in place of Kafka. */
const setUp = (send: (records: readonly OutgoingRecord[]) => Promise<void>, deliveryDeadlineMs = 2500) => {
  const refused: { topic: string; quarantined: boolean }[] = []
  const publishers = createTopicPublishers(
    topics,
    () =>
      ({
        send,
        partitionOf: ({ key }: OutgoingRecord) => key?.length,
        setPartitions: async () => undefined,
      }) as unknown as VerifiedProducer,
    {
      maxRecords: 1000,
      maxBytes: 1e7,
      deliveryDeadlineMs,
      stuckSendMs: 30_000,
      onRefused: (topic, _error, quarantined) => refused.push({ topic, quarantined }),
    },
  )
  return { publishers, refused }
}

/**
 * Simulates a Kafka that refuses a send of more than four records, and each record for which
 * `isBad` returns true.
 */
const kafkaThatRefuses = (isBad: (value: string, topic: string) => boolean) => {
  const stored: OutgoingRecord[] = []
  const { publishers, refused } = setUp(async (records) => {
    if (records.length > 4) throw new NotStoredError('refused', 'MESSAGE_TOO_LARGE')
    if (records.some(({ topic, value }) => isBad(String(value), topic)))
      throw new NotStoredError('refused', 'INVALID_TIMESTAMP'.repeat(20))
    stored.push(...records)
  })
  const valuesIn = (topic: string) =>
    stored.filter((record) => record.topic === topic).map(({ value }) => String(value))
  return { publishers, refused, stored, valuesIn }
}

const deliver = async (publishers: TopicPublishers, records: readonly OutgoingRecord[]) => {
  const kept: string[] = []
  const left = await publishers.deliver(records, ({ value }) => kept.push(String(value)))
  return {
    left: left.records.map(({ value }) => String(value)),
    kept,
    ...(left.error && { error: left.error.message }),
  }
}

const copyHeaders = {
  reason: 'refused-by-kafka',
  stage: 'ingress',
  detail: 'INVALID_TIMESTAMP'.repeat(20).slice(0, 200),
  topic: customers,
}

describe('deliver', () => {
  const batch = (count: number) => numbered(count).map((value) => recordOf(customers, value))

  it('a batch that Kafka refuses as a whole is sent in parts, each record once', async () => {
    const { publishers, refused, valuesIn } = kafkaThatRefuses(() => false)
    expect(await deliver(publishers, batch(30))).toEqual({ left: [], kept: [] })
    expect([valuesIn(customers), refused]).toEqual([numbered(30), []])
  })

  it('a record that Kafka refuses goes to quarantine, and delays no other record', async () => {
    const { publishers, refused, stored, valuesIn } = kafkaThatRefuses(
      (value, topic) => value === 'v2' && topic === customers,
    )
    expect(await deliver(publishers, batch(5))).toEqual({ left: [], kept: [] })
    expect(valuesIn(customers)).toEqual(['v0', 'v1', 'v3', 'v4'])
    const copy = { topic: quarantine, key: null, value: Buffer.from('v2'), timestamp: 1, headers: copyHeaders }
    expect(stored.filter(({ topic }) => topic === quarantine)).toEqual([copy])
    expect(refused).toEqual([{ topic: customers, quarantined: true }])
  })

  it('the spool file of a record is kept if both the topic and quarantine refuse the record', async () => {
    const { publishers, refused, valuesIn } = kafkaThatRefuses((value) => value === 'v2')
    expect(await deliver(publishers, batch(5))).toEqual({ left: [], kept: ['v2'] })
    expect(valuesIn(customers)).toEqual(['v0', 'v1', 'v3', 'v4'])
    expect(refused).toEqual([{ topic: customers, quarantined: false }])
  })

  it('a refused record is retried later if quarantine does not answer', async () => {
    vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const { publishers, refused } = setUp(async ([record]) => {
      if (record?.topic === quarantine) vi.advanceTimersByTime(500)
      throw new NotStoredError(record?.topic === quarantine ? 'unavailable' : 'refused', record?.topic)
    })
    expect(await deliver(publishers, batch(1))).toEqual({ left: ['v0'], kept: [], error: quarantine })
    expect(refused).toEqual([])
  })

  it('partitionOf returns the partition of a record, with the partition count of its topic', async () => {
    const { publishers } = kafkaThatRefuses(() => false)
    await publishers.setPartitions(new Map([[customers, 3]]))
    const records = [
      recordOf(customers, 'a'),
      { ...recordOf(customers, 'b'), key: Buffer.from('kk') },
      recordOf('old.customers.raw', 'c'),
    ]
    const partitions = records.map((record) => publishers.partitionOf(record))
    expect(partitions).toEqual([`${customers}/1 of 3`, `${customers}/2 of 3`, `${customers}/1 of 3`])
  })

  it('a record of another topic prefix goes to the topic of the current prefix, or to quarantine', async () => {
    const { publishers, valuesIn } = kafkaThatRefuses(() => false)
    await deliver(publishers, [
      recordOf('old.customers.raw', 'c'),
      recordOf('old.other.raw', 'o'),
      recordOf('old', 'x'),
    ])
    expect([valuesIn(customers), valuesIn(other), valuesIn(quarantine)]).toEqual([['c'], ['o'], ['x']])
  })

  describe('failing partitions', () => {
    /**
     * Simulates a Kafka in which these partitions fail. In this test the length of a key is the
     * number of its partition. Each send takes 300 ms.
     */
    const kafkaWithout = (failing: Set<number>) => {
      vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] })
      onTestFinished(() => void vi.useRealTimers())
      const { publishers } = setUp(async (records) => {
        vi.advanceTimersByTime(300)
        if (records.some(({ key }) => failing.has(key?.length ?? -1)))
          throw new NotStoredError('unavailable', 'no leader')
      })
      return publishers
    }
    const onPartition = (partition: number, value: string) => ({
      ...recordOf(customers, value),
      key: Buffer.alloc(partition),
    })

    it('records of a failing partition are returned for a retry, and the others are stored', async () => {
      const publishers = kafkaWithout(new Set([1]))
      const records = [1, 2, 3, 1].map((partition, i) => onPartition(partition, `v${i}`))
      expect(await deliver(publishers, records)).toEqual({ left: ['v0', 'v3'], kept: [], error: 'no leader' })
    })
  })
})

describe('publish', () => {
  it('a refused record is not acknowledged, and a copy goes to quarantine', async () => {
    const { publishers, refused, stored } = kafkaThatRefuses((_, topic) => topic === customers)
    expect(await publishers.publish(recordOf(customers, 'v'), Number.POSITIVE_INFINITY)).toMatchObject({
      end: 'refused',
    })
    while (refused.length === 0) await new Promise(setImmediate)
    expect(stored).toEqual([
      { topic: quarantine, key: null, value: Buffer.from('v'), timestamp: 1, headers: copyHeaders },
    ])
    expect(refused).toEqual([{ topic: customers, quarantined: true }])
    await publishers.drain()
  })

  it('a refused record is reported once if quarantine refuses its copy', async () => {
    // Quarantine refuses the copy too. A third refusal would mean that a copy of the copy was sent,
    // which is a bug.
    let refusals = 0
    const { publishers, refused } = kafkaThatRefuses(() => ++refusals <= 3)
    expect(await publishers.publish(recordOf(customers, 'v'), Number.POSITIVE_INFINITY)).toMatchObject({
      end: 'refused',
    })
    while (refused.length === 0) await new Promise(setImmediate)
    await publishers.drain()
    expect(refused).toEqual([{ topic: customers, quarantined: false }])
  })
})

it('a shutdown keeps its deadline even if the copy of a refused record cannot be stored', async () => {
  const { publishers, refused } = setUp(async ([record]) => {
    throw new NotStoredError(record?.topic === quarantine ? 'unavailable' : 'refused', record?.topic)
  })
  expect(await publishers.publish(recordOf(customers, 'v'), Number.POSITIVE_INFINITY)).toMatchObject({ end: 'refused' })
  // Without a deadline, this drain would last 30 s.
  await publishers.drain()
  expect(refused).toEqual([{ topic: customers, quarantined: false }])
})

it('an outage of a topic is reported with the error of Kafka', async () => {
  const { publishers } = setUp(async ([record]) => {
    if (record?.topic === other) throw new NotStoredError('unavailable', 'no right to write')
  })
  const publish = (topic: string, partition: number) =>
    publishers.publish({ ...recordOf(topic, 'v'), key: Buffer.alloc(partition) }, performance.now() + 50)
  await publishers.setPartitions(new Map(Object.values(topics).map((topic) => [topic, 12])))
  const startedAt = performance.now()
  await Promise.all([1, 2].flatMap((partition) => [publish(customers, partition), publish(other, partition)]))
  onTestFinished(() => void vi.restoreAllMocks())
  const clock = vi.spyOn(performance, 'now')
  clock.mockReturnValue(startedAt + 11_000)
  // Two failing partitions out of twelve are not an outage.
  expect(publishers.outage()).toBeUndefined()
  clock.mockRestore()
  await publish(other, 3)
  vi.spyOn(performance, 'now').mockReturnValue(startedAt + 11_000)
  expect(publishers.outage()).toEqual({
    topic: other,
    error: expect.objectContaining({ message: 'no right to write' }),
  })
})

it('an outage of a topic is reported if its last healthy partitions begin to fail', async () => {
  const failing = new Set([1, 2, 3])
  const { publishers } = setUp(async (records) => {
    if (records.some(({ key }) => failing.has(key?.length ?? -1))) throw new NotStoredError('unavailable', 'no leader')
  })
  onTestFinished(() => publishers.drain())
  onTestFinished(() => void vi.restoreAllMocks())
  const publish = (partition: number) =>
    publishers.publish({ ...recordOf(other, 'v'), key: Buffer.alloc(partition) }, performance.now() + 50)
  await publishers.setPartitions(new Map([[other, 5]]))
  await Promise.all([...failing].map(publish))
  await Promise.all([4, 5].map(publish))
  for (const partition of [4, 5]) {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 11_000)
    expect(publishers.outage()).toBeUndefined()
    clock.mockRestore()
    failing.add(partition)
    await publish(partition)
  }
  vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 11_000)
  expect(publishers.outage()).toMatchObject({ topic: other })
})

describe('stuck sends', () => {
  afterEach(() => void vi.restoreAllMocks())

  it.each(['publish', 'deliver'] as const)(
    'a send of %s that has not ended for half a minute is reported',
    async (way) => {
      const { promise, resolve } = Promise.withResolvers<void>()
      const begun = Promise.withResolvers<void>()
      const { publishers } = setUp(() => {
        begun.resolve()
        return promise
      })
      const record = recordOf(other, 'v')
      const done =
        way === 'publish' ? publishers.publish(record, Number.POSITIVE_INFINITY) : deliver(publishers, [record])
      await begun.promise
      expect(publishers.stuck()).toBeUndefined()
      const startedAt = performance.now()
      vi.spyOn(performance, 'now').mockReturnValue(startedAt + 31_000)
      expect(publishers.stuck()).toBe(`a send to ${other} has not ended for 31 s`)
      resolve()
      await done
      expect(publishers.stuck()).toBeUndefined()
      await publishers.drain()
    },
  )
})

it('garbage collections of the young generation free what the lists of flushes have allocated', async () => {
  const { publishers } = setUp(async () => undefined)
  const bytes = await promotedBytes(100, async () => {
    for (let i = 0; i < 100; i++) await publishers.publish(recordOf(customers, 'v'), performance.now() + 10_000)
  })
  expect(bytes).toBeLessThan(500_000)
})
