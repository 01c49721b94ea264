import type { Diagnosis } from '@customer-stream/runtime'
import { TopicError } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { expect, it, onTestFinished, vi } from 'vitest'
import { UnsafeRedisError } from './redis-check.ts'
import { createStartup } from './startup.ts'

const blocked: Diagnosis = { blocked: true, reason: 'authorization', message: 'Grant READ on group g.' }

const setUp = ({ obstacle }: { obstacle?: Diagnosis } = {}) => {
  const steps: string[] = []
  const reports: [string, string | undefined][] = []
  const logged: string[] = []
  const ends: Error[] = []
  /** Functions by step name. Each function runs in its step, and throws to make the step fail. */
  const before: Record<string, (() => unknown) | undefined> = {}
  const step = (name: string) => async () => {
    steps.push(name)
    await before[name]?.()
  }
  const diagnosisOf =
    (server: string) =>
    (error: unknown): Diagnosis => ({
      blocked: false,
      reason: 'outage',
      message: `${server}: ${(error as Error).message}`,
    })
  const startup = createStartup(
    {
      redis: { status: 'ready', ping: step('redis') } as unknown as RedisClient,
      redisCheck: { check: step('redis check'), diagnose: diagnosisOf('Redis') },
      store: { ping: step('ping'), announce: (instance) => step(`announce ${instance}`)() },
      admin: { connect: step('admin') },
      outputs: { connect: step('outputs') },
      consumer: { connect: step('consumer'), start: step('start') },
      topicWatch: { start: step('topics'), checkRights: step('writes') },
      measure: step('measure'),
      obstacles: { blocked: obstacle, report: (task, diagnosis) => reports.push([task, diagnosis?.message]) },
      diagnose: diagnosisOf('Kafka'),
      logger: { info: ({ event }: { event: string }) => logged.push(event) } as never,
      lifecycle: { fail: (error) => ends.push(error) },
    },
    { topic: 'raw', groupId: 'g', instance: 'me', backoff: { initialMs: 1, maxMs: 1 } },
  )
  onTestFinished(() => startup.stop())
  return {
    startup,
    run: () => startup.run(step('listen') as () => Promise<never>),
    steps,
    reports,
    logged,
    ends,
    before,
  }
}
const fail = (error: Error) => () => {
  throw error
}

it('the start opens the admin port, Redis and Kafka, and joins the group last', async () => {
  const { startup, run, steps, logged, ends } = setUp()
  expect(startup.phase).toBe('starting')
  await run()
  const kafka = ['admin', 'outputs', 'consumer', 'topics', 'measure', 'writes', 'announce me', 'start']
  expect(steps).toEqual(['listen', 'redis', 'redis check', 'ping', ...kafka])
  expect([startup.phase, logged, ends]).toEqual(['running', ['listening', 'ready'], []])
})

it.each([
  ['Redis', 'redis'],
  ['Redis', 'redis check'],
  ['Redis', 'ping'],
  ['Kafka', 'admin'],
  ['Kafka', 'topics'],
  ['Kafka', 'start'],
])('the start retries in an outage of %s and reports the outage: %s', async (server, name) => {
  const { startup, run, steps, reports, before } = setUp()
  before[name] = () => {
    if (steps.filter((step) => step === name).length < 3) throw new Error('no answer')
  }
  await run()
  const outage = ['start', `${server}: no answer`]
  expect([reports, startup.phase]).toEqual([[outage, outage, ['start', undefined]], 'running'])
})

it('the start reports Redis if Redis fails after Kafka has failed', async () => {
  const { run, reports, before } = setUp()
  before.admin = () => {
    before.admin = undefined
    before.ping = () => {
      before.ping = undefined
      throw new Error('no answer')
    }
    throw new Error('no answer')
  }
  await run()
  expect(reports).toEqual([
    ['start', 'Kafka: no answer'],
    ['start', 'Redis: no answer'],
    ['start', undefined],
  ])
})

it.each<[string, Error]>([
  ['topics', new TopicError('the topic raw is missing')],
  ['redis check', new UnsafeRedisError('Redis may drop customers')],
  ['listen', new Error('EADDRINUSE')],
])('the start ends the process after an error that needs a person: %s', async (name, error) => {
  const { startup, run, steps, ends, reports, before } = setUp()
  before[name] = fail(error)
  await run()
  expect([ends, reports, startup.phase]).toEqual([[error], [], 'starting'])
  expect(steps.at(-1)).toBe(name)
})

it('the start retries slowly while a person must repair something', async () => {
  const slow = setUp({ obstacle: blocked })
  const fast = setUp()
  for (const { before } of [slow, fast]) before.admin = fail(new Error('no answer'))
  const runs = [slow.run(), fast.run()]
  await vi.waitFor(() => expect(fast.reports.length).toBeGreaterThan(5))
  expect(slow.reports.length).toBe(1)
  for (const { startup } of [slow, fast]) startup.stop()
  await Promise.all(runs)
})

it('a start that is stopped never becomes ready', async () => {
  const { startup, run, logged, ends, before } = setUp()
  before.admin = () => {
    startup.stop()
    throw new Error('no answer')
  }
  await run()
  expect([startup.phase, logged, ends]).toEqual(['stopping', ['listening'], []])
})

it('a projector is not running during a shutdown', async () => {
  const { startup, run } = setUp()
  await run()
  startup.stop()
  expect(startup.phase).toBe('stopping')
})

it('the first lag is measured after the topic check, before the group is joined', async () => {
  const { run, steps, before } = setUp()
  const never = new Promise<never>(() => {})
  before.start = () => never
  void run()
  await vi.waitFor(() => expect(steps).toContain('start'))
  expect(steps.filter((step) => ['topics', 'measure', 'start'].includes(step))).toEqual(['topics', 'measure', 'start'])
})

it.each<[string, () => unknown]>([
  ['fails', fail(new Error('no answer'))],
  ['does not end', () => new Promise<never>(() => {})],
])('the first measurement of the lag does not delay the start if it %s', async (_, measure) => {
  const { startup, run, reports, before } = setUp()
  before.measure = measure
  await run()
  expect([startup.phase, reports]).toEqual(['running', [['start', undefined]]])
})

it('the lag can be measured after the first topic check, even if that check failed', async () => {
  const { startup, run, steps, before } = setUp()
  const seen: boolean[] = []
  before.topics = () => {
    seen.push(startup.topicsChecked)
    throw new TopicError('the topic raw is missing')
  }
  await run()
  expect([seen, startup.topicsChecked, steps.includes('measure')]).toEqual([[false], true, false])
})
