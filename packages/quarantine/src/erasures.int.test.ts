import { createAdmin, fetchEnds } from '@customer-stream/runtime/kafka'
import { writeErasure } from '@customer-stream/schemas'
import { administratorOf, freshNames, kafkajsOf } from '@customer-stream/testing'
import { testKafka, testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openErasures } from './erasures.ts'

const open = async () => {
  const kafka = testKafka(testKafkaSettings())
  const [admin, changes] = [createAdmin(kafka), createAdmin(kafka)]
  const producer = kafkajsOf(kafka).producer()
  await Promise.all([admin.connect(), changes.connect(), producer.connect()])
  onTestFinished(() => Promise.all([admin, changes, producer].map((client) => client.disconnect())).then(() => {}))
  const topic = `${freshNames().topicPrefix}erasures`
  const administrator = administratorOf(changes)
  const create = async () => {
    await administrator.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1 }] })
    await fetchEnds(changes, topic)
  }
  const erase = async (customerUuids: readonly string[]) => {
    const value = writeErasure({ erasedAt: 1, scope: 'forever', reason: 'test', requestedBy: 'test' })
    await producer.send({ topic, messages: customerUuids.map((key) => ({ key, value })) })
  }
  const remove = async () => {
    await administrator.deleteTopics({ topics: [topic] })
    const isGone = async () => expect(await administrator.listTopics()).not.toContain(topic)
    await vi.waitFor(isGone, { timeout: 30_000 })
  }
  return { admin, topic, create, erase, remove }
}

it('if the topic was created again, a refresh reads the new topic and keeps the earlier erasures', async () => {
  const { admin, topic, create, erase, remove } = await open()
  await create()
  await erase(['ada', 'bob'])
  const erasures = await openErasures(admin, topic, new AbortController().signal)
  expect([erasures.of('ada')?.scope, erasures.of('zoe')]).toEqual(['forever', undefined])
  await erase(['zoe'])
  await erasures.refresh()
  expect(erasures.of('zoe')?.scope).toBe('forever')
  await remove()
  await create()
  // The new topic has records at the offsets that were read before.
  await erase(['eve'])
  await erasures.refresh()
  expect([erasures.of('eve')?.scope, erasures.of('ada')?.scope]).toEqual(['forever', 'forever'])
})
