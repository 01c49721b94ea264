import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'

let pipeline: Pipeline
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
})
afterAll(() => pipeline.close())

it('an unusable record that quarantine refuses delays only its own partition', {
  timeout: 120_000,
}, async () => {
  const { topics, administrator, redis, keyPrefix } = pipeline
  // The ingress creates the topics.
  const ingress = await pipeline.start('ingress')
  await ingress.untilReady()
  const projector = await pipeline.start('projector')
  await projector.untilReady()
  await administrator.deleteTopics({ topics: [topics.quarantine] })
  await waitUntil(
    'no broker knows of quarantine',
    () => administrator.listTopics(),
    (names) => !names.includes(topics.quarantine),
  )
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  const send = (partition: number, value: string, key = 'k') =>
    producer.send({ topic: topics.customers, messages: [{ partition, key, value }] })

  // kafkajs handles four partitions at the same time, so poison five partitions.
  const poisoned = [0, 1, 2, 3, 4]
  for (const partition of poisoned) await send(partition, 'not JSON')
  await waitUntil(
    'the projector retries quarantine',
    () => projector.metric('projector_failures_total', { operation: 'quarantine' }),
    (failures) => failures > poisoned.length,
  )
  const others = [5, 6, 7, 8, 9, 10, 11]
  for (const partition of others)
    await send(partition, makeCustomersEvent({ customerUuid: `c${partition}` }).body, `c${partition}`)
  await waitUntil(
    'all other partitions are applied',
    () => redis.exists(...others.map((partition) => `${keyPrefix}customer:{c${partition}}`)),
    (count) => count === others.length,
  )
  const quarantined = () => projector.metric('projector_events_total', { outcome: 'quarantined' })
  expect(await quarantined()).toBe(0)

  await administrator.createTopics({
    topics: [{ topic: topics.quarantine, numPartitions: 12, replicationFactor: 1 }],
    waitForLeaders: false,
  })
  await waitUntil('the unusable records are in quarantine', quarantined, (count) => count === poisoned.length)
  await producer.disconnect()
  expect(await pipeline.verify()).toMatchObject({
    wrongCount: 0,
    records: { unusable: poisoned.length },
    notQuarantined: { count: 0 },
  })
})
