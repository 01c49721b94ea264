import { waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { type Pipeline, type ServiceProcess, storeCustomer } from '@customer-stream/testing'
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

/** Runs `customer-stream erase` to its end. */
const erase = (args: readonly string[], settings: Readonly<Record<string, string>> = {}) =>
  run(['erase', ...args], settings)
const ASKED = ['--reason', 'letter 7', '--requested-by', 'ops']
const store = (customerUuid: string, timestamp: number) => storeCustomer(pipeline, ingress, customerUuid, timestamp)
const deleteRawRecords = async () => {
  const { administrator, admin, topics } = pipeline
  for (const topic of Object.values(topics)) {
    const partitions = (await admin.fetchTopicOffsets(topic))
      .filter(({ low, high }) => low !== high)
      .map(({ partition, high }) => ({ partition, offset: high }))
    if (partitions.length > 0) await administrator.deleteTopicRecords({ topic, partitions })
  }
}

it('erase removes the customer, and names each topic that still has data of the customer', async () => {
  await store('gone', 1)
  await store('gone', 2)
  await store('other', 1)
  // The id is inside a JSON string, in a record without a key.
  const data = JSON.stringify({ of: 'gone' })
  const foreign = JSON.stringify({ uuid: 'o1', dealeruuid: 'd1', timestamp: 1, type: 'other', data })
  expect((await pipeline.post(ingress, foreign)).status).toBe(202)

  expect(await erase(['gone', '--status'])).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('customer gone was never erased\n'),
  })
  const { code, stdout } = await erase(['gone', ...ASKED])
  const line = (topic: string) => stdout.split('\n').find((each) => each.includes(topic)) ?? ''
  expect(stdout).toMatch(/customer gone was erased at \S+Z, scope forever, requested by ops: letter 7\n/)
  expect(stdout).toMatch(/Redis +✔ has no erased data/)
  expect(line(pipeline.topics.customers)).toContain('✘ keeps 2 records forever, because')
  expect(line(pipeline.topics.other)).toContain('✘ keeps 1 record ')
  expect(line(pipeline.topics.quarantine)).toContain('✔ has no erased data of the customer')
  expect(line(pipeline.stateTopic)).toMatch(/✘ keeps [12] records? until \d{4}-\d\d-\d\d \d\d:\d\d UTC, plus the time/)
  expect(stdout).toContain('The erasure is not complete.')
  expect(code).toBe(1)
  expect(await pipeline.redis.exists(customerKey('gone', pipeline.keyPrefix))).toBe(0)
  expect(await pipeline.redis.exists(customerKey('other', pipeline.keyPrefix))).toBe(1)

  await deleteRawRecords()
  // Leave out the state topic, because Kafka compacts it only after several days.
  const done = await erase(['gone', '--status', '--json'], { KAFKA_STATE_TOPIC: 'false' })
  expect(done.code).toBe(0)
  expect(JSON.parse(done.stdout)).toMatchObject({
    customerUuid: 'gone',
    erasure: { scope: 'forever', reason: 'letter 7', requestedBy: 'ops' },
    redis: { hash: false, mark: true, entries: 0 },
    topics: Object.values(pipeline.topics).map((topic) => ({ topic, records: 0 })),
  })
})

it('if a customer has new events after an erasure, erase --status lists only newer data', async () => {
  await store('back', 1)
  await erase(['back', ...ASKED, '--scope', 'until-now'])
  await store('back', Date.now() + 1000)
  const { stdout } = await erase(['back', '--status', '--json'])
  const { redis, topics } = JSON.parse(stdout)
  expect(redis).toEqual({ hash: false, mark: true, entries: 0 })
  expect(topics[0]).toMatchObject({ topic: pipeline.topics.customers, records: 1 })
})

it('erase says if the erasure is stored and no projector has executed it in time', async () => {
  await store('late', 1)
  await projector.end()
  const { code, stderr } = await erase(['late', ...ASKED, '--wait-seconds', '0'])
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringContaining('No projector has executed the erasure within 0 s. The erasure is stored.'),
  })
  const status = await erase(['late', '--status'])
  expect(status.stdout).toMatch(/Redis, mark +✘ is missing/)
  projector = await pipeline.start('projector', { POSITION_CHECK_MS: '200' })
  await waitUntil(
    'the erasure is executed',
    () => pipeline.redis.exists(customerKey('late', pipeline.keyPrefix)),
    (count) => count === 0,
  )
})

it('erase warns of a wrong id if Redis does not have the customer', async () => {
  const { stderr } = await erase(['nobody', ...ASKED])
  expect(stderr).toContain('erase: Redis has no customer nobody; check the id\n')
})

it.each([
  [['--reason', 'x', '--requested-by', 'y'], 'the CUSTOMER_UUID is missing'],
  [['a', 'b', ...ASKED], 'unexpected "b"'],
  [['a', '--requested-by', 'y'], '--reason is missing'],
  [['a', '--reason', 'x'], '--requested-by is missing'],
  [['a', '--reason', ' ', '--requested-by', 'y'], '--reason is blank'],
  [['a', '--reason', 'x', '--requested-by', ' '], '--requested-by is blank'],
  [['a', ...ASKED, '--scope', 'ever'], '--scope must be forever or until-now'],
  [['a', ...ASKED, '--status'], '--status erases nothing'],
  [['a', '--statu'], 'unknown option --statu; the nearest is --status'],
  [['a', ...ASKED, '--wait-seconds', '-1'], '--wait-seconds must be a number from 0 to 86400'],
])('erase refuses the options %j with an error message and exit code 2', async (args, message) => {
  expect(await erase(args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(message) })
})

it('erase refuses to run with KAFKA_ERASURES_TOPIC=false', async () => {
  expect(await erase(['a', ...ASKED], { KAFKA_ERASURES_TOPIC: 'false' })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('KAFKA_ERASURES_TOPIC=false, so no projector executes erasures'),
  })
})
