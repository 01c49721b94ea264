import { createAdmin, createVerifiedProducer, fetchEnds } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { positionField } from '@customer-stream/schemas'
import { freshNames } from '@customer-stream/testing'
import { testKafka } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { observe, readTopicStatus } from './read-status.ts'
import { progressReasons } from './status-reasons.ts'

it('if a position moves during the observation, status does not report it as beyond the end', async () => {
  const kafka = testKafka()
  const admin = createAdmin(kafka, { isPatient: true })
  const producer = createVerifiedProducer(kafka, { metadataMaxAgeMs: 60_000, produceTimeoutMs: 5000 })
  await Promise.all([admin.connect(), producer.connect()])
  onTestFinished(async () => void (await Promise.all([admin.disconnect(), producer.disconnect()])))
  const topic = `${freshNames().topicPrefix}raw`
  await admin.createTopics([{ topic, partitions: 1, replicationFactor: 1, config: {} }])
  await fetchEnds(admin, topic)
  await producer.setPartitions(new Map([[topic, 1]]))

  // An event arrives before each read of the positions, and is applied at once.
  let events = 0
  const hgetall = async () => {
    await producer.send([{ topic, key: null, value: Buffer.from('x'), timestamp: 1 }])
    events += 1
    return { [positionField(topic, 0)]: String(events) }
  }
  const observation = await observe(
    { admin, redis: { hgetall } as unknown as RedisClient },
    await readTopicStatus(admin, topic),
    { topic, projection: 1, keyPrefix: '' },
    { deadline: performance.now() + 5000, signal: new AbortController().signal },
  )
  expect(progressReasons(observation, '')).toEqual([])
  expect(observation.last.progress).toMatchObject([{ position: BigInt(events) }])
})
