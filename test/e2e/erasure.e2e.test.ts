/**
 * Erased customers stay erased after replays, rebuilds, late retries, and after a loss of Redis.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ErasureRequest, requestErasure } from '@customer-stream/cli/request-erasure'
import { waitUntil } from '@customer-stream/runtime'
import { createVerifiedProducer, readTopic, type VerifiedProducer } from '@customer-stream/runtime/kafka'
import { customerKey, erasedKey, partitionOf, writeErasure } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, openTcpProxy, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, afterEach, beforeAll, expect, inject, it, onTestFinished } from 'vitest'

const OTHERS = ['o1', 'o2', 'o3', 'o4', 'o5']
const QUICK = { POSITION_CHECK_MS: '200' }

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
let producer: VerifiedProducer
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  projector = await pipeline.start('projector', QUICK)
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  producer = createVerifiedProducer(pipeline.kafka, { metadataMaxAgeMs: 1000, produceTimeoutMs: 1000 })
  await producer.connect()
  await producer.setPartitions(new Map([pipeline.topics.customers, pipeline.erasuresTopic].map((topic) => [topic, 12])))
  for (const customerUuid of OTHERS) await post(customerUuid, 1)
})
afterAll(async () => {
  await producer?.disconnect()
  await pipeline?.close()
})

const NOW = Date.now()
const bodyOf = (customerUuid: string, timestamp: number) => makeCustomersEvent({ customerUuid, timestamp }).body
const post = async (customerUuid: string, timestamp: number) =>
  expect((await pipeline.post(ingress, bodyOf(customerUuid, timestamp))).status).toBe(202)
const erase = (customerUuid: string, request: Partial<ErasureRequest> = {}, now = Date.now()) =>
  requestErasure(
    producer,
    pipeline.erasuresTopic,
    { customerUuid, scope: 'forever', reason: 'asked', requestedBy: 'test', ...request },
    now,
  )
/** Returns the timestamp of the customer's event in Redis, or null. */
const stored = (customerUuid: string) =>
  pipeline.redis.hget(customerKey(customerUuid, pipeline.keyPrefix), '_eventTimestamp')
const untilStored = (customerUuid: string, timestamp: number | null) =>
  waitUntil(
    `${customerUuid} is at ${timestamp}`,
    () => stored(customerUuid),
    (found) => found === (timestamp === null ? null : String(timestamp)),
  )
const outcomes = (outcome: string) => projector.metric('projector_events_total', { outcome })
/** Waits for at least this number of events, because an ingress may send an event twice. */
const untilOutcome = (outcome: string, count: number) =>
  waitUntil(
    `${count} events are ${outcome}`,
    () => outcomes(outcome),
    (found) => found >= count,
  )
/**
 * Waits until all records are applied and all erasures are executed. Then compares Redis and the
 * state topic with Kafka.
 */
const compareAll = () => pipeline.verify(undefined, { exact: true })
const SOUND = { wrong: [], notQuarantined: { count: 0 } }
const keysInRedis = async () =>
  (await pipeline.redis.keys(`${pipeline.keyPrefix}*`)).filter((key) => !key.includes('member'))
const lose = async () => {
  await pipeline.redis.del(...(await keysInRedis()))
}
const restart = async (env: Readonly<Record<string, string>> = {}) => {
  await projector.end()
  projector = await pipeline.start('projector', { ...QUICK, ...env })
  await projector.untilReady()
}
/** Returns the values of the customer's records in the state topic, in order. */
const states = async (customerUuid: string) => {
  const values: (Buffer | null)[] = []
  await readTopic(pipeline.admin, pipeline.stateTopic, ({ key, value }) => {
    if (key?.toString() === customerUuid) values.push(value)
  })
  return values
}
// Check that no test has changed other customers.
afterEach(async () => {
  expect(await Promise.all(OTHERS.map(stored))).toEqual(OTHERS.map(() => '1'))
})

it('an erasure removes a customer from Redis and from the state topic', async () => {
  await post('a', NOW)
  await untilStored('a', NOW)
  await erase('a')
  await untilStored('a', null)
  expect(await compareAll()).toMatchObject(SOUND)
  expect((await states('a')).at(-1)).toBe(null)
  expect(await pipeline.redis.hget(erasedKey('a', pipeline.keyPrefix), 'scope')).toBe('forever')
})

it('an erasure forever covers newer events, late retries and spooled events', async () => {
  const before = await outcomes('erased')
  const untilErased = (count: number) => untilOutcome('erased', before + count)
  await post('a', NOW + 1000)
  await untilErased(1)
  await post('a', NOW - 1000)
  await untilErased(2)
  // A spool writes these bytes to the raw topic.
  const record = { topic: pipeline.topics.customers, key: Buffer.from('a'), value: Buffer.from(bodyOf('a', NOW)) }
  await producer.send([{ ...record, timestamp: Date.now() }])
  await untilErased(3)
  expect(await stored('a')).toBe(null)
  expect(await compareAll()).toMatchObject(SOUND)
  expect((await states('a')).at(-1)).toBe(null)
})

