import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { partitionOf } from '@customer-stream/schemas'
import { freshNames, openTcpProxy } from '@customer-stream/testing'
import { silentLogger, testConsumer, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import {
  createAdmin,
  createDiagnose,
  createKafka,
  createPartitionConsumer,
  createVerifiedProducer,
  type FetchedBatch,
  type OutgoingRecord,
  type PartitionConsumer,
  type TopicAdmin,
  TopicError,
  type VerifiedProducer,
} from './index.ts'
import { kafkajsOf } from './kafka-client.ts'
import { administratorOf } from './topic-admin.ts'
import { checkTopics } from './topic-check.ts'

const settings = testKafkaSettings({ KAFKA_PARTITIONS: '3' })
const kafka = testKafka(settings)
let admin: TopicAdmin
let topic: string
const ends: (() => Promise<unknown>)[] = []
beforeEach(async () => {
  topic = `${freshNames().topicPrefix}raw`
  admin = createAdmin(kafka)
  await admin.connect()
  ends.push(() => admin.disconnect())
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const MAX_VALUE_BYTES = 1_048_576
const check = async (options = settings, maxValueBytes = MAX_VALUE_BYTES) =>
  (await checkTopics(admin, options, [{ topic, maxValueBytes }], silentLogger)).partitions
const startProducer = async () => {
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 5000 })
  await producer.connect()
  ends.push(() => producer.disconnect())
  await producer.setPartitions(await check())
  return producer
}
const record = (key: string | null, value: string | Buffer = 'v'): OutgoingRecord => ({
  topic,
  key: key === null ? null : Buffer.from(key),
  value: Buffer.from(value),
  // Use a timestamp more than an hour ahead, as a machine with a wrong clock would.
  timestamp: Date.now() + 2 * 3600 * 1000,
})
/** Returns a key that selects this partition out of three. */
const keyOf = (partition: number) =>
  ['a', 'b', 'c', 'd', 'e', 'f'].find((key) => partitionOf(key, 3) === partition) ?? ''
/**
 * Stores each record once, one after another. Retries each send, because the leader of a new
 * partition may not know the partition yet.
 */
const store = async (producer: VerifiedProducer, records: readonly OutgoingRecord[]) => {
  for (const each of records) {
    const send = () =>
      producer.send([each]).then(
        () => 'stored',
        ({ message }: Error) => message,
      )
    await waitUntil('the record is stored', send, (answer) => answer === 'stored')
  }
}
/**
 * Returns the high watermark of each partition. Works for a new topic that some brokers do not know
 * yet.
 */
const highWatermarks = async () =>
  (await fetchEnds(admin, topic)).sort((a, b) => a.partition - b.partition).map(({ high }) => Number(high))

/**
 * Creates a marker topic, waits until it exists, and returns all topics. A request for an unknown
 * topic may create the topic after its answer. A topic that was created in this way exists before
 * the marker topic.
 */
const topicsLater = async () => {
  const marker = `${topic}.marker`
  await administratorOf(admin).createTopics({ waitForLeaders: false, topics: [{ topic: marker }] })
  return waitUntil(
    'the marker is there',
    () => administratorOf(admin).listTopics(),
    (topics) => topics.includes(marker),
  )
}

describe('a broker that is silent while a client connects', () => {
  const viaProxy = async () => {
    const [host = '', port] = settings.KAFKA_BROKERS[0]?.split(':') ?? []
    const network = await openTcpProxy({ host, port: Number(port) })
    ends.push(() => network.close())
    network.set('stalled')
    return network
  }
  const producerOf = (...brokers: string[]) => {
    const brief = { clientId: 'test', logger: silentLogger, requestTimeoutMs: 500 }
    const client = createKafka(
      testKafkaSettings({ KAFKA_BROKERS: brokers.join(','), KAFKA_CONNECTION_TIMEOUT_MS: '500' }),
      brief,
    )
    const producer = createVerifiedProducer(client, { metadataMaxAgeMs: 1000, produceTimeoutMs: 500 })
    ends.push(() => producer.disconnect())
    return producer
  }

  it('the client connects again to a broker that did not answer on the first connection', async () => {
    const network = await viaProxy()
    const producer = producerOf(`127.0.0.1:${network.port}`)
    await expect(producer.connect()).rejects.toThrow('timed out')
    network.set('open')
    await producer.connect()
    await producer.setPartitions(await check())
    await store(producer, [record('a')])
  })

  it('the client asks another broker if the first broker is silent', async () => {
    const network = await viaProxy()
    const producer = producerOf(`127.0.0.1:${network.port}`, ...settings.KAFKA_BROKERS)
    await producer.connect()
    await producer.setPartitions(await check())
    await store(producer, [record('a')])
  })
})

it('the client does not pause for five seconds between two connection attempts', { timeout: 20_000 }, async () => {
  const load = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
  const script = `import { createKafka, kafkaSettings } from ${load('./index.ts')}
import { createLogger } from ${load('../process/log.ts')}
import { loadSettings } from ${load('../process/settings.ts')}
const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: '127.0.0.1:9' })
await createKafka(settings, { clientId: 'test', logger: createLogger('test', 'silent') }).producer().connect()`
  // Use a separate process without NODE_ENV, because kafkajs has other defaults if NODE_ENV is
  // "test".
  const { NODE_ENV: _, ...env } = process.env
  const args = ['--conditions=customer-stream-source', '--input-type=module', '-e', script]
  const tried = promisify(execFile)(process.execPath, args, { env, timeout: 8000 })
  await expect(tried).rejects.toMatchObject({ killed: false, stderr: expect.stringContaining('ECONNREFUSED') })
})

describe('checkTopics', () => {
  it('checkTopics creates a missing topic that then passes the check', async () => {
    expect(await check()).toEqual(new Map([[topic, 3]]))
    expect(await check()).toEqual(new Map([[topic, 3]]))
  })

  it('two services can create the same topic at the same time', async () => {
    expect(await Promise.all([check(), check()])).toEqual([new Map([[topic, 3]]), new Map([[topic, 3]])])
  })

  it('checkTopics creates no topic if KAFKA_CREATE_TOPICS is false', async () => {
    await expect(check(testKafkaSettings({ KAFKA_CREATE_TOPICS: 'false' }))).rejects.toThrow(TopicError)
  })

  it('checkTopics names every problem of an existing topic, and does not change the topic', async () => {
    await check()
    const other = testKafkaSettings({ KAFKA_PARTITIONS: '4' })
    await expect(check(other, 2_000_000)).rejects.toThrow(
      `has 3 partitions, KAFKA_PARTITIONS says 4\n  - ${topic}: max.message.bytes is 1114112, must be at least 2065536`,
    )
    expect(await highWatermarks()).toEqual([0, 0, 0])
  })

  it('checkTopics accepts limited retention only if the settings allow it', async () => {
    const week = { KAFKA_PARTITIONS: '3', KAFKA_RETENTION_MS: '604800000' }
    await check(testKafkaSettings(week))
    await expect(check()).rejects.toThrow('retention.ms is 604800000, KAFKA_RETENTION_MS says -1')
    expect(await check(testKafkaSettings({ ...week, KAFKA_RETENTION_MS: '1000' }))).toEqual(new Map([[topic, 3]]))
  })
})

describe('the verified producer', () => {
  it("the producer stores key, value, headers and time, in the partition that Java's partitioner selects", async () => {
    const producer = await startProducer()
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    await store(
      producer,
      keys.map((key) => ({ ...record(key), headers: { signature: key } })),
    )
    const counts = [0, 0, 0]
    for (const key of keys) counts[partitionOf(key, 3)]! += 1
    expect(await highWatermarks()).toEqual(counts)
  })

  it('the producer accepts a body of exactly the maximum size', async () => {
    const producer = await startProducer()
    await store(producer, [record('k'.repeat(10_000), Buffer.alloc(MAX_VALUE_BYTES, 'x'))])
    expect((await highWatermarks()).reduce((a, b) => a + b)).toBe(1)
  })

  it('the producer reports a record that is too large as refused, not as an outage', async () => {
    const producer = await startProducer()
    await store(producer, [record('k')])
    await expect(producer.send([record('k', Buffer.alloc(MAX_VALUE_BYTES + 100_000, 'x'))])).rejects.toMatchObject({
      kind: 'refused',
    })
  })

  it('a send to a partition that does not exist fails, although the send of kafkajs succeeds', async () => {
    await check()
    const plain = kafkajsOf(kafka).producer({ createPartitioner: () => () => 99 })
    await plain.connect()
    ends.push(() => plain.disconnect())
    // If this line fails, kafkajs has fixed its bug.
    expect(await plain.send({ topic, messages: [{ key: 'k', value: 'v' }] })).toEqual([])
    const producer = await startProducer()
    await producer.setPartitions(new Map([[topic, 1000]]))
    await expect(producer.send([record('b')])).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'partitions stay without an acknowledgement',
    })
    expect(await highWatermarks()).toEqual([0, 0, 0])
  })

  it('the producer creates no topic when it sends', async () => {
    const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 5000 })
    await producer.connect()
    ends.push(() => producer.disconnect())
    await producer.setPartitions(new Map([[topic, 1]])).catch(() => undefined)
    await producer.send([record('k')]).catch(() => undefined)
    expect(await topicsLater()).not.toContain(topic)
  })
})

