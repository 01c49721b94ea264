import type { TopicAdmin } from '@customer-stream/runtime/kafka'
import { expect, it } from 'vitest'
import { isFullyErased, keepsFor, type Remains } from './remains.ts'

const adminWith = (settings: Readonly<Record<string, string>>) =>
  ({ describeTopicConfig: async () => new Map(Object.entries(settings)) }) as unknown as TopicAdmin
const LONGEST = '9223372036854775807'

it.each([
  ['retention and the time of a segment', { 'retention.ms': '1000', 'segment.ms': '10' }, 1010],
  ['unlimited retention', { 'retention.ms': '-1', 'segment.ms': '10' }, 'forever'],
  ['the longest retention', { 'retention.ms': LONGEST, 'segment.ms': '10' }, 'forever'],
  ['the time until a compaction', { 'cleanup.policy': 'compact', 'max.compaction.lag.ms': '700' }, 700],
  ['no time limit of a compaction', { 'cleanup.policy': 'compact', 'max.compaction.lag.ms': LONGEST }, 'compaction'],
])('keepsFor calculates the time that a topic keeps deleted data from %s', async (_, settings, expected) => {
  expect(await keepsFor(adminWith({ 'cleanup.policy': 'delete', ...settings }), 't')).toBe(expected)
})

it('keepsFor returns unknown if a right is missing, and rejects during an outage', async () => {
  const failing = (error: Error) => ({ describeTopicConfig: () => Promise.reject(error) }) as unknown as TopicAdmin
  const denied = Object.assign(new Error('denied'), {
    name: 'KafkaJSProtocolError',
    type: 'TOPIC_AUTHORIZATION_FAILED',
  })
  expect(await keepsFor(failing(denied), 't')).toBe('unknown')
  await expect(keepsFor(failing(new Error('away')), 't')).rejects.toThrow('away')
})

it('an erasure is complete if only its record and its mark in Redis are left', () => {
  const complete: Remains = {
    customerUuid: 'a',
    erasure: { erasedAt: 1, scope: 'forever', reason: 'r', requestedBy: 'ops' },
    redis: { hash: false, mark: true, entries: 0 },
    topics: [{ topic: 't', records: 0, unreadable: 0, keepsFor: 'forever' }],
  }
  expect(isFullyErased(complete)).toBe(true)
  const incomplete: readonly Partial<Remains>[] = [
    { erasure: null },
    { redis: { hash: true, mark: true, entries: 0 } },
    { redis: { hash: false, mark: false, entries: 0 } },
    { redis: { hash: false, mark: true, entries: 1 } },
    { topics: [{ topic: 't', records: 1, newestAt: 1, unreadable: 0, keepsFor: 'forever' }] },
    { topics: [{ topic: 't', records: 0, unreadable: 1, keepsFor: 'forever' }] },
  ]
  for (const each of incomplete) expect(isFullyErased({ ...complete, ...each })).toBe(false)
})
