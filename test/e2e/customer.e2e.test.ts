/** `customer-stream customer show` and `history` for customers of every kind. */
import { waitUntil } from '@customer-stream/runtime'
import { fetchEnds } from '@customer-stream/runtime/kafka'
import { customerKey, erasedKey, partitionOf } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, type Pipeline, type ServiceProcess, untilApplied } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { type Run, startBoth } from './run-command.ts'

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
let run: Run
beforeAll(async () => {
  ;({ pipeline, ingress, projector, run } = await startBoth(inject('brokers')))
})
afterAll(() => pipeline?.close())

const ESCAPE = '\u001b[2J'
const post = async (customerUuid: string, timestamp: number, firstName = 'Ada') => {
  const { body } = makeCustomersEvent({ customerUuid, timestamp, id: `e${timestamp}`, customer: { firstName } })
  expect((await pipeline.post(ingress, body)).status).toBe(202)
}
const show = (id: string, ...more: string[]) => run(['customer', 'show', id, ...more])
const history = (id: string, ...more: string[]) => run(['customer', 'history', id, ...more])
const outcomes = async (id: string) =>
  JSON.parse((await history(id, '--json')).stdout).events.map(({ outcome }: { outcome: string }) => outcome)

it('customer show prints the hash and its record, and compares the state document', async () => {
  await post('ada', 10, `Ada${ESCAPE}`)
  await untilApplied(pipeline, 'ada', 10)
  const { code, stdout, stderr } = await show('ada')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toContain(`  Redis      ${customerKey('ada', pipeline.keyPrefix)}, projection 1\n`)
  expect(stdout).toMatch(/version +1970-01-01 00:00:00 UTC 10 e10\n/)
  expect(stdout).toMatch(/source +\S+customers\.raw\/\d+\/\d+, received 20[^\n;]+UTC\n/)
  expect(stdout).toMatch(/erased +no\n/)
  expect(stdout).toMatch(/state +\S+customers\.state\/\d+\/\d+: equals the hash\n/)
  expect(stdout).toContain('firstName                Ada\\u{1b}[2J\n')
  const json = await show('ada', '--json')
  expect(json.stdout).not.toContain('\u001b')
  expect(JSON.parse(json.stdout)).toMatchObject({
    customerUuid: 'ada',
    isKnown: true,
    isSound: true,
    erased: null,
    hash: { firstName: `Ada${ESCAPE}` },
    source: { isInKafka: true },
    state: { agreement: 'equal', fields: [] },
  })
})

it('customer show names the fields that differ from the state document, with exit code 1', async () => {
  await post('eve', 10)
  await untilApplied(pipeline, 'eve', 10)
  await pipeline.redis.hset(customerKey('eve', pipeline.keyPrefix), { firstName: 'Mallory' })
  const { code, stdout } = await show('eve')
  expect([code, stdout]).toEqual([1, expect.stringContaining(': differs from the hash in firstName\n')])
})

it('customer history shows the outcome of each event', async () => {
  const { topics, kafka } = pipeline
  for (const timestamp of [20, 10, 20, 30]) {
    await post('bob', timestamp)
    if (timestamp === 20) await untilApplied(pipeline, 'bob', 20)
  }
  const far = Date.now() + 3 * 86_400_000
  await post('bob', far)
  await untilApplied(pipeline, 'bob', 30)
  const producer = kafkajsOf(kafka).producer()
  await producer.connect()
  await producer.send({ topic: topics.customers, messages: [{ key: 'bob', value: 'no JSON' }] })
  await producer.disconnect()
  await waitUntil(
    'both unusable events are in quarantine',
    () => outcomes('bob'),
    (found) => found.filter((outcome: string) => outcome === 'quarantined').length === 2,
    { pauseMs: 200 },
  )
  const { code, stdout, stderr } = await history('bob')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^customer bob: 6 events in partition \d+ of \S+customers\.raw\n/)
  const lines = stdout.split('\n').slice(3, -1)
  expect(lines.map((line) => line.replace(/^.{48}\S+ +/, '').replace(/ {2}e\d+$/, ''))).toEqual([
    'applied',
    'older, ignored',
    'repeat, ignored',
    'applied  ◀ in Redis',
    expect.stringMatching(/^quarantined: too-far-in-future, copy \S+\.quarantine\/\d+\/\d+$/),
    expect.stringMatching(/^quarantined: not-json, copy \S+\.quarantine\/\d+\/\d+$/),
  ])
  // The history has no data of the customer.
  expect(stdout).not.toContain('Ada')

  expect(JSON.parse((await history('bob', '--json')).stdout).events[4].version).toEqual({
    timestamp: far,
    id: `e${far}`,
  })

  const newest = await history('bob', '--limit', '2')
  expect(newest.stdout).toContain('customer bob: 2 events')
  expect(newest.stdout).toContain('4 older events left out (--limit)')
})

