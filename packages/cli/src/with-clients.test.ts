import { expect, it } from 'vitest'
import { connectKafka } from './with-clients.ts'

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
