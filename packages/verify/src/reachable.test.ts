import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { requireReachable } from './reachable.ts'

const server = createServer((socket) => socket.destroy())
let open: number
beforeEach(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  open = (server.address() as AddressInfo).port
})
afterEach(() => server.close())

it('an unreachable Kafka is reported with address, cause and setting', async () => {
  const settings = { KAFKA_BROKERS: ['127.0.0.1:1', '[::1]:1'], REDIS_URL: `redis://127.0.0.1:${open}` }
  await expect(requireReachable(settings)).rejects.toThrow(
    /^Kafka cannot be reached at 127\.0\.0\.1:1 \(ECONNREFUSED\), ::1:1 \(\w+\)\. The address comes from KAFKA_BROKERS/,
  )
})

it('an unreachable Redis is reported with address, cause and setting, but no password', async () => {
  const settings = { KAFKA_BROKERS: [`127.0.0.1:${open}`], REDIS_URL: 'redis://user:secret@127.0.0.1:1/0' }
  const told = await requireReachable(settings).catch((error: Error) => error.message)
  expect(told).toContain('Redis cannot be reached at 127.0.0.1:1 (ECONNREFUSED). The address comes from REDIS_URL')
  expect(told).not.toContain('secret')
})

it('Kafka counts as reachable if one broker answers', async () => {
  await requireReachable({
    KAFKA_BROKERS: ['127.0.0.1:1', `127.0.0.1:${open}`],
    REDIS_URL: `redis://127.0.0.1:${open}`,
  })
})
