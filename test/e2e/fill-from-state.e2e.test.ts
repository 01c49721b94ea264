/**
 * A lost or restored Redis is filled from the state topic, while new events are applied. A state
 * topic that lacks documents is filled from the raw topic.
 */
import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { customerKey, partitionOf } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, openTcpProxy, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'

const CUSTOMERS = 200
const QUICK = { POSITION_CHECK_MS: '200' }

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  projector = await pipeline.start('projector', { ...QUICK, KAFKA_STATE_TOPIC: 'false' })
  await Promise.all([ingress.untilReady(), projector.untilReady()])
})
afterAll(() => pipeline.close())

/** The newest timestamp of each customer. */
const newest = new Map<string, string>()
const store = async (customerUuid: string, timestamp: number, customer = {}) => {
  const { body } = makeCustomersEvent({ customerUuid, timestamp, customer })
  expect((await pipeline.post(ingress, body)).status).toBe(202)
  newest.set(customerUuid, String(timestamp))
}
const storeAll = (timestamp: number, customer = {}) =>
  Promise.all(Array.from({ length: CUSTOMERS }, (_, i) => store(`c${i}`, timestamp, customer)))
const publish = async (key: string, value: string | null) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await producer.send({ topic: pipeline.stateTopic, messages: [{ key, value }] })
  await producer.disconnect()
}
const restart = async (env: Readonly<Record<string, string>> = {}) => {
  await projector.end()
  projector = await pipeline.start('projector', { ...QUICK, ...env })
}

const keysInRedis = async () =>
  (await pipeline.redis.keys(`${pipeline.keyPrefix}*`)).filter((key) => !key.includes('member'))
const lose = async () => {
  await pipeline.redis.del(...(await keysInRedis()))
}
const fieldOf = (customerUuid: string, field: string) =>
  pipeline.redis.hget(customerKey(customerUuid, pipeline.keyPrefix), field)
/** Lists the customers with a wrong timestamp in Redis. */
const differences = async (expected: ReadonlyMap<string, string | null>) => {
  const found = await Promise.all([...expected.keys()].map((uuid) => fieldOf(uuid, '_eventTimestamp')))
  return [...expected].flatMap(([uuid, timestamp], i) => (found[i] === timestamp ? [] : `${uuid}: ${found[i]}`))
}
const untilRedisHas = (expected: ReadonlyMap<string, string | null>) =>
  waitUntil(
    'Redis has the expected version of each customer',
    () => differences(expected),
    ({ length }) => length === 0,
  )
const untilNewest = () => untilRedisHas(newest)
/** Waits until verify finds no problem in Redis and the state topic. */
const untilSound = () =>
  waitUntil(
    'Redis and the state topic are complete',
    () => pipeline.verify(undefined, { exact: true }),
    ({ customers, wrongCount }) => customers === newest.size && wrongCount === 0,
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
const deleteRawRecords = async () => {
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  await pipeline.administrator.deleteTopicRecords({
    topic: pipeline.topics.customers,
    partitions: ends.map(({ partition, high }) => ({ partition, offset: high })),
  })
}
const projections = async () => {
  const keys = await pipeline.redis.keys(`${pipeline.keyPrefix}customer:*`)
  return [keys.length, new Set(await Promise.all(keys.map((key) => pipeline.redis.hget(key, '_projection'))))]
}

it('a state topic gets all documents if it was switched on later, or was lost together with Redis', async () => {
  for (let version = 1; version <= 3; version++) await storeAll(version)
  await untilNewest()
  await untilCommitted()
  await restart()
  await projector.untilReady()
  await untilSound()

  await untilCommitted()
  await projector.end()
  await lose()
  await pipeline.administrator.deleteTopics({ topics: [pipeline.stateTopic] })
  await waitUntil(
    'no broker knows the state topic',
    () => pipeline.administrator.listTopics(),
    (names) => !names.includes(pipeline.stateTopic),
  )
  projector = await pipeline.start('projector', QUICK)
  await projector.untilReady()
  await untilSound()
})

it('during a long fill, a new event is applied at once, and /readyz shows the progress of the fill', async () => {
  const { hostname, port } = new URL(inject('brokers').redisUrl)
  const network = await openTcpProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => network.close())
  await restart({ REDIS_URL: `redis://127.0.0.1:${network.port}` })
  await projector.untilReady()
  // A fetch of the fill has at most 256 KiB, so large documents need many fetches.
  for (let version = 4; version <= 6; version++) await storeAll(version, { note: 'x'.repeat(40_000) })
  await untilNewest()
  await untilCommitted()

  network.set({ delayMs: 20 })
  await lose()
  const rebuild = async () => {
    const { checks } = (await (await fetch(`${projector.adminUrl}/readyz`)).json()) as {
      checks: { name: string; ready: boolean; detail?: string }[]
    }
    return checks.find(({ name }) => name === 'rebuild')
  }
  const during = {
    name: 'rebuild',
    ready: true,
    detail: expect.stringMatching(/: [1-9]\d* of \d+ records \(\d+ %\), about \d+ s left\. New events are applied/),
  }
  await waitUntil('the fill has begun', rebuild, (check) => check?.detail !== undefined, { pauseMs: 5 })
  // Each fetch now takes at least 0.4 s, so the fill takes many seconds. A new event needs only a
  // few fetches.
  network.set({ delayMs: 200 })
  await waitUntil('records were filled', rebuild, (check) => / [1-9]\d* of /.test(check?.detail ?? ''))
  expect(await rebuild()).toEqual(during)
  const customers = Array.from({ length: 12 }, (_, partition) => {
    for (let i = 0; ; i++) if (partitionOf(`live${i}`, 12) === partition) return `live${i}`
  })
  await Promise.all(
    customers.map(async (customerUuid) => {
      await store(customerUuid, 1)
      await waitUntil('the event is in Redis', () => fieldOf(customerUuid, '_eventTimestamp'), Boolean)
    }),
  )
  expect(await rebuild()).toEqual(during)
  network.set('open')
  await untilSound()
  await restart()
})