it('customer history shows the outcome waiting for an event that no projector has read', async () => {
  await post('late', 10)
  await untilApplied(pipeline, 'late', 10)
  projector.signal('SIGSTOP')
  try {
    await post('late', 20)
    expect(await outcomes('late')).toEqual(['applied', 'waiting'])
  } finally {
    projector.signal('SIGCONT')
  }
  await untilApplied(pipeline, 'late', 20)
})

it('customer show and history show the erasure, its tombstone and the erased events', async () => {
  await post('gone', 10)
  await untilApplied(pipeline, 'gone', 10)
  await run(['erase', 'gone', '--reason', 'test', '--requested-by', 'test'])
  expect(await pipeline.redis.exists(erasedKey('gone', pipeline.keyPrefix))).toBe(1)
  await waitUntil(
    'the tombstone is published',
    () => show('gone'),
    (ended) => ended.stdout.includes('tombstone'),
  )
  const { code, stdout } = await show('gone')
  expect(code).toBe(0)
  expect(stdout).toMatch(/Redis +has no hash of this customer\n/)
  expect(stdout).toMatch(/erased +at 20\S+ \S+ UTC, scope forever\n/)
  expect(stdout).toMatch(/state +\S+ is a tombstone: the customer was erased\n/)
  expect(await outcomes('gone')).toEqual(['erased'])
})

it.each(['show', 'history'])('customer %s reports an unknown id, with exit code 1', async (task) => {
  const { code, stdout, stderr } = await run(['customer', task, `nobody${ESCAPE}`])
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toContain('nothing of customer nobody\\u{1b}[2J. Check the id: upper and lower case differ.')
})

it.each([
  [['customer'], 'a word is missing: show or history'],
  [['customer', 'shwo', 'x'], 'unknown word "shwo"; the nearest is show'],
  [['customer', 'show'], 'the ID of the customer (customerUuid) is missing'],
  [['customer', 'show', 'a', 'b'], 'unexpected "b"'],
  [['customer', 'history', 'a', '--limit', '0'], '--limit must be a whole number from 1 to 10000'],
  [['customer', 'show', 'a', '--limit', '5'], '--limit is valid only for `customer history`'],
])('the wrong command line %j ends with exit code 2', async (words, problem) => {
  expect(await run(words)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(problem) })
})

it('after partitions were added, customer history also lists the events of the former partition', async () => {
  const { topics, kafka, admin, administrator } = pipeline
  await post('moved', 10)
  await untilApplied(pipeline, 'moved', 10)
  const before = (await admin.fetchTopicOffsets(topics.customers)).length
  const after = before + 1
  expect(partitionOf('moved', after)).not.toBe(partitionOf('moved', before))
  await administrator.createPartitions({
    topicPartitions: [{ topic: topics.customers, count: after }],
  })
  // kafkajs drops a record for a partition that it does not know, without an error.
  await waitUntil(
    'the broker knows the new partition',
    () => fetchEnds(admin, topics.customers),
    ({ length }) => length === after,
  )
  const producer = kafkajsOf(kafka).producer()
  await producer.connect()
  const { body } = makeCustomersEvent({ customerUuid: 'moved', timestamp: 20, id: 'e20' })
  const partition = partitionOf('moved', after)
  await producer.send({ topic: topics.customers, messages: [{ key: 'moved', value: body, partition }] })
  await producer.disconnect()
  const events = JSON.parse((await history('moved', '--json')).stdout).events
  expect(events.map(({ place }: { place: string }) => Number(place.split('/')[1]))).toEqual([
    partitionOf('moved', before),
    partition,
  ])
})
