import { fetchEnds } from '@customer-stream/runtime/kafka'
import { freshNames } from '@customer-stream/testing'
import { testConsumer, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { CompressionTypes, type IResourceConfigEntry, type Producer, type ProducerRecord } from 'kafkajs'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import { decompressors } from './codecs.ts'
import {
  createAdmin,
  createDiagnose,
  createPartitionConsumer,
  createPartitionReader,
  type FetchedBatch,
  type TopicAdmin,
} from './index.ts'
import { kafkajsOf } from './kafka-client.ts'
import { administratorOf } from './topic-admin.ts'

// These tests read records that other producers could write: transactions, codecs, damaged batches.
const kafka = testKafka(testKafkaSettings())
let admin: TopicAdmin
let topic: string
const ends: (() => Promise<unknown>)[] = []
const createTopic = async (configEntries: IResourceConfigEntry[] = []) => {
  topic = `${freshNames().topicPrefix}raw`
  await administratorOf(admin).createTopics({
    waitForLeaders: false,
    topics: [{ topic, numPartitions: 1, configEntries }],
  })
  await fetchEnds(admin, topic)
}
beforeEach(async () => {
  admin = createAdmin(kafka)
  await admin.connect()
  ends.push(() => admin.disconnect())
  await createTopic()
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const startProducer = async (transactionalId?: string): Promise<Producer> => {
  const producer = kafkajsOf(kafka).producer({
    ...(transactionalId !== undefined && {
      transactionalId: `${topic}.${transactionalId}`,
      idempotent: true,
      maxInFlightRequests: 1,
    }),
  })
  await producer.connect()
  ends.push(() => producer.disconnect())
  return producer
}
const values = (...texts: string[]) => ({ topic, messages: texts.map((value) => ({ key: value, value })) })

/**
 * Sends a record and retries until it is stored. The leader of a new partition may not know the
 * partition yet.
 */
const send = (producer: Producer, record: ProducerRecord) =>
  waitUntil(
    'the record is stored',
    () =>
      producer.send(record).then(
        () => 'stored',
        ({ message }: Error) => message,
      ),
    (answer) => answer === 'stored',
  )

const startConsumer = async (maxFetchBytes = 1024 * 1024) => {
  const seen: string[] = []
  const batches: FetchedBatch[] = []
  const dead: Error[] = []
  const consumer = createPartitionConsumer(kafka, admin, {
    ...testConsumer,
    groupId: topic,
    topic,
    heartbeatIntervalMs: 500,
    maxFetchBytes,
    diagnose: createDiagnose(testKafkaSettings()),
    onBatch: async (batch) => {
      batches.push(batch)
      seen.push(...batch.records.map(({ value }) => String(value)))
      return batch.nextOffset
    },
    onDead: (error) => dead.push(error),
  })
  ends.push(() => consumer.stop())
  await consumer.start()
  return { consumer, seen, batches, dead }
}
const untilAt = (batches: readonly FetchedBatch[], end: string) =>
  waitUntil(
    'the position is at the end',
    () => batches.at(-1)?.nextOffset,
    (offset) => offset === end,
    { timeoutMs: 20_000 },
  )

describe('watermarks', () => {
  it('the watermarks show how many records an open transaction holds back', async () => {
    const { consumer } = await startConsumer()
    const watermarks = () => consumer.watermarks().then((all) => all.get(0))
    await send(await startProducer(), values('a', 'b'))
    expect(await watermarks()).toEqual({ low: '0', stable: '2', high: '2' })
    const open = await (await startProducer('open')).transaction()
    await open.send(values('c', 'd', 'e'))
    expect(await watermarks()).toEqual({ low: '0', stable: '2', high: '5' })
    await open.commit()
    // The control record that ends the transaction has its own offset.
    await waitUntil('the transaction has ended', watermarks, (marks) => marks?.stable === '6')
    expect(await watermarks()).toEqual({ low: '0', stable: '6', high: '6' })
  })
})

describe('transactions of others', () => {
  it('the consumer skips an aborted transaction at the end of a quiet partition', async () => {
    await send(await startProducer(), values('a', 'b'))
    const { seen, batches, dead } = await startConsumer()
    await untilAt(batches, '2')
    const aborted = await (await startProducer('aborted')).transaction()
    await aborted.send(values('c', 'd'))
    await aborted.abort()
    await untilAt(batches, '5')
    expect({ seen, dead }).toEqual({ seen: ['a', 'b'], dead: [] })
  })

  it('the consumer delivers only the committed records of interleaved transactions', async () => {
    const transactional = await Promise.all(['x', 'y', 'z'].map((id) => startProducer(id)))
    const plain = await startProducer()
    const expected: string[] = []
    // These transactions are larger than one fetch. The order of their ends differs from the order
    // of their starts.
    const body = 'b'.repeat(20_000)
    for (let round = 0; round < 6; round++) {
      const open = await Promise.all(transactional.map((producer) => producer.transaction()))
      for (let i = 0; i < 5; i++) {
        for (const [n, transaction] of open.entries()) {
          const value = `${round}.${n}.${i} ${body}`
          // This key equals the key of an abort marker.
          await transaction.send({ topic, messages: [{ key: Buffer.from([0, 0, 0, 0]), value }] })
          if (n === round % 3) expected.push(value)
        }
        await plain.send(values(`${round} plain ${i}`))
        expected.push(`${round} plain ${i}`)
      }
      for (const n of [2, 0, 1]) await (n === round % 3 ? open[n]?.commit() : open[n]?.abort())
    }
    const { seen, batches, dead } = await startConsumer(64 * 1024)
    const [end] = await fetchEnds(admin, topic)
    await untilAt(batches, end?.high ?? '')
    expect(dead).toEqual([])
    expect(seen.map((value) => value.slice(0, 10))).toEqual(expected.map((value) => value.slice(0, 10)))
    expect(batches.length).toBeGreaterThan(6)
  })

  it('records after the start of an open transaction wait until the transaction ends', async () => {
    const open = await (await startProducer('open')).transaction()
    await open.send(values('a'))
    await send(await startProducer(), values('b'))
    const { seen, batches } = await startConsumer()
    expect(seen).toEqual([])
    await open.commit()
    await untilAt(batches, '3')
    expect(seen).toEqual(['a', 'b'])
  })
})

it.each(['gzip', 'snappy', 'lz4', 'zstd'])(
  'the consumer reads records that the broker compressed with %s',
  async (compression) => {
    // Let the broker compress the records. Create the topic with this setting, because a changed
    // setting takes effect with a delay.
    await createTopic([{ name: 'compression.type', value: compression }])
    const texts = Array.from({ length: 300 }, (_, i) => `${i} ${'customer '.repeat(i)}`)
    await send(await startProducer(), values(...texts))
    const { seen, batches, dead } = await startConsumer()
    await untilAt(batches, '300')
    expect(dead).toEqual([])
    expect(seen).toEqual(texts)
  },
)

describe('a batch that cannot be decoded', () => {
  it('the consumer reports an unreadable batch with its offsets at each fetch', async () => {
    const producer = await startProducer()
    await send(producer, values('a', 'b'))
    await producer.send({ ...values('c', 'd'), compression: CompressionTypes.GZIP })
    await producer.send(values('e'))
    const gunzip = decompressors.get(CompressionTypes.GZIP)
    decompressors.delete(CompressionTypes.GZIP)
    onTestFinished(() => void decompressors.set(CompressionTypes.GZIP, gunzip as NonNullable<typeof gunzip>))
    const { seen, batches, dead } = await startConsumer()
    await waitUntil(
      'the batch is handed over twice',
      () => batches.filter(({ unreadable }) => unreadable).length,
      (count) => count > 1,
    )
    expect(dead).toEqual([])
    expect(seen).toEqual(['a', 'b'])
    const last = batches.at(-1)
    expect(last).toMatchObject({
      fetchedFrom: '2',
      nextOffset: '2',
      records: [],
      unreadable: { offset: '2', nextOffset: '4' },
    })
    expect(last?.unreadable?.error.message).toBe('unknown compression codec 1')
    decompressors.set(CompressionTypes.GZIP, gunzip as NonNullable<typeof gunzip>)
    await untilAt(batches, '5')
    expect(seen).toEqual(['a', 'b', 'c', 'd', 'e'])
  })
})

describe('a reader of one partition', () => {
  /** Reads from an offset to the end. Returns the values, and the ranges that cannot be read. */
  const readFrom = async (start: string, until: string) => {
    const reader = createPartitionReader(admin, topic)
    const found: string[] = []
    for (let offset = start; BigInt(offset) < BigInt(until); ) {
      const { records, nextOffset, unreadable } = await reader.fetch(0, offset, until)
      found.push(...records.map(({ value }) => String(value)))
      if (unreadable) found.push(`${unreadable.offset} to ${unreadable.nextOffset}: ${unreadable.error.message}`)
      offset = nextOffset
    }
    return found
  }

  it('the partition reader skips an unreadable batch, and reports its offsets', async () => {
    const producer = await startProducer()
    await send(producer, values('a', 'b'))
    await producer.send({ ...values('c', 'd'), compression: CompressionTypes.GZIP })
    await producer.send(values('e'))
    expect(await readFrom('0', '5')).toEqual(['a', 'b', 'c', 'd', 'e'])
    const gunzip = decompressors.get(CompressionTypes.GZIP)
    decompressors.delete(CompressionTypes.GZIP)
    onTestFinished(() => void decompressors.set(CompressionTypes.GZIP, gunzip as NonNullable<typeof gunzip>))
    expect(await readFrom('0', '5')).toEqual(['a', 'b', '2 to 4: unknown compression codec 1', 'e'])
    expect(await readFrom('3', '5')).toEqual(['3 to 4: unknown compression codec 1', 'e'])
  })

  it('the partition reader leaves out control records and records of aborted transactions', async () => {
    await send(await startProducer(), values('a'))
    const producer = await startProducer('x')
    const aborted = await producer.transaction()
    await aborted.send(values('b'))
    await aborted.abort()
    const committed = await producer.transaction()
    await committed.send(values('c'))
    await committed.commit()
    expect(await readFrom('0', '5')).toEqual(['a', 'c'])
  })

  it('the partition reader reports records that Kafka has deleted or lost', async () => {
    await send(await startProducer(), values('a', 'b', 'c'))
    await administratorOf(admin).deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '2' }] })
    const [missing, ...rest] = await readFrom('0', '3')
    expect([missing, rest]).toEqual([expect.stringMatching(/^0 to 2: .*not within the range/), ['c']])
    expect(await readFrom('2', '9')).toEqual(['c', expect.stringMatching(/^3 to 9: the partition ends at offset 3/)])
    expect(await readFrom('7', '9')).toEqual([expect.stringMatching(/^7 to 9: .*not within the range/)])
  })
})
