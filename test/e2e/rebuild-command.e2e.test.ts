/** `customer-stream rebuild` with a second set of projectors, and while Redis is filled. */
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import { positionsKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, openTcpProxy, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'
import { commandOf } from './run-command.ts'

const CUSTOMERS = 120

let pipeline: Pipeline
let ingress: ServiceProcess
let first: ServiceProcess
let run: ReturnType<typeof commandOf>
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  run = commandOf(pipeline, inject('brokers'))
  ingress = await pipeline.start('ingress')
  first = await pipeline.start('projector')
  await Promise.all([ingress.untilReady(), first.untilReady()])
  await Promise.all(Array.from({ length: CUSTOMERS }, (_, i) => store(`c${i}`)))
  await untilComplete()
})
afterAll(() => pipeline.close())

const store = async (customerUuid: string) => {
  expect((await pipeline.post(ingress, makeCustomersEvent({ customerUuid, timestamp: 1 }).body)).status).toBe(202)
}
const rebuild = (words: readonly string[] = [], settings: Readonly<Record<string, string>> = {}) =>
  run(['rebuild', ...words], settings)
const untilComplete = () =>
  waitUntil(
    'all events are applied',
    () => rebuild(),
    ({ code }) => code === 0,
    { pauseMs: 200, timeoutMs: 60_000 },
  )
const keyOf = (projection: number) => positionsKey(projection, pipeline.keyPrefix)

it('the rebuild command shows a rebuild up to its end, and then deletes the old positions', {
  timeout: 120_000,
}, async () => {
  const idle = await rebuild()
  expect(idle.stdout).toBe(
    'Projection 1 is complete: all records of the raw topic are applied.\n' +
      'To rebuild Redis: start a second set of projectors with PROJECTION_VERSION=2 and their own\n' +
      'CONSUMER_GROUP_ID, then run PROJECTION_VERSION=2 customer-stream rebuild --wait.\n',
  )
  // Before its projectors have begun, the new projection is not complete.
  const early = await rebuild([], { PROJECTION_VERSION: '2' })
  expect(early.code).toBe(1)
  expect(early.stdout).toMatch(/^Projection 2 is not complete: 0 % of \d+ records, no position moves\./)

  const { hostname, port } = new URL(inject('brokers').redisUrl)
  const network = await openTcpProxy({ host: hostname, port: Number(port) })
  onTestFinished(() => network.close())
  network.set({ delayMs: 150 })
  const waiting = rebuild(['--wait'], { PROJECTION_VERSION: '2' })
  const second = await pipeline.start('projector', {
    PROJECTION_VERSION: '2',
    CONSUMER_GROUP_ID: `${pipeline.keyPrefix}second`,
    REDIS_URL: `redis://127.0.0.1:${network.port}`,
    // Each chunk has one record, and the network is slow, so that the rebuild takes some seconds.
    CHUNK_RECORDS: '1',
  })
  const running = await waitUntil(
    'the rebuild is under way',
    () => rebuild(),
    ({ stdout }) => /^Projection 2 is not complete: [1-9]/.test(stdout),
    { pauseMs: 1 },
  )
  expect(running.code).toBe(1)
  expect(running.stdout).toMatch(/ % of \d+ records, \d+\/s, about \d+ (s|min)\b.* left\.\n/)
  expect(running.stdout).toContain('Keep the old projectors running until the rebuild is complete')
  const refused = await rebuild(['--delete-old'])
  if (refused.code === 1) expect(refused.stderr).toContain('nothing is deleted, because projection 2 is not complete')
  network.set('open')

  const done = await waiting
  expect({ code: done.code, stdout: done.stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^Projection 2 is complete: .*\n/),
  })
  expect(done.stdout).toContain(
    'Positions of projection 1: keep them. They say which records are already in quarantine.',
  )
  const hashes = await Promise.all(
    Array.from({ length: CUSTOMERS }, (_, i) =>
      pipeline.redis.hget(`${pipeline.keyPrefix}customer:{c${i}}`, '_projection'),
    ),
  )
  expect(new Set(hashes)).toEqual(new Set(['2']))
  await second.end()

  // Simulate a third projection that is complete. Then the positions of the first projection may be
  // deleted.
  await pipeline.redis.copy(keyOf(2), keyOf(3))
  const three = await rebuild()
  expect(three.stdout).toContain('Positions of projection 1: may be deleted (customer-stream rebuild --delete-old)')
  // The first projector still runs, so its position moves. Copy this position, so that the third
  // projection stays complete.
  const pace = setInterval(() => pipeline.redis.copy(keyOf(1), keyOf(3), 'REPLACE'), 50)
  const busy = rebuild(['--delete-old'])
  let sent = 0
  while ((await Promise.race([busy, sleep(100)])) === undefined) await store(`m${sent++}`)
  clearInterval(pace)
  expect(await busy).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('nothing is deleted: projectors with PROJECTION_VERSION=1 still run. Stop them'),
  })
  expect(await pipeline.redis.exists(keyOf(1))).toBe(1)
  await first.end()

  await pipeline.redis.copy(keyOf(1), keyOf(3), 'REPLACE')
  const deleted = await rebuild(['--delete-old'])
  expect(deleted).toMatchObject({ code: 0, stdout: expect.stringContaining('Positions of projection 1: deleted.') })
  expect(await Promise.all([1, 2, 3].map((projection) => pipeline.redis.exists(keyOf(projection))))).toEqual([0, 1, 1])
})

it('the rebuild command shows the progress of a fill', async () => {
  const key = keyOf(3)
  const field = `${pipeline.topics.customers}/4`
  await pipeline.redis.hset(key, `${field}#fill`, 'id/topic/20/50/0/complete')
  const { code, stdout } = await rebuild(['--json'])
  expect(code).toBe(1)
  const { isFilling, isComplete, left, partitions } = JSON.parse(stdout)
  expect({ isFilling, isComplete, left }).toEqual({ isFilling: true, isComplete: false, left: 30 })
  expect(partitions[4]).toMatchObject({ partition: 4, isFilling: true, left: 30 })
  await pipeline.redis.hdel(key, `${field}#fill`)
})

it('the rebuild command ends with one sentence if Redis has no positions', async () => {
  const { code, stderr } = await rebuild([], { REDIS_KEY_PREFIX: 'nowhere:' })
  expect([code, stderr]).toEqual([1, expect.stringContaining('Redis has no key nowhere:positions:v1, so no projector')])
  expect(await rebuild(['--dlete-old'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--delete-old') })
})
