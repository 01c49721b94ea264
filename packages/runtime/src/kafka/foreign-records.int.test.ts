import { fetchEnds, freshNames, waitUntil } from '@customer-stream/testing'
import { silentLogger, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import type { Admin, Producer } from 'kafkajs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDiagnose, createPartitionConsumer, type FetchedBatch } from './index.ts'

// Records that other producers write to the raw topic: transactions, codecs, damaged batches.
const kafka = testKafka(testKafkaSettings())
let admin: Admin
let topic: string
const ends: (() => Promise<unknown>)[] = []
beforeEach(async () => {
  topic = `${freshNames().topicPrefix}raw`
  admin = kafka.admin()
  await admin.connect()
  ends.push(() => admin.disconnect())
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] })
  await fetchEnds(admin, topic)
})
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const startProducer = async (transactionalId?: string): Promise<Producer> => {
  const producer = kafka.producer({
    ...(transactionalId !== undefined && { transactionalId: `${topic}.${transactionalId}`, idempotent: true, maxInFlightRequests: 1 }),
  })
  await producer.connect()
  ends.push(() => producer.disconnect())
  return producer
}
const values = (...texts: string[]) => ({ topic, messages: texts.map((value) => ({ key: value, value })) })

const startConsumer = async (maxFetchBytes = 1024 * 1024) => {
  const seen: string[] = []
  const batches: FetchedBatch[] = []
  const dead: Error[] = []
  const consumer = createPartitionConsumer(kafka, admin, {
    instance: 'test',
    groupId: topic,
    topic,
    sessionTimeoutMs: 6000,
    heartbeatIntervalMs: 500,
    maxWaitMs: 50,
    maxFetchBytes,
    partitionsConcurrently: 1,
    diagnose: createDiagnose(testKafkaSettings()),
    logger: silentLogger,
    onAssigned: () => undefined,
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
describe('watermarks', () => {
  it('tell how many records an open transaction holds back', async () => {
    const { consumer } = await startConsumer()
    const watermarks = () => consumer.watermarks().then((all) => all.get(0))
    await (await startProducer()).send(values('a', 'b'))
    expect(await watermarks()).toEqual({ low: '0', stable: '2', high: '2' })
    const open = await (await startProducer('open')).transaction()
    await open.send(values('c', 'd', 'e'))
    expect(await watermarks()).toEqual({ low: '0', stable: '2', high: '5' })
    await open.commit()
    // The control record that ends the transaction has an offset of its own.
    await waitUntil('the transaction has ended', watermarks, (marks) => marks?.stable === '6')
    expect(await watermarks()).toEqual({ low: '0', stable: '6', high: '6' })
  })
})
