import { loadSettings } from '@customer-stream/runtime'
import { createDiagnose, kafkaSettings } from '@customer-stream/runtime/kafka'
import { createObstacles, createRegistry } from '@customer-stream/runtime/service'
import { silentLogger } from '@customer-stream/testing/vitest'
import { expect, it } from 'vitest'
import { createReadiness, type ReadinessDependencies } from './readiness.ts'

const outage = { blocked: false, reason: 'outage', message: 'no broker answers' } as const
const setUp = (changed: Partial<ReadinessDependencies> = {}) => {
  const obstacles = createObstacles(createRegistry('ingress'), silentLogger)
  const stopping = new AbortController()
  const stuck: string[] = []
  const readiness = createReadiness({
    connection: { topicsChecked: true, warnings: [], outage: async () => undefined },
    quotaDelay: () => undefined,
    publishers: { outage: () => undefined, stuck: () => undefined },
    spool: undefined,
    obstacles,
    diagnose: createDiagnose(loadSettings(kafkaSettings, { KAFKA_BROKERS: 'kafka:9092' })),
    maxBodyBytes: 1000,
    stopping: stopping.signal,
    onStuck: ({ message }) => stuck.push(message),
    ...changed,
  })
  return { ...readiness, obstacles, stopping, stuck }
}
const noAnswer = { topicsChecked: true, warnings: [], outage: async () => outage }
const spoolWith = (hasRoom: boolean, problem?: Error) => ({
  hasRoomFor: () => hasRoom,
  size: { records: 3, uncountedBytes: 0, bytes: 100, oldestAt: 1 },
  problem,
})

it('the ingress is ready if Kafka answers, and shows a warning about the topics', async () => {
  const connection = { topicsChecked: true, warnings: ['w'], outage: async () => undefined }
  expect(await setUp({ connection }).checks()).toEqual([{ name: 'kafka', ready: true, detail: 'w' }])
})

it('the ingress that a quota delays is ready, and shows the quota', async () => {
  const connection = { topicsChecked: true, warnings: ['w'], outage: async () => undefined }
  const quotaDelay = () => 'delayed by 5 s'
  expect(await setUp({ connection, quotaDelay }).checks()).toEqual([
    { name: 'kafka', ready: true, detail: 'delayed by 5 s' },
  ])
  expect(await setUp({ connection: noAnswer, quotaDelay }).checks()).toMatchObject([{ detail: 'no broker answers' }])
})

it('the ingress is not ready before its topics are checked, and reports this reason', async () => {
  const connection = { topicsChecked: false, warnings: [], outage: async () => undefined }
  const { checks, obstacles } = setUp({ connection })
  expect(await checks()).toEqual([
    { name: 'kafka', ready: false, detail: 'not connected yet. If this lasts, check KAFKA_BROKERS.' },
  ])
  obstacles.report('start', outage)
  expect(await checks()).toMatchObject([{ ready: false, detail: 'no broker answers' }])
})

it('the ingress is not ready while a topic stores nothing, and names the topic', async () => {
  const publishers = { stuck: () => undefined, outage: () => ({ topic: 'raw', error: new Error('NOT_ENOUGH') }) }
  const [check] = await setUp({ publishers }).checks()
  expect(check).toMatchObject({ name: 'kafka', ready: false })
  expect(check?.detail).toContain('Kafka stores no record of topic raw (NOT_ENOUGH)')
})

it('the ingress stays ready in an outage while the spool has room', async () => {
  expect(await setUp({ connection: noAnswer, spool: spoolWith(true) }).checks()).toEqual([
    { name: 'kafka', ready: true, detail: 'no broker answers' },
    { name: 'spool', ready: true, detail: '3 records wait' },
  ])
  expect(await setUp({ connection: noAnswer, spool: spoolWith(false) }).checks()).toMatchObject([
    { ready: false },
    { ready: false, detail: expect.stringMatching(/^The spool accepts no event: .+ 3 records wait$/) },
  ])
})

it('the ingress stays ready with a broken spool while Kafka answers', async () => {
  const { checks, obstacles } = setUp({ spool: spoolWith(false, new Error('lost')) })
  obstacles.report('spool', { blocked: true, reason: 'spool', message: 'lost' })
  expect(await checks()).toEqual([
    { name: 'kafka', ready: true },
    { name: 'spool', ready: true, detail: 'lost' },
  ])
})

it('the ingress is not ready during a shutdown, even if the spool has room', async () => {
  const { checks, stopping } = setUp({ spool: spoolWith(true) })
  stopping.abort()
  expect(await checks()).toEqual([{ name: 'kafka', ready: false, detail: 'stopping' }])
})

it('a stuck send ends the ingress only if Kafka answers', async () => {
  const publishers = { stuck: () => 'a send to raw has not ended for 99 s', outage: () => undefined }
  const inOutage = setUp({ publishers, connection: noAnswer })
  await inOutage.watch()
  expect([inOutage.stuck, inOutage.obstacles.worst]).toEqual([[], outage])
  const answering = setUp({ publishers })
  await answering.watch()
  expect(answering.stuck).toEqual([expect.stringContaining('a send to raw has not ended for 99 s, although Kafka')])
  const delayed = setUp({ publishers, quotaDelay: () => 'kafka:9092 has delayed requests by 577.1 s.' })
  await delayed.watch()
  expect(delayed.stuck).toEqual([expect.stringContaining('delayed requests by 577.1 s. The process ends')])
  expect(await delayed.checks()).toMatchObject([{ ready: false, detail: expect.stringContaining('577.1 s') }])
})
