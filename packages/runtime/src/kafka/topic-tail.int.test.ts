import { fetchEnds } from '@customer-stream/runtime/kafka'
import { freshNames } from '@customer-stream/testing'
import { testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { beforeEach, expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import { createAdmin, followTopic, type TopicAdmin } from './index.ts'
import { kafkajsOf } from './kafka-client.ts'
import { administratorOf } from './topic-admin.ts'

const kafka = testKafka(testKafkaSettings())
let admin: TopicAdmin
let topic: string

const createTopic = async (numPartitions: number) => {
  await administratorOf(admin).createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions }] })
  await fetchEnds(admin, topic)
}

beforeEach(async () => {
  admin = createAdmin(kafka, { isPatient: true })
  await admin.connect()
  onTestFinished(() => admin.disconnect())
  topic = `${freshNames().topicPrefix}state`
})

const openProducer = async () => {
  const producer = kafkajsOf(kafka).producer()
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return (partition: number, ...texts: string[]) =>
    producer.send({ topic, messages: texts.map((value) => ({ partition, value })) })
}

/** Follows the topic. Returns the values, each with its partition, and the calls of `onBegin`. */
const follow = (lookBack: number) => {
  const stopping = new AbortController()
  const own = createAdmin(kafka)
  const seen: string[] = []
  const begun: string[] = []
  let problem: Error | undefined
  const ended = followTopic({
    admin: own,
    topic,
    lookBack,
    signal: stopping.signal,
    onBegin: (id, positions) => begun.push(`${id.length} ${[0, 1, 2].map((each) => positions.get(each) ?? '-')}`),
    onPart: (partition, { records }) => seen.push(...records.map(({ value }) => `${partition} ${value}`)),
    onProblem: (error) => {
      problem = error
    },
  })
  onTestFinished(async () => {
    stopping.abort()
    await ended
    await own.disconnect()
  })
  const until = (what: string, isTrue: () => boolean) =>
    waitUntil(what, () => ({ seen, begun, problem: String(problem) }), isTrue)
  return { seen, begun, until, problem: () => problem }
}

it('a tail begins some records before the end, and gets each later record of each partition once', async () => {
  await createTopic(3)
  const send = await openProducer()
  await send(0, 'a', 'b', 'c')
  const tail = follow(2)
  await tail.until('the older records are there', () => tail.seen.length === 2)
  for (const partition of [0, 1, 2]) await send(partition, 'd', 'e')
  await tail.until('the new records are there', () => tail.seen.length === 8)
  expect(tail.begun).toEqual(['32 1,0,0'])
  expect(tail.seen.toSorted()).toEqual(['0 b', '0 c', '0 d', '0 e', '1 d', '1 e', '2 d', '2 e'])
  expect(tail.problem()).toBeUndefined()
})

it('a tail reads a partition that is added later, and begins again in a topic that is created again', async () => {
  await createTopic(1)
  const send = await openProducer()
  const tail = follow(0)
  await tail.until('the tail has begun', () => tail.begun.length === 1)
  await send(0, 'a')
  await administratorOf(admin).createPartitions({ topicPartitions: [{ topic, count: 2 }] })
  // kafkajs drops a record for a partition that it does not know, without an error.
  await waitUntil(
    'the broker knows the new partition',
    () => fetchEnds(admin, topic),
    ({ length }) => length === 2,
  )
  const later = await openProducer()
  await later(1, 'b')
  await tail.until('the record of the new partition is there', () => tail.seen.length === 2)
  await administratorOf(admin).deleteTopics({ topics: [topic] })
  await tail.until('the missing topic is reported', () => tail.problem() !== undefined)
  await createTopic(1)
  await tail.until('the tail has begun again', () => tail.begun.length === 2)
  const last = await openProducer()
  await last(0, 'c')
  await tail.until('the record of the new topic is there', () => tail.seen.includes('0 c'))
  expect(tail.seen).toEqual(['0 a', '1 b', '0 c'])
})
