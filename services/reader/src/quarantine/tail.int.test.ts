import { createAdmin, fetchEnds, readTopicIdentity } from '@customer-stream/runtime/kafka'
import { administratorOf, freshNames, kafkajsOf } from '@customer-stream/testing'
import { testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createTail } from './tail.ts'

const connect = async () => {
  const kafka = testKafka(testKafkaSettings())
  const [quarantine, audit] = [createAdmin(kafka), createAdmin(kafka)]
  const producer = kafkajsOf(kafka).producer()
  await Promise.all([quarantine.connect(), audit.connect(), producer.connect()])
  onTestFinished(() => Promise.all([quarantine, audit, producer].map((client) => client.disconnect())).then(() => {}))
  const topic = `${freshNames().topicPrefix}quarantine`
  return { quarantine, audit, producer, topic }
}

it('the audit entries of a record are read, the oldest first', async () => {
  const { quarantine, audit, producer, topic } = await connect()
  const auditTopic = `${topic}.audit`
  const topics = [topic, auditTopic].map((each) => ({ topic: each, numPartitions: 2 }))
  await administratorOf(quarantine).createTopics({ waitForLeaders: false, topics })
  for (const each of [topic, auditTopic]) await fetchEnds(quarantine, each)
  const { topicId = null } = await readTopicIdentity(quarantine, topic)
  const entry = (offset: string, action: 'dropped' | 'redriven', at: number) => ({
    partition: 1,
    value: JSON.stringify({ topicId, partition: 3, offset, action, at, requestedBy: 'ops' }),
  })
  const send = (messages: readonly ReturnType<typeof entry>[]) =>
    producer.send({ topic: auditTopic, messages: [...messages] })
  await send([entry('17', 'dropped', 1), entry('18', 'dropped', 2), { ...entry('17', 'redriven', 0), value: '{' }])
  const { signal } = new AbortController()
  const tail = createTail({ quarantine, audit, connect: async () => {} }, { topic, auditTopic, signal })
  const historyOf = async (offset: string) => {
    const { entriesOf } = await tail.refreshAgain()
    return (await entriesOf({ partition: 3, offset })).map(({ action, at }) => `${action} ${at}`)
  }
  expect(await historyOf('17')).toEqual(['dropped 1'])
  await send([entry('17', 'redriven', 3), entry('17', 'redriven', 4)])
  expect(await historyOf('17')).toEqual(['dropped 1', 'redriven 3', 'redriven 4'])
  expect([await historyOf('18'), await historyOf('19')]).toEqual([['dropped 2'], []])
})

it('if the audit topic was created again, it is read from its start, and no record gets a wrong entry', async () => {
  const { quarantine, audit, producer, topic } = await connect()
  const auditTopic = `${topic}.audit`
  const administrator = administratorOf(quarantine)
  const create = async (name: string) => {
    await administrator.createTopics({ waitForLeaders: false, topics: [{ topic: name, numPartitions: 1 }] })
    await fetchEnds(quarantine, name)
  }
  await create(topic)
  await create(auditTopic)
  const { topicId = null } = await readTopicIdentity(quarantine, topic)
  const handle = async (...offsets: readonly string[]) => {
    const entry = { topicId, partition: 0, action: 'dropped', at: 1, requestedBy: 'ops' }
    await producer.send({
      topic: auditTopic,
      messages: offsets.map((offset) => ({ value: JSON.stringify({ ...entry, offset }) })),
    })
  }
  const { signal } = new AbortController()
  const tail = createTail({ quarantine, audit, connect: async () => {} }, { topic, auditTopic, signal })
  const read = async (offset: string) => {
    const { actionFor, entriesOf } = await tail.refreshAgain()
    const place = { partition: 0, offset }
    const entries = await entriesOf(place)
    return [actionFor({ ...place, origin: undefined }), ...entries.map((entry) => entry.offset)]
  }
  await handle('7', '8')
  expect(await read('7')).toEqual(['dropped', '7'])
  await administrator.deleteTopics({ topics: [auditTopic] })
  const isGone = async () => expect(await administrator.listTopics()).not.toContain(auditTopic)
  await vi.waitFor(isGone, { timeout: 30_000 })
  await create(auditTopic)
  await handle('9')
  expect([await read('9'), await read('7')]).toEqual([['dropped', '9'], ['dropped']])
})

it('after a partition could not be read, the next list has the records of all partitions', async () => {
  const { quarantine, audit, producer, topic } = await connect()
  await administratorOf(quarantine).createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 2 }] })
  await fetchEnds(quarantine, topic)
  const messages = [0, 1].map((partition) => ({ partition, value: '{', headers: { reason: 'not-json' } }))
  await producer.send({ topic, messages })
  let reads = 0
  // This check is made before each partition is read.
  const signal = {
    throwIfAborted: () => {
      reads += 1
      if (reads === 2) throw new Error('the leader has not answered for 30 s')
    },
  } as AbortSignal
  const tail = createTail(
    { quarantine, audit, connect: async () => {} },
    { topic, auditTopic: `${topic}.audit`, signal },
  )
  await expect(tail.refresh()).rejects.toThrow('the leader has not answered')
  const { records } = await tail.refresh()
  expect(records.map(({ partition }) => partition).toSorted()).toEqual([0, 1])
})
