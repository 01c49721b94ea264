import { freshNames } from '@customer-stream/testing'
import { testKafka } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import { createAdmin, readTopicIdentity, type TopicAdmin } from './index.ts'
import { administratorOf, clusterOf } from './topic-admin.ts'

let admin: TopicAdmin
beforeAll(async () => {
  admin = createAdmin(testKafka())
  await admin.connect()
})
afterAll(() => admin.disconnect())

const create = async (topic: string) => {
  await administratorOf(admin).createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 2 }] })
  return waitUntil(
    'Kafka describes the topic',
    () => readTopicIdentity(admin, topic).catch((error: Error) => error),
    (answer) => !(answer instanceof Error),
  )
}
const remove = async (topic: string) => {
  await administratorOf(admin).deleteTopics({ topics: [topic] })
  const topics = () => administratorOf(admin).listTopics()
  await waitUntil('the topic is gone', topics, (found) => !found.includes(topic))
}

it('a topic that is deleted and created again gets a new id, in the same cluster', async () => {
  const topic = `${freshNames().topicPrefix}raw`
  const { clusterId } = await administratorOf(admin).describeCluster()
  const first = await create(topic)
  expect(first).toEqual({ clusterId, topicId: expect.stringMatching(/^[0-9a-f]{32}$/), partitionCount: 2 })
  expect(await readTopicIdentity(admin, topic)).toEqual(first)
  await remove(topic)
  await expect(readTopicIdentity(admin, topic)).rejects.toMatchObject({ type: 'UNKNOWN_TOPIC_OR_PARTITION' })
  const second = await create(topic)
  expect(second).toEqual({ clusterId, topicId: expect.stringMatching(/^[0-9a-f]{32}$/), partitionCount: 2 })
  expect(second).not.toEqual(first)
})

it('a topic with a name of 249 characters has an id', async () => {
  const topic = freshNames().topicPrefix.padEnd(249, 'x')
  expect(await create(topic)).toMatchObject({ topicId: expect.stringMatching(/^[0-9a-f]{32}$/) })
})

it('each read of a topic’s id sends one request, even if the ids of several topics are read', async () => {
  const names = freshNames()
  const topics = ['raw', 'state'].map((name) => `${names.topicPrefix}${name}`)
  for (const topic of topics) await create(topic)
  const requests: string[] = []
  const client = administratorOf(admin)
  const stop = client.on(client.events.REQUEST, ({ payload }) => requests.push(payload.apiName))
  for (const topic of [...topics, ...topics]) await readTopicIdentity(admin, topic)
  stop()
  expect(requests).toEqual(['Metadata', 'Metadata', 'Metadata', 'Metadata'])
})

it('on brokers before Kafka 2.8 a topic has no id, and a missing topic is refused', async () => {
  const topic = `${freshNames().topicPrefix}raw`
  await create(topic)
  const { clusterId } = await administratorOf(admin).describeCluster()
  const old = createAdmin(testKafka())
  await old.connect()
  onTestFinished(() => old.disconnect())
  const broker = await clusterOf(old).brokerPool.findConnectedBroker()
  Object.assign(broker, { versions: { ...broker.versions, 3: { maxVersion: 6 } } })
  expect(await readTopicIdentity(old, topic)).toEqual({ clusterId })
  await expect(readTopicIdentity(old, `${topic}.missing`)).rejects.toMatchObject({ type: 'UNKNOWN_TOPIC_OR_PARTITION' })
})
