import { expect, it, vi } from 'vitest'
import { createLogger } from '../process/log.ts'
import { loadSettings } from '../process/settings.ts'
import { createKafka } from './client.ts'
import { createDiagnose } from './diagnosis.ts'
import { createKafkaCheck } from './probe.ts'
import { kafkaSettings } from './settings.ts'
import { clusterOf, createAdmin } from './topic-admin.ts'

const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:9092,b:9092,c:9092' })

/** Creates a check of fake brokers. Broker n answers with the n-th function of `answers`. */
const setUp = (...answers: (() => Promise<unknown>)[]) => {
  const admin = createAdmin(createKafka(settings, { clientId: 'test', logger: createLogger('test', 'silent') }))
  const brokers = answers.map((answer) => ({ metadata: vi.fn(answer) }))
  const refreshMetadata = vi.fn(async () => undefined)
  const findBroker = async ({ nodeId }: { nodeId: string }) => brokers[Number(nodeId)]
  Object.assign(clusterOf(admin).brokerPool, { brokers, findBroker, refreshMetadata })
  const check = createKafkaCheck({
    admin,
    topic: 't',
    timeoutMs: 50,
    diagnose: createDiagnose(settings),
    doing: 'store events',
  })
  return { check, brokers, refreshMetadata }
}
const silence = () => new Promise(() => {})
const failure = (facts: object) => () => Promise.reject(Object.assign(new Error('cause'), facts))

it('the probe succeeds with one answer, and does not ask a silent broker again', async () => {
  const { check, brokers } = setUp(silence, async () => 'metadata', failure({ code: 'ECONNREFUSED' }))
  for (let i = 0; i < 3; i++) expect(await check()).toBeUndefined()
  expect(brokers.map(({ metadata }) => metadata.mock.calls.length)).toEqual([1, 3, 3])
})

it('the probe reports an outage if all brokers are silent or fail', async () => {
  const { check } = setUp(silence, failure({ code: 'ECONNREFUSED' }))
  expect(await check()).toMatchObject({ blocked: false, message: expect.stringContaining('cannot store events') })
})

it('the probe refreshes the addresses if no broker answers', async () => {
  const { check, refreshMetadata } = setUp(failure({ code: 'ECONNREFUSED' }), failure({ code: 'ECONNREFUSED' }))
  expect(await check()).toMatchObject({ blocked: false })
  expect(refreshMetadata).toHaveBeenCalledOnce()
})

it('the probe names the topic for which a right is missing', async () => {
  const { check } = setUp(failure({ type: 'TOPIC_AUTHORIZATION_FAILED' }))
  expect(await check()).toMatchObject({
    blocked: true,
    reason: 'authorization',
    message: expect.stringContaining('describe topic t'),
  })
})
