import type { OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { afterEach, expect, it, vi } from 'vitest'
import { createLanes } from './lanes.ts'

afterEach(() => void vi.restoreAllMocks())

it('names the lane whose flush has not ended for half a minute, which an answer of Kafka to others would hide', async () => {
  const ends: (() => void)[] = []
  const openProducer = () => ({ send: () => new Promise<void>((resolve) => ends.push(resolve)) }) as unknown as VerifiedProducer
  const lanes = createLanes(['a', 'b'], openProducer, { maxRecords: 10, maxBytes: 10_000 })
  const record: OutgoingRecord = { topic: 'b', key: null, value: Buffer.from('v'), timestamp: 1 }
  const stored = lanes.publish(record, Number.POSITIVE_INFINITY)
  while (ends.length === 0) await new Promise(setImmediate)
  expect(lanes.stuck()).toBeUndefined()
  const startedAt = performance.now()
  vi.spyOn(performance, 'now').mockReturnValue(startedAt + 31_000)
  expect(lanes.stuck()).toBe('a flush to b has not ended for 31 s')
  ends[0]?.()
  expect(await stored).toBe('stored')
  expect(lanes.stuck()).toBeUndefined()
  await lanes.drain()
})
