import { createRequire } from 'node:module'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import {
  createAdmin,
  createVerifiedProducer,
  NotStoredError,
  type OutgoingRecord,
  type ProducerOptions,
  readTopic,
} from './index.ts'
import { checkTopics } from './topic-check.ts'

const require = createRequire(import.meta.url)
type Produce = (request: object) => Promise<unknown>
const { prototype: broker } = require('kafkajs/src/broker') as { prototype: { produce: Produce } }
const { KafkaJSRequestTimeoutError } = require('kafkajs/src/errors') as {
  KafkaJSRequestTimeoutError: new (message: string, details: object) => Error
}
const settings = testKafkaSettings({ KAFKA_PARTITIONS: '1' })
const kafka = testKafka(settings)

const start = async (options: Pick<ProducerOptions, 'refusesLateBatches'>) => {
  const topic = `${freshNames().topicPrefix}state`
  const admin = createAdmin(kafka)
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 60_000, produceTimeoutMs: 5000, ...options })
  onTestFinished(async () => void (await Promise.all([admin.disconnect(), producer.disconnect()])))
  await Promise.all([admin.connect(), producer.connect()])
  await producer.setPartitions(
    (await checkTopics(admin, settings, [{ topic, maxValueBytes: 1000 }], silentLogger)).partitions,
  )
  const send = (...values: string[]) =>
    producer.send(
      values.map((value): OutgoingRecord => {
        return { topic, key: Buffer.from('customer'), value: Buffer.from(value), timestamp: Date.now() }
      }),
    )
  // The leader of a new partition may not know the partition yet.
  const isSent = () =>
    send('first').then(
      () => true,
      () => false,
    )
  await waitUntil('the first record is stored', isSent, Boolean)
  const stored = async () => {
    const values: string[] = []
    await readTopic(admin, topic, ({ value }) => values.push(String(value)))
    return values
  }
  return { send, stored }
}

/**
 * Keeps the next produce request, and lets it fail as after a timeout.
 * @returns a function that sends the request, as a broker that continues after a hang handles it.
 */
const keepNextRequest = () => {
  const { produce } = broker
  const kept = Promise.withResolvers<() => Promise<unknown>>()
  broker.produce = async function (this: object, request) {
    broker.produce = produce
    kept.resolve(() => produce.call(this, request))
    throw new KafkaJSRequestTimeoutError('kept', {})
  }
  onTestFinished(() => void Object.assign(broker, { produce }))
  return async () => (await kept.promise)()
}

it('Kafka refuses a batch that comes after a later batch of the producer', async () => {
  const { send, stored } = await start({ refusesLateBatches: true })
  const sendLate = keepNextRequest()
  await expect(send('old')).rejects.toThrow(NotStoredError)
  await send('old')
  await send('new')
  await expect(sendLate()).rejects.toMatchObject({ type: 'INVALID_PRODUCER_EPOCH' })
  expect(await stored()).toEqual(['first', 'old', 'new'])
  await send('newest')
  expect(await stored()).toEqual(['first', 'old', 'new', 'newest'])
})

it('Kafka stores a late batch that comes before the later batch', async () => {
  const { send, stored } = await start({ refusesLateBatches: true })
  const sendLate = keepNextRequest()
  await expect(send('old', 'older')).rejects.toThrow(NotStoredError)
  await sendLate()
  await send('new')
  expect(await stored()).toEqual(['first', 'old', 'older', 'new'])
})

it('without refusesLateBatches, a late batch is stored after the later batch', async () => {
  const { send, stored } = await start({})
  const sendLate = keepNextRequest()
  await expect(send('old')).rejects.toThrow(NotStoredError)
  await send('new')
  await sendLate()
  expect(await stored()).toEqual(['first', 'new', 'old'])
})
