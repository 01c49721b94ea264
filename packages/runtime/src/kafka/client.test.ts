import { afterEach, expect, it, vi } from 'vitest'
import type { Logger } from '../process/log.ts'
import { loadSettings } from '../process/settings.ts'
import { createKafka } from './client.ts'
import { kafkajsOf } from './kafka-client.ts'
import { kafkaSettings } from './settings.ts'

afterEach(() => void vi.restoreAllMocks())

it('an error of kafkajs is logged as a warning, at most once in ten seconds for all clients together', () => {
  const said: string[] = []
  const logger = {
    warn: ({ heldBack }: { heldBack: number }, message: string) => said.push(`${message} ${heldBack}`),
  } as unknown as Logger
  const settings = loadSettings(kafkaSettings, { KAFKA_BROKERS: 'a:1' })
  const [one, other] = ['one', 'other'].map((clientId) => kafkajsOf(createKafka(settings, { clientId, logger })))
  const now = vi.spyOn(performance, 'now').mockReturnValue(0)
  for (const message of ['down', 'down', 'up', 'down']) one!.logger().error(message)
  other!.logger().error('down')
  expect(said).toEqual(['down 0', 'up 0'])
  now.mockReturnValue(10_000)
  other!.logger().error('down')
  expect(said).toEqual(['down 0', 'up 0', 'down 3'])
})
