/** Clients of `GET /v1/changes` that stop reading their socket, while many changes arrive. */
import { waitUntil } from '@customer-stream/runtime'
import { kafkajsOf, openPipeline, type Pipeline, READER_KEY, type ServiceProcess } from '@customer-stream/testing'
import { openChangesClient } from '@customer-stream/testing/changes-client'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'

let pipeline: Pipeline
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
})
afterAll(() => pipeline.close())

const SLOW_CLIENTS = 4
const CHANGES = 480
/**
 * Size of a change. All changes together must exceed the buffers of a socket (some megabytes) and
 * the 16 MiB of changes that the reader keeps.
 */
const CHANGE_BYTES = 500_000

const MIB = 1024 * 1024
/**
 * Maximum growth of the reader's memory. The reader keeps 16 MiB of changes. In memory a change
 * needs several times the size of its record, because streams share its document and events.
 */
const MAX_GROWTH = 10 * 16 * MIB

const openClient = async ({ url }: ServiceProcess, lastEventId?: string) => {
  const client = await openChangesClient(url, READER_KEY, lastEventId)
  onTestFinished(client.close)
  return client
}

/** Starts a reader. Without a projector nothing creates the state topic, so the test creates it. */
const startReader = async () => {
  const { administrator, stateTopic, topics } = pipeline
  await administrator.createTopics({
    topics: [topics.customers, stateTopic].map((topic) => ({ topic, numPartitions: 1 })),
  })
  const reader = await pipeline.start('reader')
  await reader.untilReady()
  return reader
}

const openPublisher = async () => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return async (customerUuid: string) => {
    const value = JSON.stringify({
      customerUuid,
      version: { timestamp: 1, id: 'e' },
      customer: { customerUuid, company: 'x'.repeat(CHANGE_BYTES) },
      receivedAt: 1,
      source: { topic: pipeline.topics.customers, partition: 0, offset: '0' },
    })
    await producer.send({ topic: pipeline.stateTopic, messages: [{ key: customerUuid, value }] })
  }
}

it('clients that stop reading are cut off, and other clients and a later stream get each change', async () => {
  const [reader, publish] = await Promise.all([startReader(), openPublisher()])
  const customers = Array.from({ length: CHANGES }, (_, i) => `c${i}`)
  const [fast, ...slow] = await Promise.all(Array.from({ length: SLOW_CLIENTS + 1 }, () => openClient(reader)))
  await publish('c0')
  await Promise.all([fast!, ...slow].map((each) => each.untilSeen(1)))
  for (const each of slow) each.pause()
  const before = await reader.metric('process_resident_memory_bytes')
  for (const customerUuid of customers.slice(1)) await publish(customerUuid)
  await fast!.untilSeen(CHANGES)
  expect(fast!.seen.customers).toEqual(customers)

  await waitUntil(
    'the slow clients are cut off',
    () => reader.metric('reader_streams_ended_total', { reason: 'slow' }),
    (count) => count === SLOW_CLIENTS,
  )
  expect(await reader.metric('reader_streams')).toBe(1)
  const growth = (await reader.metric('process_resident_memory_bytes')) - before
  expect(growth / MIB).toBeLessThan(MAX_GROWTH / MIB)

  const [client] = slow
  await client!.untilCutOff()
  const { customers: seen, lastId } = client!.seen
  expect(seen.length).toBeLessThan(CHANGES)
  const again = await openClient(reader, lastId)
  await again.untilSeen(CHANGES - seen.length)
  expect([...seen, ...again.seen.customers]).toEqual(customers)
  expect(fast!.seen.isOpen).toBe(true)
  expect(await reader.end()).toBe(0)
})
