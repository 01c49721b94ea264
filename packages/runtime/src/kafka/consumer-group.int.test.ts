import { fetchEnds } from '@customer-stream/runtime/kafka'
import { freshNames } from '@customer-stream/testing'
import { testConsumer, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import { describeGroup } from './consumer-group.ts'
import { createAdmin, createDiagnose, createPartitionConsumer, type GroupDescription } from './index.ts'
import { kafkajsOf } from './kafka-client.ts'
import { administratorOf } from './topic-admin.ts'

const kafka = testKafka()

it('describeGroup names our group members by instance, and foreign members by topics', async () => {
  const { topicPrefix, groupId } = freshNames()
  const [topic, otherTopic] = [`${topicPrefix}raw`, `${topicPrefix}other`]
  const admin = createAdmin(kafka)
  await admin.connect()
  onTestFinished(() => admin.disconnect())
  await administratorOf(admin).createTopics({
    waitForLeaders: false,
    topics: [topic, otherTopic].map((name) => ({ topic: name, numPartitions: 4 })),
  })
  await Promise.all([topic, otherTopic].map((name) => fetchEnds(admin, name)))

  const ours = createPartitionConsumer(kafka, admin, {
    ...testConsumer,
    groupId,
    instance: 'instance-1',
    topic,
    heartbeatIntervalMs: 500,
    maxWaitMs: 100,
    maxFetchBytes: 1_000_000,
    diagnose: createDiagnose(testKafkaSettings()),
    onBatch: async () => undefined,
    onDead: () => {},
  })
  await ours.start()
  onTestFinished(() => ours.stop())
  const settled =
    (members: number) =>
    ({ state, members: found }: GroupDescription) =>
      state === 'Stable' && found.length === members
  const alone = await waitUntil('our member is alone', ours.group, settled(1))
  expect(alone.members).toMatchObject([{ instance: 'instance-1', topics: [topic], partitions: [0, 1, 2, 3] }])

  const stranger = kafkajsOf(kafka).consumer({ groupId, heartbeatInterval: 500 })
  await stranger.connect()
  onTestFinished(() => stranger.disconnect())
  await stranger.subscribe({ topics: [otherTopic] })
  await stranger.run({ eachMessage: async () => {} })
  const both = await waitUntil('both are in the group', () => describeGroup(admin, groupId, topic), settled(2))
  expect(both.members.map(({ instance, topics }) => ({ instance, topics }))).toEqual(
    expect.arrayContaining([
      { instance: 'instance-1', topics: [topic] },
      { instance: '', topics: [otherTopic] },
    ]),
  )
})
