/** All data of Kafka is lost and restored from a copy of its disk, as docs/operating.md says. */
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { PROJECTION_VERSION, positionsKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  type InspectableBrokers,
  openPipeline,
  type Pipeline,
  type ServiceProcess,
  startInspectableBrokers,
} from '@customer-stream/testing'
import { afterEach, beforeEach, expect, it } from 'vitest'

let brokers: InspectableBrokers
let pipeline: Pipeline
let projector: ServiceProcess | undefined
beforeEach(async () => {
  brokers = await startInspectableBrokers({})
  pipeline = await openPipeline(brokers)
})
afterEach(async () => {
  await pipeline?.close()
  await brokers?.stop()
})

const kafkaData = () => join(brokers.folder, 'kafka-1', 'data')
const kafkaBackup = () => join(brokers.folder, 'backup')
const partition = { KAFKA_PARTITIONS: '1' }

/** Sends events through an ingress, which then ends. */
const send = async (events: number) => {
  const ingress = await pipeline.start('ingress', partition)
  await ingress.untilReady()
  for (let i = 0; i < events; i++) expect((await pipeline.post(ingress, makeCustomersEvent().body)).status).toBe(202)
  await ingress.end()
}
const startProjector = async () => {
  projector = await pipeline.start('projector', partition)
  await projector.untilReady()
}
const endProjector = async () => {
  await projector?.end()
  projector = undefined
}
const untilApplied = () =>
  waitUntil(
    'all events are applied',
    async () => {
      const [end] = await pipeline.administrator.fetchTopicOffsets(pipeline.topics.customers)
      const positions = await pipeline.redis.hgetall(positionsKey(PROJECTION_VERSION, pipeline.keyPrefix))
      return [positions[`${pipeline.topics.customers}/0`], end?.high] as const
    },
    ([position, end]) => position === end,
    { timeoutMs: 60_000, pauseMs: 100 },
  )

const copyDisk = async () => {
  await brokers.kafka.kill()
  await cp(kafkaData(), kafkaBackup(), { recursive: true })
  await brokers.kafka.restart()
}
const restoreDisk = async () => {
  await brokers.kafka.kill()
  await rm(kafkaData(), { recursive: true })
  await cp(kafkaBackup(), kafkaData(), { recursive: true })
  await brokers.kafka.restart()
}
const verified = () =>
  pipeline.verify(undefined, { stateTopic: pipeline.stateTopic, erasuresTopic: pipeline.erasuresTopic })

it('after the loss of Kafka and Redis, a copy of the disk of Kafka restores both', { timeout: 180_000 }, async () => {
  await startProjector()
  await send(50)
  await untilApplied()
  await endProjector()
  await copyDisk()
  await pipeline.redis.flushall()
  await restoreDisk()
  await startProjector()
  await send(10)
  await untilApplied()
  expect(await verified()).toMatchObject({ customers: 60, wrong: [] })
})

it('events of a restored Kafka are applied if the newer positions in Redis are deleted first', {
  timeout: 180_000,
}, async () => {
  await startProjector()
  await send(20)
  await untilApplied()
  await copyDisk()
  await send(20)
  await untilApplied()
  await endProjector()
  await restoreDisk()
  await send(30)
  // Kafka has 50 records now. The position in Redis is 40.
  await pipeline.redis.del(positionsKey(PROJECTION_VERSION, pipeline.keyPrefix))
  await startProjector()
  await untilApplied()
  // Kafka has lost 20 customers. Redis still has them.
  const { customers, wrong } = await verified()
  expect([customers, wrong.map(({ reason }) => reason)]).toEqual([
    50,
    Array.from({ length: 20 }, () => 'is in Redis only: Kafka has neither an event nor a document'),
  ])
})
