/** A lost Redis is filled from the state topic, while new events are applied. */
import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'

const CUSTOMERS = 200

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  projector = await pipeline.start('projector', { POSITION_CHECK_MS: '200' })
  await Promise.all([ingress.untilReady(), projector.untilReady()])
})
afterAll(() => pipeline.close())

const store = async (customerUuid: string, timestamp: number) => {
  const { body } = makeCustomersEvent({ customerUuid, timestamp })
  expect((await pipeline.post(ingress, body)).status).toBe(202)
}
const lose = async () => {
  const keys = await pipeline.redis.keys(`${pipeline.keyPrefix}*`)
  await pipeline.redis.del(...keys.filter((key) => !key.includes('member')))
}
const untilSound = () =>
  waitUntil(
    'Redis is complete',
    () => pipeline.verify(),
    ({ customers, wrongCount }) => customers >= CUSTOMERS && wrongCount === 0,
  )
const fills = async (event: string) =>
  (await readFile(projector.logFile, 'utf8')).split('\n').filter((line) => line.includes(`"event":"${event}"`)).length

const untilCommitted = async () => {
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  const high = ends.reduce((sum, end) => sum + Number(end.high), 0)
  const committed = async () => {
    const [{ partitions = [] } = {}] = await pipeline.administrator.fetchOffsets({
      groupId: pipeline.groupId,
      topics: [pipeline.topics.customers],
    })
    return partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
  }
  await waitUntil('all offsets are committed', committed, (sum) => sum === high)
}
const projections = async () => {
  const keys = await pipeline.redis.keys(`${pipeline.keyPrefix}customer:*`)
  return [keys.length, new Set(await Promise.all(keys.map((key) => pipeline.redis.hget(key, '_projection'))))]
}

it('a fill from the state topic skips records that are not documents, while new events are applied', async () => {
  for (let version = 1; version <= 3; version++)
    await Promise.all(Array.from({ length: CUSTOMERS }, (_, i) => store(`c${i}`, version)))
  await untilSound()
  await untilCommitted()
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await producer.send({ topic: pipeline.stateTopic, messages: [{ key: 'foreign', value: 'not JSON' }] })
  await producer.disconnect()

  await lose()
  await store('new', 1)
  await waitUntil(
    'partitions were filled',
    () => fills('filled'),
    (count) => count > 0,
  )
  const { customers, wrong } = await waitUntil(
    'Redis is complete but for the foreign record',
    () => pipeline.verify(),
    ({ wrongCount }) => wrongCount === 1,
  )
  expect([customers, wrong]).toEqual([
    CUSTOMERS + 1,
    [{ customerUuid: 'foreign', reason: 'has a record in the state topic that is not a document' }],
  ])
  expect(await projector.metric('projector_unusable_states_total')).toBe(1)
})

it('a higher projection is filled from the state topic, and the lower projection continues', async () => {
  await untilCommitted()
  await projector.end()
  projector = await pipeline.start('projector', { PROJECTION_VERSION: '2' })
  await waitUntil('each hash is written again', projections, ([count, found]) =>
    isDeepStrictEqual([count, found], [CUSTOMERS + 1, new Set(['2'])]),
  )
  await store('new', 2)
  await untilCommitted()
  await projector.end()
  projector = await pipeline.start('projector')
  await store('new', 3)
  await waitUntil(
    'the new event is applied',
    () => pipeline.redis.hget(`${pipeline.keyPrefix}customer:{new}`, '_eventTimestamp'),
    (timestamp) => timestamp === '3',
  )
})

it('a lost Redis is filled although Kafka has deleted the raw records', async () => {
  await untilCommitted()
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  await pipeline.administrator.deleteTopicRecords({
    topic: pipeline.topics.customers,
    partitions: ends.map(({ partition, high }) => ({ partition, offset: high })),
  })
  await lose()
  await waitUntil('each customer is there again', projections, ([count]) => count === CUSTOMERS + 1)
  expect(await pipeline.redis.hget(`${pipeline.keyPrefix}customer:{new}`, '_eventTimestamp')).toBe('3')
  expect(await projector.metric('projector_lost_records_total')).toBe(0)
})

it('a lost Redis gets all raw records if the group has no committed offsets', async () => {
  await projector.end()
  await pipeline.administrator.deleteGroups([pipeline.groupId])
  await lose()
  await store('after', 1)
  projector = await pipeline.start('projector')
  // The state topic has the customers whose raw records were deleted.
  await waitUntil('each customer is there again', projections, ([count]) => count === CUSTOMERS + 2)
  await store('after', 2)
  await waitUntil(
    'the new event is applied',
    () => pipeline.redis.hget(`${pipeline.keyPrefix}customer:{after}`, '_eventTimestamp'),
    (timestamp) => timestamp === '2',
  )
})
