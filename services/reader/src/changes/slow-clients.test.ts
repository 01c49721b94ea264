/**
 * Clients that read their socket slowly or not at all. `test/e2e/slow-streams.e2e.test.ts` tests
 * them with Kafka.
 */
import { waitUntil } from '@customer-stream/runtime'
import { createRegistry } from '@customer-stream/runtime/service'
import { openChangesClient } from '@customer-stream/testing/changes-client'
import { expect, it, onTestFinished } from 'vitest'
import { start } from '../http/fixtures/start-app.ts'
import { createReaderMetrics } from '../metrics.ts'
import { createChanges } from './changes.ts'

const TOPIC = 'abcdef01'.repeat(4)

/**
 * Returns the change at an offset, about 500 kB. Each call creates the change again, so the topic
 * needs no memory.
 */
const recordAt = (offset: number) => ({
  offset: String(offset),
  timestamp: '0',
  key: Buffer.from(`c${offset}`),
  value: Buffer.from(
    JSON.stringify({
      customerUuid: `c${offset}`,
      version: { timestamp: 1, id: 'e' },
      customer: { customerUuid: `c${offset}`, company: 'x'.repeat(500_000) },
      receivedAt: 1,
      source: { topic: 'raw', partition: 0, offset: '0' },
    }),
  ),
})
const customersOf = (count: number) => Array.from({ length: count }, (_, i) => `c${i}`)

/** Serves the changes of a topic on a real port. */
const serve = async (heartbeatMs: number) => {
  let end = 0
  const stopping = new AbortController()
  const registry = createRegistry('test')
  const changes = createChanges(
    {
      topic: {
        watermarks: async () => new Map([[0, { low: '0', stable: `${end}`, high: `${end}` }]]),
        read: async (_, offset) => ({ records: [recordAt(offset)], nextOffset: String(offset + 1) }),
      },
      metrics: createReaderMetrics(registry),
      stopping: stopping.signal,
      isAvailable: () => true,
    },
    { maxStreams: 10, maxKeyStreams: 10, heartbeatMs },
  )
  changes.tail.onBegin(TOPIC, new Map([[0, '0']]))
  const running = changes.run()
  const { app } = start({ open: changes.open })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  onTestFinished(async () => {
    stopping.abort()
    await running
    await app.close()
  })
  return {
    url,
    publish: () => changes.tail.onPart(0, { records: [recordAt(end)], nextOffset: String(++end) }),
    ended: async (reason: string) => {
      const { values } = await registry.getSingleMetric('reader_streams_ended_total')!.get()
      return values.find(({ labels }) => labels.reason === reason)?.value
    },
  }
}

const openClient = async (url: string) => {
  const client = await openChangesClient(url, 'full-key')
  onTestFinished(client.close)
  return client
}

it('a client that reads nothing between two heartbeats is cut off, even if it is not far behind', async () => {
  const CHANGES = 25
  const { url, publish, ended } = await serve(200)
  const [fast, slow] = await Promise.all([openClient(url), openClient(url)])
  slow!.pause()
  for (let count = 1; count <= CHANGES; count++) publish()
  await fast!.untilSeen(CHANGES)
  await waitUntil(
    'the slow client is cut off',
    () => ended('slow'),
    (count) => count === 1,
  )
  await slow!.untilCutOff()
  expect(slow!.seen.customers).toEqual(customersOf(slow!.seen.customers.length))
  expect(fast!.seen.isOpen).toBe(true)
})
