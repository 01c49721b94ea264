import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import { createRedis, type Redis, redisSettings } from '@customer-stream/runtime/redis'
import { freshNames } from '@customer-stream/testing'
import { startRedis } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createFillStore } from './fill-store.ts'
import type { IndexedCustomer } from './indexes.ts'
import { createStore } from './store.ts'

// The test has its own Redis. If another client sends a command while ioredis begins to monitor,
// Redis may send the answer and this command together, and ioredis throws an error.
let server: Awaited<ReturnType<typeof startRedis>>
let redis: Redis
beforeAll(async () => {
  server = await startRedis()
  redis = createRedis(loadSettings(redisSettings, { REDIS_URL: server.url }), createLogger('test', 'silent')) as Redis
  await redis.connect()
})
afterAll(async () => {
  redis.disconnect()
  await server.stop()
})

const { keyPrefix } = freshNames()
const options = { keyPrefix, topic: 'raw', projection: 1 }
const event = (timestamp: number, terms: IndexedCustomer['terms'] = []): IndexedCustomer => ({
  customerUuid: 'c',
  version: { timestamp, id: 'e' },
  terms,
  fieldsAndValues: ['_eventTimestamp', `${timestamp}`, '_eventId', 'e', '_projection', '1', '_source', 'raw/0/0'],
})

/** Returns the write commands of each script that `work` calls, in the order of the calls. */
const writesOfScripts = async (work: () => Promise<unknown>): Promise<string[][]> => {
  const monitor = await redis.duplicate().monitor()
  const calls: string[][] = []
  const end = `${keyPrefix}end`
  let isComplete = false
  monitor.on('monitor', (_time: string, [command = '', key = ''], source: string) => {
    if (key === end) isComplete = true
    else if (source !== 'lua' && /^eval/i.test(command)) calls.push([])
    else if (source === 'lua' && /^(set|del|hset|hdel|zadd|zrem)$/i.test(command)) calls.at(-1)?.push(command)
  })
  await work()
  await redis.exists(end)
  await waitUntil(
    'the monitor has all commands',
    () => isComplete,
    (done) => done,
  )
  monitor.disconnect()
  return calls
}

it('each script that stores a position, a token, a fill or the terms of a customer writes a transaction', async () => {
  const store = createStore(redis, options)
  const fills = createFillStore(redis, options)
  await store.applyChunk([event(9, ['phone:+1'])], 0, undefined, '1')
  await fills.beginFill(1, { stateTopicId: 's', next: '0', end: '9', rawFrom: '0', isComplete: true })
  const fill = (await fills.fills([1])).get(1)!
  const calls = await writesOfScripts(async () => {
    // An event that is older than the stored event changes only the position.
    await store.applyChunk([event(8)], 0, '1', '2')
    await store.movePosition(0, '2', '3')
    await store.writeChunk([event(8)], 0, '3', '4')
    await fills.moveFill(1, fill, { next: '5', isComplete: true, hasKept: false })
    await fills.endFill(1, (await fills.fills([1])).get(1)!)
    // Terms that change need three more scripts: for the entries, for the field _index, and for the
    // position.
    await store.applyChunk([event(10, ['phone:+2'])], 0, '3', '4')
    await store.applyChunk([event(11)], 0, '4', '5')
  })
  expect(calls.map((writes) => writes.length >= 2)).toEqual(Array(14).fill(true))
})
