import { expect, it } from 'vitest'
import { createReadiness, type ReadinessDependencies } from './readiness.ts'

const well: ReadinessDependencies = {
  startup: { phase: 'running' },
  kafkaOutage: async () => undefined,
  quotaDelay: () => undefined,
  redisCheck: { outage: async () => undefined },
  consumer: { joined: true, problem: undefined },
  projection: { waitingFor: undefined, fillProgress: undefined },
  progress: { standstill: undefined },
  obstacles: { blocked: undefined, worst: undefined },
  groupId: 'g',
}
const notReady = async (change: Partial<ReadinessDependencies>) =>
  (await createReadiness({ ...well, ...change })())
    .filter(({ ready }) => !ready)
    .map(({ name, detail }) => `${name}: ${detail}`)
const away = async () => ({ blocked: false, reason: 'outage', message: 'no answer' }) as const
const blocked = { blocked: true, reason: 'authorization', message: 'Grant READ on group g.' } as const

it.each<[string, Partial<ReadinessDependencies>, string[]]>([
  ['all is well', {}, []],
  ['Kafka does not answer', { kafkaOutage: away }, ['kafka: no answer']],
  ['Redis does not answer', { redisCheck: { outage: away } }, ['redis: no answer']],
  [
    'it has not joined its group',
    { consumer: { joined: false, problem: undefined } },
    ['group: joining the consumer group g; no event is applied before the join'],
  ],
  ['it may not join its group', { consumer: { joined: false, problem: blocked } }, ['group: Grant READ on group g.']],
  ['a person must act', { obstacles: { blocked, worst: blocked } }, ['blocked: Grant READ on group g.']],
  [
    'it may join its group only after a person has acted',
    { consumer: { joined: false, problem: blocked }, obstacles: { blocked, worst: blocked } },
    ['blocked: Grant READ on group g.', 'group: the same as blocked'],
  ],
  [
    'Kafka does not answer, and a partition stood still before',
    { kafkaOutage: away, progress: { standstill: 'raw/1 has 6 records' } },
    ['kafka: no answer'],
  ],
  [
    'it waits for the end of an outage',
    { projection: { waitingFor: 'Redis: LOADING', fillProgress: undefined } },
    ['projection: waiting for Redis: LOADING'],
  ],
  [
    'a partition stands still',
    { progress: { standstill: 'raw/1 has 6 records' } },
    ['projection: raw/1 has 6 records'],
  ],
  [
    'it starts, and no one has answered',
    { startup: { phase: 'starting' } },
    ['start: Kafka or Redis has not answered yet. If this lasts, check KAFKA_BROKERS and REDIS_URL.'],
  ],
  [
    'it starts, and an obstacle is known',
    { startup: { phase: 'starting' }, kafkaOutage: away, obstacles: { blocked, worst: blocked } },
    ['start: Grant READ on group g.'],
  ],
  [
    'it stops, and an obstacle is known',
    { startup: { phase: 'stopping' }, obstacles: { blocked, worst: blocked } },
    ['start: stopping'],
  ],
])('readiness names the reason if a projector is not ready: %s', async (_, change, expected) => {
  expect(await notReady(change)).toEqual(expected)
})

it('a projector is ready while Redis is being filled, and reports the progress', async () => {
  const checks = await createReadiness({ ...well, projection: { waitingFor: undefined, fillProgress: '3 of 4' } })()
  expect(checks.every(({ ready }) => ready)).toBe(true)
  expect(checks[0]).toEqual({ name: 'rebuild', ready: true, detail: '3 of 4' })
})

it('a projector that a quota delays is ready, and shows the quota', async () => {
  const checks = await createReadiness({ ...well, quotaDelay: () => 'delayed by 5 s' })()
  expect(checks).toContainEqual({ name: 'kafka', ready: true, detail: 'delayed by 5 s' })
})

it('an outage of Kafka hides an earlier delay by a quota', async () => {
  expect(await notReady({ kafkaOutage: away, quotaDelay: () => 'delayed by 5 s' })).toEqual(['kafka: no answer'])
})
