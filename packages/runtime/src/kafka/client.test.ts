import { afterEach, expect, it, vi } from 'vitest'
import type { Logger } from '../log.ts'
import { loadSettings } from '../settings.ts'
import { createKafka } from './client.ts'
import { kafkaSettings } from './settings.ts'

afterEach(() => void vi.restoreAllMocks())

it('passes on a message of kafkajs once in ten seconds, where the library repeats it with every try', () => {
  const said: string[] = []
  const logger = { error: (_: object, message: string) => said.push(message) } as unknown as Logger
  const kafka = createKafka(loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:1' }), { clientId: 'c', logger, requestTimeoutMs: 1000 })
  const now = vi.spyOn(performance, 'now').mockReturnValue(0)
  for (const message of ['down', 'down', 'up', 'down']) kafka.logger().error(message)
  expect(said).toEqual(['down', 'up'])
  now.mockReturnValue(10_000)
  kafka.logger().error('down')
  expect(said).toEqual(['down', 'up', 'down'])
})
