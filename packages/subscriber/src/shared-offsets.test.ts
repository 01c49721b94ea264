import { createRequire } from 'node:module'
import { expect, it } from 'vitest'

interface OffsetManager {
  resolveOffsets(): Promise<void>
}
const OffsetManager = createRequire(import.meta.url)('kafkajs/src/consumer/offsetManager') as new (
  options: object,
) => OffsetManager

/** Creates what kafkajs has for each member of a group. `offsets` belong to a `Kafka` object. */
const memberOf = (offsets: object, memberAssignment: Readonly<Record<string, readonly number[]>>) =>
  new OffsetManager({
    cluster: { committedOffsets: () => offsets },
    coordinator: { isConnected: () => true, offsetFetch: async () => ({ responses: [] }) },
    memberAssignment,
    topicConfigurations: {},
    groupId: 'g',
  })

it('known limit of kafkajs: a member without a partition ends another member of the same Kafka object', async () => {
  const shared = {}
  const owner = memberOf(shared, { topic: [0] })
  await owner.resolveOffsets()
  memberOf(shared, {})
  await expect(owner.resolveOffsets()).rejects.toThrow(`Cannot read properties of undefined (reading '0')`)
})

it('a member without a partition does not affect a member of another Kafka object', async () => {
  const owner = memberOf({}, { topic: [0] })
  memberOf({}, {})
  await expect(owner.resolveOffsets()).resolves.toBeUndefined()
})
