import { createAdmin, fetchEnds } from '@customer-stream/runtime/kafka'
import { administratorOf, freshNames, kafkajsOf } from '@customer-stream/testing'
import { testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { createTail } from './tail.ts'

it('if a partition cannot be read, the records of the other partitions are in the next list', async () => {
  const kafka = testKafka(testKafkaSettings())
  const [quarantine, audit] = [createAdmin(kafka), createAdmin(kafka)]
  const producer = kafkajsOf(kafka).producer()
  await Promise.all([quarantine.connect(), audit.connect(), producer.connect()])
  onTestFinished(() => Promise.all([quarantine, audit, producer].map((client) => client.disconnect())).then(() => {}))
  const topic = `${freshNames().topicPrefix}quarantine`
  await administratorOf(quarantine).createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 2 }] })
  await fetchEnds(quarantine, topic)
  const messages = [0, 1].map((partition) => ({ partition, value: '{', headers: { reason: 'not-json' } }))
  await producer.send({ topic, messages })
  let reads = 0
  // The reading of each partition begins with this check.
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
