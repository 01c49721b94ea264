import { createRequire } from 'node:module'
import kafkajs, { type Kafka } from 'kafkajs'
import { expect, it } from 'vitest'
import { createConsumer } from './own-offsets.ts'

interface OffsetManager {
  resolveOffsets(): Promise<void>
}
const OffsetManager = createRequire(import.meta.url)('kafkajs/src/consumer/offsetManager') as new (
  options: object,
) => OffsetManager

/** Creates the object in which kafkajs keeps the offsets of one member of a group. */
const memberOf = (offsets: object, memberAssignment: Readonly<Record<string, readonly number[]>>) =>
  new OffsetManager({
    cluster: { committedOffsets: () => offsets },
    coordinator: { isConnected: () => true, offsetFetch: async () => ({ responses: [] }) },
    memberAssignment,
    topicConfigurations: {},
    groupId: 'g',
  })

it('known limit of kafkajs: if members share offsets, a member without a partition ends another member', async () => {
  const shared = {}
  const owner = memberOf(shared, { topic: [0] })
  await owner.resolveOffsets()
  memberOf(shared, {})
  await expect(owner.resolveOffsets()).rejects.toThrow(`Cannot read properties of undefined (reading '0')`)
})

it('a member without a partition does not affect a member with its own offsets', async () => {
  const owner = memberOf({}, { topic: [0] })
  memberOf({}, {})
  await expect(owner.resolveOffsets()).resolves.toBeUndefined()
})

it('each consumer has its own offsets, and the Kafka object keeps its offsets for other consumers', () => {
  const kafka = new kafkajs.Kafka({ brokers: ['127.0.0.1:1'] })
  const offsetsOf = (from: Kafka) => {
    const field = Object.getOwnPropertySymbols(from).find((symbol) => symbol.description?.endsWith('offsets'))
    return (from as unknown as Record<symbol, Map<string, object>>)[field!]
  }
  const before = offsetsOf(kafka)
  const found = [before]
  const { consumer } = kafka
  kafka.consumer = (config) => {
    found.push(offsetsOf(kafka))
    return consumer.call(kafka, config)
  }
  for (let i = 0; i < 2; i++) createConsumer(kafka, { groupId: 'g' })
  expect([before, new Set(found).size]).toEqual([expect.any(Map), 3])
  expect(offsetsOf(kafka)).toBe(before)
})
