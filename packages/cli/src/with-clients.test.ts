import { createRequire } from 'node:module'
import '@customer-stream/runtime/kafka'
import { expect, it, onTestFinished, vi } from 'vitest'
import { connectKafka, reportQuota } from './with-clients.ts'

const settings = { KAFKA_BROKERS: ['kafka:9092'], KAFKA_REQUEST_TIMEOUT_MS: 50 }

it('a command ends if Kafka accepts connections but never answers', async () => {
  const silent = { connect: () => new Promise<void>(() => {}) }
  await expect(connectKafka(silent, settings)).rejects.toThrow(
    'Kafka at kafka:9092 accepts connections, but did not answer within 0.1 s.',
  )
})

it('if Kafka answers with an error, a command reports this error', async () => {
  const wrong = { connect: () => Promise.reject(new Error('wrong password')) }
  await expect(connectKafka(wrong, settings)).rejects.toThrow('wrong password')
})

it('if a quota of Kafka delays a command, the command names the quota once', () => {
  vi.useFakeTimers()
  const lines: string[] = []
  vi.spyOn(process.stderr, 'write').mockImplementation((line) => lines.push(String(line)) > 0)
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/requestQueue')
  const queue = { throttledUntil: -1, broker: 'kafka:9092', clientId: 'cli', logger: { debug() {}, error() {} } }
  // Before the timer starts, because another test file of this worker may have noted a delay.
  prototype.maybeThrottle.call(queue, 9400)
  const timer = reportQuota('verify')
  onTestFinished(() => {
    clearInterval(timer)
    vi.useRealTimers()
    vi.restoreAllMocks()
  })
  vi.advanceTimersByTime(9000)
  expect(lines.join('').replace(/\s+/g, ' ')).toBe(
    'verify: kafka:9092 has delayed requests of the client id cli by 9.4 s, because they exceed a quota of Kafka. ' +
      'Raise the quota of the user or the client id. ',
  )
})
