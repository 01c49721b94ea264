/** `customer-stream status` on a healthy pipeline, and on a pipeline with a problem. */
import { waitUntil } from '@customer-stream/runtime'
import { positionsKey, writeErasure } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  kafkajsOf,
  type NetworkState,
  openTcpProxy,
  type Pipeline,
  type ServiceProcess,
  storeCustomer,
} from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'
import { type Ended, type Run, startBoth } from './run-command.ts'

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
let run: Run
beforeAll(async () => {
  ;({ pipeline, ingress, projector, run } = await startBoth(inject('brokers')))
  for (const customerUuid of ['a', 'b', 'c']) await store(customerUuid, 1)
})
afterAll(() => pipeline?.close())

const store = (customerUuid: string, timestamp: number) => storeCustomer(pipeline, ingress, customerUuid, timestamp)
const send = async (topic: string, messages: { key: string; value: string; partition?: number }[]) => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  await producer.send({ topic, messages })
  await producer.disconnect()
}
const services = () => ['--ingress', ingress.adminUrl, '--projector', projector.adminUrl]
const reportOf = ({ stdout }: Ended) => JSON.parse(stdout)
/** Returns the addresses of a proxy in front of Kafka or Redis. */
const through = async (server: 'kafka' | 'redis', state: NetworkState) => {
  const { kafkaBrokers, redisUrl } = inject('brokers')
  const target = server === 'kafka' ? new URL(`kafka://${kafkaBrokers[0]}`) : new URL(redisUrl)
  const network = await openTcpProxy({ host: target.hostname, port: Number(target.port) })
  network.set(state)
  onTestFinished(() => network.close())
  const address = `127.0.0.1:${network.port}`
  return server === 'kafka' ? { KAFKA_BROKERS: address } : { REDIS_URL: `redis://${address}` }
}
/** Runs the command, and checks that it ends in time. */
const runInTime = async (words: readonly string[], settings?: Readonly<Record<string, string>>) => {
  const startedAt = performance.now()
  const ended = await run(words, settings)
  // The command may take 10 s. On a busy machine the start of its process takes up to 10 s more.
  expect(performance.now() - startedAt).toBeLessThan(25_000)
  return ended
}

it('the status of a healthy pipeline fits on one screen and begins with "All is well."', async () => {
  const { code, stdout, stderr } = await runInTime(['status', ...services()])
  expect({ code, stderr, stdout }).toEqual({
    code: 0,
    stderr: '',
    stdout: expect.stringMatching(/^All is well\.\n\nservices {5}ingress http:\/\/\S+: ready\n/),
  })
  expect(stdout).toMatch(/last event +\d+ s ago/)
  expect(stdout).toContain('lag          0 records: all 12 partitions are applied\n')
  expect(stdout).toMatch(/state topic +3 records in \S+customers\.state, complete\n/)
  expect(stdout).toMatch(/erasures +0 records in \S+customers\.erasures, all executed\n/)
  expect(stdout).toMatch(/rates +ingress: 202 0\.0\/s/)
  expect(stdout.split('\n').length).toBeLessThan(24)
})

it.each(['cut', 'stalled'] as const)(
  'if Kafka is %s, status reports this problem and all other facts',
  async (state) => {
    const { code, stdout } = await runInTime(['status', ...services()], await through('kafka', state))
    expect(code).toBe(1)
    expect(stdout).toMatch(/^Not well: 1 reason\.\n {2}✘ Kafka /)
    expect(stdout).toMatch(/projector http:\/\/\S+: ready/)
    expect(stdout).toMatch(/lag +unknown/)
  },
)

it.each(['cut', 'stalled'] as const)(
  'if Redis is %s, status reports this problem and all other facts',
  async (state) => {
    const { code, stdout } = await runInTime(['status', ...services()], await through('redis', state))
    expect(code).toBe(1)
    expect(stdout).toMatch(/^Not well: 1 reason\.\n {2}✘ Redis /)
    expect(stdout).toMatch(/lag +unknown/)
    expect(stdout).toMatch(/state topic +3 records/)
    expect(stdout).toMatch(/erasures +0 records in \S+, unknown whether executed/)
    expect(stdout).toMatch(/last event +\d+ s ago/)
  },
)

it('if only Kafka stalls, status reports Kafka alone, even with the shortest time limit', async () => {
  const words = ['status', '--timeout-seconds', '5', '--json']
  const report = reportOf(await runInTime(words, await through('kafka', 'stalled')))
  expect(report.reasons).toEqual([expect.stringMatching(/^Kafka /)])
})

