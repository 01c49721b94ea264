import { expect, it } from 'vitest'
import { createDeliveryAssignment } from './delivery-assignment.ts'
import { createMemoryStore } from './fixtures/memory-store.ts'
import type { RunningConsumer } from './run-consumer.ts'

const PARTITIONS = 2000

it('one request for watermarks is enough for the positions of thousands of partitions', async () => {
  const partitions = Array.from({ length: PARTITIONS }, (_, partition) => partition)
  let requests = 0
  const admin = {
    connect: async () => {},
    fetchTopicOffsets: async () => {
      requests += 1
      return partitions.map((partition) => ({ partition, offset: '9', low: '3', high: '9' }))
    },
  }
  const seeks: { partition: number; offset: string }[] = []
  const consumer = {
    seek: ({ partition, offset }: { partition: number; offset: string }) => seeks.push({ partition, offset }),
  }
  const store = createMemoryStore()
  store.positions.set(7, '5')
  const assignment = createDeliveryAssignment({
    topic: 't',
    partitions,
    store,
    storeTimeoutMs: 1000,
    admin: admin as never,
    running: { consumer, signal: new AbortController().signal } as unknown as RunningConsumer,
  })
  await assignment.loading
  expect(seeks).toEqual(partitions.map((partition) => ({ partition, offset: partition === 7 ? '5' : '3' })))
  expect([assignment.position(7), assignment.position(8)]).toEqual(['5', undefined])
  expect(requests).toBe(1)
})
