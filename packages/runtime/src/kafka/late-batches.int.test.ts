import { createRequire } from 'node:module'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import type { Logger } from '../process/log.ts'
import { waitUntil } from '../process/wait-until.ts'
import {
  createAdmin,
  createKafka,
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

/** Opens producers of one partition, e.g. of two processes. */
const start = async (options: Pick<ProducerOptions, 'transactionalIdPrefix'>, count = 1) => {
  const topic = `${freshNames().topicPrefix}state`
  const admin = createAdmin(kafka)
  onTestFinished(() => admin.disconnect())
  await admin.connect()
  const { partitions } = await checkTopics(admin, settings, [{ topic, maxValueBytes: 1000 }], silentLogger)
  const open = async () => {
    const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 60_000, produceTimeoutMs: 5000, ...options })
    onTestFinished(() => producer.disconnect())
    await producer.connect()
    await producer.setPartitions(partitions)
    const send = (...values: string[]) =>
      producer.send(
        values.map((value): OutgoingRecord => {
          return { topic, key: Buffer.from('customer'), value: Buffer.from(value), timestamp: Date.now() }
        }),
      )
    return { send, takeOver: () => producer.fence?.takeOver(), checkFence: () => producer.fence?.check(topic) }
  }
  const producers = await Promise.all(Array.from({ length: count }, open))
  // The leader of a new partition may not know the partition yet, and the coordinator may not be
  // elected yet.
  const isSent = () =>
    producers[0]!.send('first').then(
      () => true,
      () => false,
    )
  await waitUntil('the first record is stored', isSent, Boolean)
  const stored = async () => {
    const values: string[] = []
    await readTopic(admin, topic, ({ value }) => values.push(String(value)))
    return values
  }
  return { producers, send: producers[0]!.send, stored }
}

/**
 * Keeps the next produce request, and lets it fail as after a timeout.
 * @returns a function that sends the request. This simulates a broker that continues after a hang,
 * and only then handles the request.
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

const fenced = { transactionalIdPrefix: 'projector' }

it('Kafka refuses a late batch that arrives after the next batch of the same producer', async () => {
  const { send, stored } = await start(fenced)
  const sendLate = keepNextRequest()
  await expect(send('old')).rejects.toThrow(NotStoredError)
  await send('old')
  await send('new')
  await expect(sendLate()).rejects.toMatchObject({ type: 'INVALID_PRODUCER_EPOCH' })
  expect(await stored()).toEqual(['first', 'old', 'new'])
  await send('newest')
  expect(await stored()).toEqual(['first', 'old', 'new', 'newest'])
})

it('Kafka stores a late batch that arrives before the next batch of the same producer', async () => {
  const { send, stored } = await start(fenced)
  const sendLate = keepNextRequest()
  await expect(send('old', 'older')).rejects.toThrow(NotStoredError)
  await sendLate()
  await send('new')
  expect(await stored()).toEqual(['first', 'old', 'older', 'new'])
})

it('Kafka refuses a late batch of a partition’s former owner after a batch of the next owner', async () => {
  const { producers, stored } = await start(fenced, 2)
  const [former, next] = producers as [(typeof producers)[0], (typeof producers)[0]]
  const sendLate = keepNextRequest()
  await expect(former.send('old')).rejects.toThrow(NotStoredError)
  next.takeOver()
  await next.send('new')
  await expect(sendLate()).rejects.toMatchObject({ type: 'INVALID_PRODUCER_EPOCH' })
  expect(await stored()).toEqual(['first', 'new'])
})

it('if an owner gets its partition back, Kafka refuses a late batch of the owner in between', async () => {
  const { producers, stored } = await start(fenced, 2)
  const [owner, between] = producers as [(typeof producers)[0], (typeof producers)[0]]
  between.takeOver()
  const sendLate = keepNextRequest()
  await expect(between.send('old')).rejects.toThrow(NotStoredError)
  owner.takeOver()
  await owner.send('new')
  await expect(sendLate()).rejects.toMatchObject({ type: 'INVALID_PRODUCER_EPOCH' })
  expect(await stored()).toEqual(['first', 'new'])
})

it('the check of a fence ends no epoch: the owner continues, and its next batch needs no new epoch', async () => {
  const { producers, stored } = await start(fenced, 2)
  const [owner, other] = producers as [(typeof producers)[0], (typeof producers)[0]]
  await other.checkFence()
  await owner.send('next')
  await owner.checkFence()
  await owner.send('newest')
  expect(await stored()).toEqual(['first', 'next', 'newest'])
})

it('the check of a fence logs nothing if the user has the right', async () => {
  const lines: string[] = []
  const say = (_: object, message: string) => lines.push(message)
  const logger = { warn: say, info: say, debug: () => undefined, trace: () => undefined } as unknown as Logger
  const client = createKafka(settings, { clientId: 'test', logger })
  const producer = createVerifiedProducer(client, { metadataMaxAgeMs: 60_000, produceTimeoutMs: 5000, ...fenced })
  onTestFinished(() => producer.disconnect())
  await producer.connect()
  const isChecked = () =>
    producer.fence!.check('state').then(
      () => true,
      () => false,
    )
  // The coordinator may not be elected yet.
  await waitUntil('the fence is checked', isChecked, Boolean)
  expect(lines.filter((line) => line.includes('EndTxn'))).toEqual([])
})

it('without a fence, Kafka stores a late batch even after the next batch', async () => {
  const { send, stored } = await start({})
  const sendLate = keepNextRequest()
  await expect(send('old')).rejects.toThrow(NotStoredError)
  await send('new')
  await sendLate()
  expect(await stored()).toEqual(['first', 'new', 'old'])
})
