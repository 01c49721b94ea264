/**
 * A second group of projectors rebuilds every hash while the first group continues. So new events
 * do not wait for the rebuild.
 */

import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, openTcpProxy, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'

const CUSTOMERS = 300

let pipeline: Pipeline
let ingress: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  const first = await pipeline.start('projector')
  await Promise.all([ingress.untilReady(), first.untilReady()])
})
afterAll(() => pipeline.close())

const keyOf = (customerUuid: string) => `${pipeline.keyPrefix}customer:{${customerUuid}}`
const store = async (customerUuid: string, timestamp: number, firstName: string) => {
  const { status } = await pipeline.post(
    ingress,
    makeCustomersEvent({ customerUuid, timestamp, customer: { firstName } }).body,
  )
  expect(status).toBe(202)
}
/** Reads one field of each customer of the history. */
const fields = (name: string) =>
  Promise.all(Array.from({ length: CUSTOMERS }, (_, i) => pipeline.redis.hget(keyOf(`c${i}`), name)))
const quarantined = async () => {
  const ends = await fetchEnds(pipeline.admin, pipeline.topics.quarantine)
  return ends.reduce((sum, { high }) => sum + Number(high), 0)
}

it('a rebuild by a second group delays no new event and quarantines no record again', async () => {
  const { redis, topics } = pipeline
  await Promise.all(Array.from({ length: CUSTOMERS }, (_, i) => store(`c${i}`, 1, 'old')))
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await producer.send({ topic: topics.customers, messages: [{ key: 'poison', value: 'not JSON' }] })
  await producer.disconnect()
  await waitUntil(
    'the history is applied, and its poison record is in quarantine',
    () => Promise.all([pipeline.verify(), quarantined()]),
    ([{ customers, wrongCount }, records]) => customers === CUSTOMERS && wrongCount === 0 && records === 1,
  )
  // The first group never replaces this hash, because no event is newer than its timestamp. The
  // rebuild must replace it.
  await redis.hset(keyOf('c7'), { _eventTimestamp: String(Number.MAX_SAFE_INTEGER), firstName: 'Mallory' })

  const { hostname, port } = new URL(inject('brokers').redisUrl)
  const network = await openTcpProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => network.close())
  network.set({ delayMs: 20 })
  const second = await pipeline.start('projector', {
    PROJECTION_VERSION: '2',
    CONSUMER_GROUP_ID: `${pipeline.keyPrefix}second`,
    REDIS_URL: `redis://127.0.0.1:${network.port}`,
    // Each chunk has one record, and the network is slow, so that the test can stop the rebuild in
    // the middle.
    CHUNK_RECORDS: '1',
    REDIS_COMMAND_TIMEOUT_MS: '1000',
  })
  await waitUntil(
    'the rebuild is under way',
    () => fields('_projection'),
    (projections) => projections.includes('2'),
    { pauseMs: 1 },
  )
  network.set('stalled')

  const newer = Date.now()
  await Promise.all([store('c0', newer, 'new'), store('another', newer, 'new')])
  await waitUntil(
    'new events are in Redis',
    () =>
      Promise.all(
        ['c0', 'another'].map((customerUuid) => redis.hmget(keyOf(customerUuid), 'firstName', '_projection')),
      ),
    (hashes) => hashes.every(([firstName, projection]) => firstName === 'new' && projection === '1'),
  )
  // The rebuild stands still. So an event that waited for the rebuild would not be in Redis.
  expect(await fields('_projection')).toContain('1')

  network.set('open')
  await second.untilReady()
  await waitUntil(
    'every hash is rebuilt',
    () => Promise.all([fields('_projection'), redis.hget(keyOf('another'), '_projection')]),
    ([projections, another]) => [...projections, another].every((projection) => projection === '2'),
  )
  expect(new Set(await fields('firstName'))).toEqual(new Set(['new', 'old']))
  expect(await redis.hget(keyOf('c7'), 'firstName')).toBe('old')
  await waitUntil(
    'the second group has read all records',
    () => second.metric('kafka_consumergroup_lag'),
    (lag) => lag === 0,
  )
  expect(await quarantined()).toBe(1)
  expect(await pipeline.verify()).toMatchObject({
    wrongCount: 0,
    customers: CUSTOMERS + 1,
    notQuarantined: { count: 0 },
  })
})
