import type { ReaderSettings } from '@customer-stream/configuration'
import { createLogger } from '@customer-stream/runtime'
import { freshNames } from '@customer-stream/testing'
import { testKafkaSettings } from '@customer-stream/testing/vitest'
import { expect, it, onTestFinished } from 'vitest'
import { createReaderKafka } from './kafka.ts'

const setUp = () => {
  const lines: string[] = []
  const kafka = createReaderKafka({
    settings: { ...testKafkaSettings(), KAFKA_STATE_TOPIC: true } as ReaderSettings,
    metrics: { kafkaAvailable: { set: () => {} } } as never,
    obstacles: { report: () => {} },
    logger: createLogger('reader', 'info', { write: (line) => void lines.push(line) }),
  })
  onTestFinished(() => void kafka.disconnect())
  return { kafka, lines, topic: `${freshNames().topicPrefix}missing` }
}

it.each([
  ['a warning', {}, 1],
  ['no warning if the topic may be missing', { mayBeMissing: true }, 0],
])('a client that asks for a missing topic logs %s', async (_, options, warnings) => {
  const { kafka, lines, topic } = setUp()
  const admin = kafka.openAdmin(options)
  await admin.connect()
  await expect(admin.describeTopics([topic])).rejects.toThrow('does not host this topic-partition')
  expect(lines.filter((line) => line.includes('"level":"warn"'))).toHaveLength(warnings)
})