it('status reports a service that does not answer, with exit code 1', async () => {
  const { code, stdout } = await runInTime(['status', '--projector', 'http://127.0.0.1:2'])
  expect([code, stdout]).toEqual([1, expect.stringContaining('✘ projector http://127.0.0.1:2 does not answer: ')])
})

it('status reports a frozen projector with its partitions and its lag in records', async () => {
  const partition = 5
  projector.signal('SIGSTOP')
  onTestFinished(() => projector.signal('SIGCONT'))
  const messages = Array.from({ length: 3 }, (_, i) => ({
    key: `s${i}`,
    partition,
    value: makeCustomersEvent({ customerUuid: `s${i}`, timestamp: 1 }).body,
  }))
  await send(pipeline.topics.customers, messages)
  const { code, stdout } = await runInTime(['status', '--projector', projector.adminUrl])
  expect(code).toBe(1)
  expect(stdout).toContain(`${projector.adminUrl} does not answer: no answer within 3 s`)
  expect(stdout).toMatch(/✘ partition 5 of the raw topic: records wait, and no position has moved for \d+ s/)
  expect(stdout).toMatch(/lag +3 records in 1 of 12 partitions, the oldest for \d+ s/)
  expect(stdout).toMatch(/partition 5: 3 \(\d+ of \d+\), not moving/)
  const { lag } = reportOf(await run(['status', '--json']))
  expect(lag).toMatchObject({
    records: 3,
    partitions: expect.arrayContaining([expect.objectContaining({ behind: 3 })]),
  })

  projector.signal('SIGCONT')
  await waitUntil(
    'the records are applied',
    () => run(['status']),
    (ended) => ended.code === 0,
    { pauseMs: 500 },
  )
})

it('status counts quarantine records by reason, and erasures that are not executed', async () => {
  const { redis, keyPrefix, topics, erasuresTopic } = pipeline
  await send(topics.customers, [
    { key: 'x', value: 'no JSON' },
    { key: 'x', value: '{}' },
  ])
  const erasure = writeErasure({ erasedAt: 1, scope: 'forever', reason: 'test', requestedBy: 'test' })
  await send(erasuresTopic, [{ key: 'nobody', value: erasure }])
  await waitUntil(
    'the records are in quarantine, and the erasure is executed',
    async () => reportOf(await run(['status', '--json'])),
    ({ quarantine, erasures }) => quarantine.records === 2 && erasures.records === 1 && erasures.waiting === 0,
    { pauseMs: 500 },
  )
  const ended = await run(['status'])
  expect(ended.code).toBe(0)
  expect(ended.stdout).toContain(
    '  ! 2 open records went to quarantine in the last 24 h. See customer-stream quarantine list.\n',
  )
  expect(ended.stdout).toMatch(/quarantine +24 h: (not-json|missing-type) 1, (not-json|missing-type) 1\n +total: 2 \(/)

  // Without a position in the erasures topic, all erasures count as not executed.
  projector.signal('SIGSTOP')
  onTestFinished(() => projector.signal('SIGCONT'))
  const key = positionsKey(1, keyPrefix)
  const fields = (await redis.hkeys(key)).filter((field) => field.endsWith('#erasures'))
  await redis.hdel(key, ...fields)
  expect(reportOf(await run(['status', '--json'])).erasures).toMatchObject({ records: 1, waiting: 1 })
})

it('status reports a missing topic and a Redis without positions', async () => {
  const missing = await runInTime(['status'], { KAFKA_TOPIC_PREFIX: 'nowhere.' })
  expect(missing.code).toBe(1)
  expect(missing.stdout).toContain('✘ Kafka has no topic nowhere.customers.raw. If the topic was deleted, run')
  expect(missing.stdout).toContain('✘ Kafka has no topic nowhere.quarantine.')
  const empty = await runInTime(['status'], { REDIS_KEY_PREFIX: 'nowhere:' })
  expect(empty.code).toBe(1)
  expect(empty.stdout).toContain('✘ Redis has no key nowhere:positions:v1, so no projector has filled this Redis.')
})

it.each([
  [['status', '--ingres', 'x'], 'unknown option --ingres; the nearest is --ingress'],
  [['status', '--ingress', 'host:9464'], '--ingress must be an http or https URL'],
  [['status', '--timeout-seconds', '1'], '--timeout-seconds must be a number from 5 to 60'],
])('the wrong command line %j ends with exit code 2', async (words, problem) => {
  expect(await run(words)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(problem) })
})