it('after an erasure until-now, a new event creates the customer again', async () => {
  const erasedAt = NOW + 5000
  await post('b', NOW)
  await untilStored('b', NOW)
  await erase('b', { scope: 'until-now' }, erasedAt)
  await untilStored('b', null)
  await post('b', erasedAt)
  await post('b', erasedAt + 1)
  await untilStored('b', erasedAt + 1)
  await post('b', NOW + 1)
  expect(await compareAll()).toMatchObject(SOUND)
  expect(JSON.parse(String((await states('b')).at(-1))).version.timestamp).toBe(erasedAt + 1)
})

it('a customer who never existed can be erased, and erased again', async () => {
  await erase('nobody')
  await erase('nobody')
  await erase('a')
  expect(await compareAll()).toMatchObject({ ...SOUND, records: { erasures: expect.any(Number) } })
  expect((await states('nobody')).at(-1)).toBe(null)
  await post('nobody', NOW)
  expect(await compareAll()).toMatchObject(SOUND)
})

it('records of the erasures topic that are not erasures are skipped and counted', async () => {
  const kafkajs = kafkajsOf(pipeline.kafka).producer()
  await kafkajs.connect()
  const values = ['', 'not JSON', '{"scope":"forever"}', null]
  await kafkajs.send({
    topic: pipeline.erasuresTopic,
    messages: values.map((value) => ({ key: 'o1', value })),
  })
  await kafkajs.disconnect()
  await waitUntil(
    'all unusable erasures are counted',
    () => projector.metric('projector_unusable_erasures_total'),
    (count) => count === values.length,
  )
  expect(await readFile(projector.logFile, 'utf8')).toContain('"event":"erasure-unusable"')
  await erase('c')
  expect(await compareAll()).toMatchObject(SOUND)
})

it('an event that was in a spool during the erasure is erased', async () => {
  const [hostname = '', port] = (inject('brokers').kafkaBrokers[0] ?? '').split(':')
  const network = await openTcpProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => network.close())
  network.set('cut')
  const spooling = await pipeline.start('ingress', {
    KAFKA_BROKERS: `127.0.0.1:${network.port}`,
    SPOOL_DIR: join(pipeline.folder, 'spool'),
    SPOOL_AFTER_MS: '200',
    RETRY_MAX_PAUSE_MS: '500',
  })
  await post('h', NOW)
  await untilStored('h', NOW)
  expect((await pipeline.post(spooling, bodyOf('h', NOW + 1))).status).toBe(202)
  expect(await spooling.metric('ingress_spool_records')).toBe(1)
  await erase('h')
  await untilStored('h', null)
  const before = await outcomes('erased')
  network.set('open')
  await untilOutcome('erased', before + 1)
  await spooling.end()
  expect(await compareAll()).toMatchObject(SOUND)
  expect([await stored('h'), (await states('h')).at(-1)]).toEqual([null, null])
})

it('a record that is sent again from quarantine after the erasure is erased', async () => {
  const topic = pipeline.topics.customers
  await post('i', NOW)
  await untilStored('i', NOW)
  await projector.end()
  await post('i', NOW + 1)
  const partition = partitionOf('i', 12)
  const end = (await pipeline.admin.fetchTopicOffsets(topic)).find((ends) => ends.partition === partition)?.high
  const place = `${topic}/${partition}/${Number(end) - 1}`
  projector = await pipeline.start('projector', { ...QUICK, QUARANTINE_RECORDS: place })
  await untilOutcome('quarantined', 1)
  await erase('i')
  await untilStored('i', null)
  const before = await outcomes('erased')
  await readTopic(pipeline.admin, pipeline.topics.quarantine, ({ key, value, headers = {} }) => {
    if (key?.toString() !== 'i') return
    const texts = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, String(text)]))
    void producer.send([{ topic, key, value, headers: texts, timestamp: Date.now() }])
  })
  await untilOutcome('erased', before + 1)
  expect(await compareAll()).toMatchObject(SOUND)
  expect([await stored('i'), (await states('i')).at(-1)]).toEqual([null, null])
})

it('an erased customer stays erased when Redis is lost and filled again', async () => {
  const committed = async () => {
    const { topics, groupId: group, administrator } = pipeline
    const [{ partitions = [] } = {}] = await administrator.fetchOffsets({ groupId: group, topics: [topics.customers] })
    const ends = await pipeline.admin.fetchTopicOffsets(topics.customers)
    const behind = ends.filter(({ partition, high }) =>
      partitions.every((each) => each.partition !== partition || each.offset !== high),
    )
    return behind.length
  }
  await waitUntil('all offsets are committed', committed, (behind) => behind === 0)
  await lose()
  await waitUntil(
    'the others are there again',
    () => Promise.all(OTHERS.map(stored)),
    (all) => !all.includes(null),
  )
  await waitUntil(
    'the fill has ended',
    () => readFile(projector.logFile, 'utf8'),
    (log) => log.includes('"event":"filled"'),
  )
  expect(await compareAll()).toMatchObject(SOUND)
  expect(await Promise.all(['a', 'b', 'c', 'nobody'].map(stored))).toEqual([null, String(NOW + 5001), null, null])
})

