import { afterEach, expect, it, vi } from 'vitest'
import type { Logger } from '../process/log.ts'
import { loadSettings } from '../process/settings.ts'
import { createKafka } from './client.ts'
import { kafkajsOf } from './kafka-client.ts'
import { kafkaSettings } from './settings.ts'

afterEach(() => void vi.restoreAllMocks())

it('an error of kafkajs is logged as a warning, at most once in ten seconds', () => {
  const said: string[] = []
  const logger = { warn: (_: object, message: string) => said.push(message) } as unknown as Logger
  const kafka = createKafka(loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:1' }), {
    clientId: 'c',
    logger,
    requestTimeoutMs: 1000,
  })
  const now = vi.spyOn(performance, 'now').mockReturnValue(0)
  for (const message of ['down', 'down', 'up', 'down']) kafkajsOf(kafka).logger().error(message)
  expect(said).toEqual(['down', 'up'])
  now.mockReturnValue(10_000)
  kafkajsOf(kafka).logger().error('down')
  expect(said).toEqual(['down', 'up', 'down'])
})