it('a fill skips records that are not documents, while new events are applied', async () => {
  await projector.untilReady()
  await untilCommitted()
  await publish('foreign', 'not JSON')
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
    newest.size,
    [{ customerUuid: 'foreign', reason: 'has a record in the state topic that is not a document' }],
  ])
  expect(await projector.metric('projector_unusable_states_total')).toBe(1)
})

it("another program's tombstone removes a customer until all raw records are applied again", async () => {
  const reasons = async () => {
    const { wrong } = await pipeline.verify()
    return wrong.flatMap(({ customerUuid, reason }) => (customerUuid === 'c0' ? [reason] : []))
  }
  await untilCommitted()
  await publish('c0', null)
  expect(await reasons()).toEqual(['is erased in the state topic'])
  await lose()
  await untilRedisHas(new Map<string, string | null>([...newest, ['c0', null]]))
  expect(await reasons()).toEqual(['is erased in the state topic'])

  // Without the committed offsets of a group, the projector applies all raw records.
  await projector.end()
  await pipeline.administrator.deleteGroups([pipeline.groupId])
  await lose()
  projector = await pipeline.start('projector', QUICK)
  await untilNewest()
  await waitUntil('the state topic has the customer', reasons, (found) => found.length === 0)
})

it('a higher projection is filled from the state topic, and the lower projection continues', async () => {
  await untilCommitted()
  await restart({ PROJECTION_VERSION: '2' })
  await waitUntil('each hash is written again', projections, ([count, found]) =>
    isDeepStrictEqual([count, found], [newest.size, new Set(['2'])]),
  )
  await store('new', 2)
  await untilCommitted()
  await restart()
  await store('new', 3)
  await untilNewest()
  const { wrong } = await pipeline.verify(undefined, { exact: true })
  // An earlier test has written a document for a customer that has no event.
  expect(wrong.map(({ customerUuid }) => customerUuid)).toEqual(['foreign'])
})

it('a lost Redis is filled even if raw records were deleted', async () => {
  await untilCommitted()
  await deleteRawRecords()
  await lose()
  await untilNewest()
  expect(await projector.metric('projector_lost_records_total')).toBe(0)
})

it('a Redis that was restored from an old dump is filled even if raw records were deleted', async () => {
  await untilCommitted()
  const keys = await keysInRedis()
  const dump = await Promise.all(keys.map(async (key) => [key, await pipeline.redis.dumpBuffer(key)] as const))
  await storeAll(7)
  await store('later', 1)
  await untilNewest()
  await untilCommitted()
  await deleteRawRecords()

  const restored = pipeline.redis.multi().del(...(await keysInRedis()))
  for (const [key, value] of dump) restored.restore(key, 0, value)
  await restored.exec()
  await untilNewest()
  expect(await projector.metric('projector_lost_records_total')).toBe(0)
})

it('if the group has no committed offsets, all raw records are applied to a lost Redis', async () => {
  await projector.end()
  await pipeline.administrator.deleteGroups([pipeline.groupId])
  await lose()
  await store('after', 1)
  projector = await pipeline.start('projector', QUICK)
  // The state topic has the customers whose raw records were deleted.
  await untilNewest()
  await store('after', 2)
  await untilNewest()
})
