import type { Kafka } from 'kafkajs'
import { expect, it } from 'vitest'
import { createMemoryStore } from './fixtures/memory-store.ts'
import { subscribeToDeliveries } from './subscribe-to-deliveries.ts'

// Node would run a longer timer at once, so the first chunk would end the subscription.
it.each([Number.POSITIVE_INFINITY, 2 ** 31, 0, Number.NaN])('storeTimeoutMs %s is refused', async (storeTimeoutMs) => {
  const kafka = { admin: () => expect.unreachable() } as unknown as Kafka
  const subscription = { kafka, groupId: 'g', store: createMemoryStore(), storeTimeoutMs }
  await expect(subscribeToDeliveries(subscription)).rejects.toThrow(RangeError)
})