describe('the partition consumer', () => {
  /**
   * Starts a consumer that keeps its batches. `from` returns the offset from which the consumer
   * must fetch, or undefined for no change.
   */
  const startConsumer = async (
    from: (batch: FetchedBatch) => string | undefined | Promise<undefined> = () => undefined,
    { groupId }: { groupId: string } = freshNames(),
  ) => {
    const seen: { partition: number; fetchedFrom: string; offsets: string[] }[] = []
    const assigned: number[][] = []
    const dead: Error[] = []
    let consumer: PartitionConsumer
    const onBatch = async (batch: FetchedBatch) => {
      const wanted = await from(batch)
      if (wanted !== undefined && wanted !== batch.fetchedFrom) {
        consumer.seek(batch.partition, wanted)
        return undefined
      }
      seen.push({
        partition: batch.partition,
        fetchedFrom: batch.fetchedFrom,
        offsets: batch.records.map(({ offset }) => offset),
      })
      return batch.nextOffset
    }
    consumer = createPartitionConsumer(kafka, admin, {
      ...testConsumer,
      groupId,
      topic,
      heartbeatIntervalMs: 500,
      partitionsConcurrently: 2,
      diagnose: createDiagnose(settings),
      onAssigned: (partitions) => assigned.push([...partitions]),
      onBatch,
      onDead: (error) => dead.push(error),
    })
    ends.push(() => consumer.stop())
    await consumer.start()
    return { consumer, groupId, seen, assigned, dead }
  }
  const offsetsOf = (seen: { partition: number; offsets: string[] }[], partition: number) =>
    seen.filter((batch) => batch.partition === partition).flatMap(({ offsets }) => offsets)

  /** Stores ten records in each partition. @returns the end offset of each partition. */
  const sendThirty = async (): Promise<number[]> => {
    const producer = await startProducer()
    await store(
      producer,
      Array.from({ length: 30 }, (_, i) => record(keyOf(i % 3))),
    )
    return highWatermarks()
  }

  it('the consumer begins at the oldest record and delivers every record once', async () => {
    const endOffsets = await sendThirty()
    const { seen, assigned } = await startConsumer()
    await waitUntil(
      'all records are seen',
      () => seen.flatMap(({ offsets }) => offsets).length,
      (count) => count === endOffsets.reduce((a, b) => a + b),
    )
    expect(assigned.map((partitions) => partitions.toSorted())).toEqual([[0, 1, 2]])
    for (const partition of [0, 1, 2])
      expect(offsetsOf(seen, partition)).toEqual(
        Array.from({ length: endOffsets[partition] ?? 0 }, (_, i) => String(i)),
      )
    // kafkajs does not declare this property. The projector's positions depend on it.
    expect(seen[0]?.fetchedFrom).toBe('0')
  })

  it('the consumer creates no topic when it starts', async () => {
    await startConsumer().catch(() => undefined)
    expect(await topicsLater()).not.toContain(topic)
  })

  it('after a seek, the consumer drops records that were fetched from another offset', async () => {
    const endOffsets = await sendThirty()
    let sought = false
    const { seen } = await startConsumer(() => {
      const first = !sought
      sought = true
      return first ? '7' : undefined
    })
    await waitUntil(
      'all records are seen',
      () => seen.flatMap(({ offsets }) => offsets).length,
      (count) => count === endOffsets.reduce((a, b) => a + b) - 7,
    )
    const began = seen.filter(({ fetchedFrom }) => fetchedFrom === '7')
    expect(
      began.map(({ partition, offsets }) => [offsets[0], offsets.length + 7 - (endOffsets[partition] ?? 0)]),
    ).toEqual([['7', 0]])
  })

  const kafkajs = createRequire(import.meta.url)
  it('onDead is called if kafkajs ends the consumer and does not restart it', async () => {
    await sendThirty()
    const { KafkaJSNotImplemented } = kafkajs('kafkajs/src/errors')
    const fails = vi.spyOn(kafkajs('kafkajs/src/consumer/consumerGroup').prototype, 'fetch')
    fails.mockRejectedValue(new KafkaJSNotImplemented('not implemented'))
    onTestFinished(() => fails.mockRestore())
    const { dead } = await startConsumer()
    await waitUntil(
      'the end of the consumer is reported',
      () => dead.map(({ message }) => message),
      (messages) => messages.includes('not implemented'),
      { timeoutMs: 10_000 },
    )
  })

  it.each([
    ['broker', 'findGroupCoordinator', 'Error'],
    ['consumer/consumerGroup', 'connect', 'KafkaJSLockTimeout'],
  ])('the consumer starts again after an error of %s.%s that kafkajs calls final', async (module, method, name) => {
    const endOffsets = await sendThirty()
    const fails = vi.spyOn(kafkajs(`kafkajs/src/${module}`).prototype, method)
    onTestFinished(() => fails.mockRestore())
    fails.mockRejectedValue(Object.assign(new Error('an outage'), { name, retriable: false }))
    const { seen, assigned, dead } = await startConsumer()
    await waitUntil(
      'the consumer tries again',
      () => assigned.length,
      (crashes) => crashes > 1,
    )
    fails.mockRestore()
    await waitUntil(
      'all records are seen',
      () => seen.flatMap(({ offsets }) => offsets).length,
      (count) => count === endOffsets.reduce((a, b) => a + b),
    )
    expect(dead).toEqual([])
  })

  it.each([
    ['TypeError', TypeError],
    ['Error', Error],
  ])('onDead is called if the handler throws a %s', async (_, Fault) => {
    const producer = await startProducer()
    await store(producer, [record('a')])
    const { dead } = await startConsumer(() => {
      throw new Fault('a fault of ours')
    })
    await waitUntil(
      'the end of the consumer is reported',
      () => dead.map(({ message }) => message),
      (messages) => messages.some((message) => message.endsWith('a fault of ours')),
      { timeoutMs: 10_000 },
    )
  })

  it('a consumer joins although another member handles a batch for longer than the session timeout', async () => {
    await sendThirty()
    const { promise: atWork, resolve: done } = Promise.withResolvers<undefined>()
    const slow = await startConsumer(() => atWork)
    ends.push(async () => done(undefined))
    await waitUntil(
      'the slow member has joined',
      () => slow.assigned.length,
      (joins) => joins > 0,
    )
    // The start of the second member ends when the group stops waiting for the slow member.
    const { assigned } = await startConsumer(undefined, slow)
    await waitUntil(
      'the new member has joined',
      () => assigned.length,
      (joins) => joins > 0,
      { timeoutMs: 1000 },
    )
  })

  it('the consumer commits offsets with metadata, and reads both again', async () => {
    const producer = await startProducer()
    await store(
      producer,
      [0, 1, 2].map((partition) => record(keyOf(partition))),
    )
    const { consumer, seen } = await startConsumer()
    await waitUntil(
      'all records are seen',
      () => seen.length,
      (count) => count === 3,
    )
    expect([...(await consumer.committed())]).toEqual([])
    const offsets = new Map([[1, { offset: '1', metadata: 'text' }]])
    expect(await consumer.commit(offsets)).toBe(true)
    expect(await consumer.committed()).toEqual(offsets)
  })
})
