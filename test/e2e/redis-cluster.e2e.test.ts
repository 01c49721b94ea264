import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import { createSimulation } from '@customer-stream/simulator'
import {
  inspectCommand,
  openPipeline,
  type Pipeline,
  type RedisCluster,
  type ServiceProcess,
  startRedisCluster,
  storeCustomer,
} from '@customer-stream/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'

const command = fileURLToPath(new URL('../../packages/cli/start.js', import.meta.url))

let cluster: RedisCluster
let pipeline: Pipeline
let projector: ServiceProcess
let ingress: ServiceProcess
beforeAll(async () => {
  cluster = await startRedisCluster()
})
afterAll(() => cluster?.stop())
beforeEach(async () => {
  pipeline = await openPipeline({
    kafkaBrokers: inject('brokers').kafkaBrokers,
    redisUrl: cluster.url,
    redisEnv: { REDIS_CLUSTER: 'true' },
  })
  ingress = await pipeline.start('ingress')
  await ingress.untilReady()
  projector = await pipeline.start('projector', { POSITION_CHECK_MS: '200' })
  await projector.untilReady()
})
afterEach(() => pipeline.close())

const simulation = (events: number, ratePerSecond?: number, signal?: AbortSignal) => {
  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const run = createSimulation({
    url: `${ingress.url}/webhooks/mykaarma`,
    secret: pipeline.secret,
    token: pipeline.token,
    events,
    customers: Math.min(Math.ceil(events / 4), 750),
    repeats: 0.1,
    disorder: 0.2,
    retryBaseMs: 100,
    ledgerPath,
    ...(ratePerSecond !== undefined && { ratePerSecond }),
    ...(signal && { signal }),
  })
  return { run, ledgerPath }
}
const sound = { missing: [], wrong: [] }
const applied = (more: number) =>
  waitUntil(
    `${more} events are applied`,
    () => projector.metric('projector_events_total'),
    (events) => events >= more,
  )
/**
 * Returns the number of failed requests to Redis. Requests to Kafka are not counted, because a
 * request may fail while the topics are new.
 */
const redisFailures = () => projector.metric('projector_failures_total', { operation: 'Redis' })
const customersOf = (master: RedisCluster['masters'][number]) => master.client.keys(`${pipeline.keyPrefix}customer:*`)

it('a projector with settings for a single Redis refuses to start on a Redis Cluster', async () => {
  const unaware = await pipeline.start('projector', {
    REDIS_CLUSTER: 'false',
    REDIS_URL: cluster.masters[0]?.url ?? '',
  })
  expect(await unaware.ended).toBe(1)
  expect(await readFile(unaware.logFile, 'utf8')).toContain('REDIS_CLUSTER=true')
})

describe('a projector on Redis Cluster', () => {
  it('a projector on Redis Cluster spreads customers over all masters and applies all newest events', async () => {
    const { run, ledgerPath } = simulation(3000)
    expect(await run.run()).toMatchObject({ promised: 3000, lost: 0 })
    const verdict = await pipeline.verify(ledgerPath)
    expect(verdict).toMatchObject({ ...sound, promisedEvents: 3000 })
    const counts = (await Promise.all(cluster.masters.map(customersOf))).map((keys) => keys.length)
    expect(counts.reduce((sum, count) => sum + count)).toBe(verdict.customers)
    expect(Math.min(...counts)).toBeGreaterThan(verdict.customers / 6)
    expect(await projector.metric('projector_rewinds_total')).toBe(0)
    expect(await redisFailures()).toBe(0)
  })

  it('the verify command compares all customers on Redis Cluster', async () => {
    await simulation(400).run.run()
    const env = {
      ...process.env,
      KAFKA_BROKERS: inject('brokers').kafkaBrokers.join(','),
      KAFKA_TOPIC_PREFIX: pipeline.topics.customers.replace('customers.raw', ''),
      REDIS_URL: cluster.url,
      REDIS_CLUSTER: 'true',
      REDIS_KEY_PREFIX: pipeline.keyPrefix,
    }
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      ['--conditions=customer-stream-source', command, 'verify'],
      { env },
    )
    inspectCommand(['verify'], stdout + stderr, env)
    expect(stdout).toMatch(/customers compared, every field +[1-9]/)
    expect(stdout).toMatch(/of these wrong in Redis +0/)
  })

  it('a projector on Redis Cluster continues while slots move to other masters', async () => {
    // Events are sent while the slots move.
    const moved = new AbortController()
    const { run, ledgerPath } = simulation(100_000, 600, moved.signal)
    const sending = run.run()
    await applied(300)
    // Move all slots of the first master that have customers, and slot 0, which has a copy of the
    // positions.
    const [from] = cluster.masters
    if (!from) throw new Error('there is no master')
    const slots = new Set([0])
    for (const key of await customersOf(from)) slots.add(Number(await from.client.cluster('KEYSLOT', key)))
    expect(slots.size).toBeGreaterThan(20)
    for (const slot of slots) await cluster.moveSlot(slot)
    moved.abort()
    const { made, promised, lost, stopped } = await sending
    expect([lost, promised + stopped]).toEqual([0, made])
    expect(await pipeline.verify(ledgerPath)).toMatchObject(sound)
    expect(await projector.metric('projector_rewinds_total')).toBe(0)
    expect(await redisFailures()).toBe(0)
  })

  it('a projector waits for a killed master, reports the outage, and continues afterwards', async () => {
    const { run, ledgerPath } = simulation(3000, 600)
    const sending = run.run()
    await applied(300)
    const [, master] = cluster.masters
    await master?.kill()
    await waitUntil(
      'the projector reports that it waits',
      async () => (await fetch(`${projector.adminUrl}/readyz`)).text(),
      (answer) => answer.includes('waiting for Redis'),
    )
    expect(await sending).toMatchObject({ promised: 3000, lost: 0 })
    await master?.restart()
    expect(await pipeline.verify(ledgerPath)).toMatchObject(sound)
    await projector.untilReady()
    expect(await projector.metric('projector_rewinds_total')).toBe(0)
  })

  it('a projector that starts during an outage of the cluster becomes ready afterwards', async () => {
    const [one, other] = cluster.masters
    await one?.kill()
    await waitUntil(
      'the other masters have noticed the outage',
      () => other?.client.cluster('INFO'),
      (info) => String(info).includes('cluster_state:fail'),
    )
    const late = await pipeline.start('projector')
    await waitUntil(
      'the projector has failed to connect',
      () => readFile(late.logFile, 'utf8'),
      (log) => log.includes('the service keeps trying'),
    )
    await one?.restart()
    await late.untilReady()
  })

  it.each([
    ['came back empty', 'none'],
    ['was set back to a backup', 'backup'],
  ] as const)('on Redis Cluster, a projector fills a master that %s, even without new events', async (_, data) => {
    const { run, ledgerPath } = simulation(1000)
    const [, , master] = cluster.masters
    if (!master) throw new Error('there are fewer than three masters')
    await run.run()
    await master.backUp()
    // The backup must lack a customer and its position. Otherwise the restored master would have
    // lost nothing.
    const known = (await customersOf(master)).length
    for (let i = 0; (await customersOf(master)).length === known; i++)
      await storeCustomer(pipeline, ingress, `after-the-backup-${i}`, 1)
    expect(await pipeline.verify(ledgerPath)).toMatchObject(sound)
    await master.kill()
    await master.restart(data)
    await waitUntil(
      'the projector has noticed the lost data',
      () => projector.metric('projector_rewinds_total'),
      (rewinds) => rewinds > 0,
    )
    expect(await pipeline.verify(ledgerPath)).toMatchObject(sound)
  })
})