it('a customer is erased again after Redis is restored from a dump older than the erasure', async () => {
  await post('j', NOW)
  await untilStored('j', NOW)
  const dump = await Promise.all(
    (await keysInRedis()).map(async (key) => [key, await pipeline.redis.dumpBuffer(key)] as const),
  )
  await erase('j')
  await untilStored('j', null)
  const restored = pipeline.redis.multi().del(...(await keysInRedis()))
  for (const [key, value] of dump) restored.restore(key, 0, value)
  await restored.exec()
  expect(await stored('j')).toBe(String(NOW))
  await untilStored('j', null)
  expect(await compareAll()).toMatchObject(SOUND)
  expect((await states('j')).at(-1)).toBe(null)
})

it('an erased customer stays erased when a higher projection or another group replays all events', async () => {
  const group = `${pipeline.keyPrefix}second`
  const second = await pipeline.start('projector', { ...QUICK, PROJECTION_VERSION: '2', CONSUMER_GROUP_ID: group })
  await second.untilReady()
  await waitUntil(
    'the other customers are rebuilt',
    () => Promise.all(OTHERS.map((one) => pipeline.redis.hget(customerKey(one, pipeline.keyPrefix), '_projection'))),
    (projections) => projections.every((projection) => projection === '2'),
  )
  await waitUntil(
    'all records are read',
    () => second.metric('kafka_consumergroup_lag'),
    (lag) => lag === 0,
  )
  expect(await second.metric('projector_events_total', { outcome: 'erased' })).toBeGreaterThan(0)
  await second.end()
  expect(await compareAll()).toMatchObject(SOUND)
})

it('without a state topic an erasure changes only Redis, and a later state topic gets the tombstone', async () => {
  await post('d', NOW)
  await post('silent', NOW)
  await untilStored('d', NOW)
  await untilStored('silent', NOW)
  await compareAll()
  await restart({ KAFKA_STATE_TOPIC: 'false' })
  await erase('d')
  // No event of this customer follows, so only the erasure itself can publish the tombstone.
  await erase('silent')
  await untilStored('d', null)
  await untilStored('silent', null)
  await post('d', NOW + 1)
  await post('e', NOW)
  await erase('e')
  expect(await pipeline.verify(undefined, { exact: true, stateTopic: undefined })).toMatchObject(SOUND)
  expect((await states('d')).at(-1)).not.toBe(null)
  await restart()
  for (const customerUuid of ['d', 'silent'])
    await waitUntil(
      'the state topic has a tombstone',
      () => states(customerUuid),
      (values) => values.at(-1) === null,
    )
  expect(await compareAll()).toMatchObject(SOUND)
})

it('a projector that finds an empty Redis executes all erasures before it applies events', async () => {
  await post('f', NOW)
  await untilStored('f', NOW)
  await projector.end()
  await erase('f')
  await post('f', NOW + 1)
  await lose()
  projector = await pipeline.start('projector', QUICK)
  await projector.untilReady()
  await waitUntil(
    'the others are there again',
    () => Promise.all(OTHERS.map(stored)),
    (all) => !all.includes(null),
  )
  expect(await compareAll()).toMatchObject(SOUND)
  expect((await states('f')).at(-1)).toBe(null)
})

it('erasures are ignored while KAFKA_ERASURES_TOPIC=false, and executed later', async () => {
  await post('g', NOW)
  await untilStored('g', NOW)
  await restart({ KAFKA_ERASURES_TOPIC: 'false' })
  await erase('g')
  await post('g', NOW + 1)
  await untilStored('g', NOW + 1)
  await restart()
  await untilStored('g', null)
  expect(await compareAll()).toMatchObject(SOUND)
})

it('verify finds an erased customer whose mark in Redis is missing, and a second erasure adds the mark', async () => {
  await erase('a')
  expect(await compareAll()).toMatchObject(SOUND)
  await pipeline.redis.del(erasedKey('a', pipeline.keyPrefix))
  const reason = 'was erased but has no mark in Redis; write the erasure again'
  expect((await compareAll()).wrong).toEqual([{ customerUuid: 'a', reason }])
  await erase('a')
  expect(await compareAll()).toMatchObject(SOUND)
})

it('verify names the open transaction that hides an erasure', async () => {
  const transactionalId = pipeline.erasuresTopic
  const kafkajs = kafkajsOf(pipeline.kafka).producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 })
  await kafkajs.connect()
  const transaction = await kafkajs.transaction()
  const value = writeErasure({ erasedAt: NOW, scope: 'forever', reason: 'asked', requestedBy: 'test' })
  await transaction.send({ topic: pipeline.erasuresTopic, messages: [{ key: 'o1', value }] })
  const { openTransactions } = await pipeline.verify(undefined, { catchUpMs: 1000 })
  expect(openTransactions).toMatchObject([{ topic: pipeline.erasuresTopic, records: 1 }])
  await transaction.abort()
  await kafkajs.disconnect()
  expect(await compareAll()).toMatchObject({ ...SOUND, openTransactions: [] })
})
