import type { Admin } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { fetchEnds } from './read-topic.ts'

it('waits until it is told where every partition ends: one without a leader is left out of what Kafka says', async () => {
  const ends = [0, 1].map((partition) => ({ partition, offset: '7', low: '0', high: '7' }))
  let asked = 0
  const admin = {
    fetchTopicOffsets: async () => (++asked < 3 ? ends.slice(0, 1) : ends),
    fetchTopicMetadata: async () => ({ topics: [{ name: 't', partitions: [{ leader: 1 }, { leader: -1 }] }] }),
  } as unknown as Admin
  expect(await fetchEnds(admin, 't')).toEqual(ends)
  expect(asked).toBe(3)
})
