import { createRequire } from 'node:module'
import { freshNames } from '@customer-stream/testing'
import { silentLogger, testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { waitUntil } from '../process/wait-until.ts'
import { createAdmin, createKafka, createPartitionReader, fetchEnds, quotaDelay } from './index.ts'
import { kafkajsOf } from './kafka-client.ts'
import { administratorOf, clusterOf, type TopicAdmin } from './topic-admin.ts'

interface Encoder {
  writeInt32(value: number): Encoder
  writeString(value: string): Encoder
  writeDouble(value: number): Encoder
  writeBoolean(value: boolean): Encoder
}
const EncoderClass = createRequire(import.meta.url)('kafkajs/src/protocol/encoder') as new () => Encoder

/** Sets or removes the `consumer_byte_rate` of a client id. kafkajs cannot change quotas. */
const changeQuota = async (admin: TopicAdmin, clientId: string, bytesPerSecond: number | undefined) => {
  const encode = async () =>
    new EncoderClass()
      .writeInt32(1)
      .writeInt32(1)
      .writeString('client-id')
      .writeString(clientId)
      .writeInt32(1)
      .writeString('consumer_byte_rate')
      .writeDouble(bytesPerSecond ?? 0)
      .writeBoolean(bytesPerSecond === undefined)
      .writeBoolean(false)
  const broker = await clusterOf(admin).brokerPool.findConnectedBroker()
  await broker.connectionPool.send({
    request: { apiKey: 49, apiName: 'AlterClientQuotas', apiVersion: 0, encode },
    response: {
      decode: async (raw) => raw.readInt16BE(8), // error code, after the delay and the number of entries
      parse: async (errorCode) => {
        if (errorCode !== 0) throw new Error(`AlterClientQuotas failed with the error code ${errorCode}`)
        return errorCode
      },
    },
  })
}

const openAdmin = async (clientId: string) => {
  const admin = createAdmin(createKafka(testKafkaSettings(), { clientId, logger: silentLogger }))
  await admin.connect()
  onTestFinished(() => admin.disconnect())
  return admin
}

it('if a quota delays the records, the answer without records does not count as the end of the partition', async () => {
  const { topicPrefix: clientId } = freshNames()
  const topic = `${clientId}raw`
  const admin = await openAdmin('test')
  await administratorOf(admin).createTopics({ topics: [{ topic, numPartitions: 1 }] })
  await fetchEnds(admin, topic)
  const producer = kafkajsOf(testKafka()).producer()
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  await producer.send({ topic, messages: [{ value: Buffer.alloc(50_000) }] })

  const readOnce = async () => createPartitionReader(await openAdmin(clientId), topic).fetch(0, '0', '1')
  // This rate is too low for the record, so Kafka answers without the record.
  await changeQuota(admin, clientId, 1000)
  // The broker learns of a change after the controller has answered.
  const delayed = await waitUntil('the quota delays a fetch', readOnce, ({ records }) => records.length === 0)
  expect(delayed).toEqual({ records: [], nextOffset: '0', isDelayed: true })
  expect(quotaDelay()).toContain(`has delayed requests of the client id ${clientId} by`)
  await changeQuota(admin, clientId, undefined)
  await waitUntil('the record is read', readOnce, ({ nextOffset }) => nextOffset === '1')
})
