/**
 * Compares the rates of a projector with a Redis Cluster of three masters and with one Redis. Both
 * runs read the same records.
 *
 * `node --conditions=customer-stream-source bench/questions/redis-cluster.ts [--records N]
 * [--rounds N]`
 */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { waitUntil } from '@customer-stream/runtime'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  freshNames,
  kafkajsOf,
  openPipeline,
  type Pipeline,
  type PipelineBrokers,
  startBrokers,
  startRedisCluster,
} from '@customer-stream/testing'

const { values } = parseArgs({
  options: { records: { type: 'string', default: '100000' }, rounds: { type: 'string', default: '3' } },
})
const RECORDS = Number(values.records)
const ROUNDS = Number(values.rounds)
const BATCH = 1000

const printNotice = (line: string): void => void process.stderr.write(`${line}\n`)

const fill = async ({ kafka, topics }: Pipeline): Promise<void> => {
  const producer = kafkajsOf(kafka).producer()
  await producer.connect()
  for (let sent = 0; sent < RECORDS; sent += BATCH) {
    const events = Array.from({ length: Math.min(BATCH, RECORDS - sent) }, () => makeCustomersEvent())
    await producer.send({
      topic: topics.customers,
      messages: events.map(({ customerUuid, body }) => ({ key: customerUuid, value: body })),
    })
  }
  await producer.disconnect()
}

/** Returns the microseconds of CPU time that these servers have used. */
const serversCpuUs = async (servers: readonly RedisClient[]): Promise<number> => {
  const infos = await Promise.all(servers.map((server) => server.info('cpu')))
  return infos.reduce((sum, info) => {
    for (const [, seconds] of info.matchAll(/^used_cpu_(?:user|sys):([\d.]+)/gm)) sum += Number(seconds) * 1e6
    return sum
  }, 0)
}

interface Figures {
  readonly eventsPerSecond: number
  readonly projectorCpuUsPerEvent: number
  readonly redisCpuUsPerEvent: number
}

const catchUp = async (pipeline: Pipeline, servers: readonly RedisClient[]): Promise<Figures> => {
  const projector = await pipeline.start('projector')
  const sample = async () => ({
    events: await projector.metric('projector_events_total', { outcome: 'applied' }),
    cpuSeconds: await projector.metric('process_cpu_seconds_total'),
    redisUs: await serversCpuUs(servers),
    at: performance.now(),
  })
  const until = (what: string, wanted: number) =>
    waitUntil(what, sample, (seen) => seen.events >= wanted, { timeoutMs: 180_000, pauseMs: 50 })
  // Measure after the first tenth of the records, which warms up the code.
  const first = await until('the projector is warm', RECORDS / 10)
  const last = await until('the projector has caught up', RECORDS)
  await projector.end()
  const events = last.events - first.events
  return {
    eventsPerSecond: Math.round((events / (last.at - first.at)) * 1000),
    projectorCpuUsPerEvent: ((last.cpuSeconds - first.cpuSeconds) * 1e6) / events,
    redisCpuUsPerEvent: (last.redisUs - first.redisUs) / events,
  }
}

const median = (figures: readonly Figures[], name: keyof Figures): number =>
  figures.map((one) => one[name]).sort((a, b) => a - b)[Math.floor(figures.length / 2)] ?? Number.NaN
const summary = (figures: readonly Figures[]): Figures => ({
  eventsPerSecond: median(figures, 'eventsPerSecond'),
  projectorCpuUsPerEvent: Math.round(median(figures, 'projectorCpuUsPerEvent') * 10) / 10,
  redisCpuUsPerEvent: Math.round(median(figures, 'redisCpuUsPerEvent') * 10) / 10,
})

const brokers = await startBrokers({ log: printNotice })
const cluster = await startRedisCluster({ log: printNotice })
const topicPrefix = freshNames().topicPrefix
const open = (redis: Omit<PipelineBrokers, 'kafkaBrokers'>) =>
  openPipeline({ kafkaBrokers: brokers.kafkaBrokers, ...redis }, { ...freshNames(), topicPrefix })
const sides = {
  single: { redisUrl: brokers.redisUrl },
  cluster: { redisUrl: cluster.url, redisEnv: { REDIS_CLUSTER: 'true' } },
}
const results: Record<keyof typeof sides, Figures[]> = { single: [], cluster: [] }
try {
  const filling = await open(sides.single)
  // This projector only creates the topics. It ends before records are written, because only the
  // measured projectors may read the records.
  const maker = await filling.start('projector')
  await maker.untilReady()
  await maker.end()
  printNotice(`filling the topic with ${RECORDS} customers`)
  await fill(filling)
  const single = filling.redis
  for (let round = 1; round <= ROUNDS; round++) {
    for (const side of ['single', 'cluster'] as const) {
      const pipeline = await open(sides[side])
      const figures = await catchUp(
        pipeline,
        side === 'single' ? [single] : cluster.masters.map(({ client }) => client),
      )
      printNotice(`round ${round}, ${side}: ${JSON.stringify(figures)}`)
      results[side].push(figures)
      await pipeline.close()
    }
  }
  await filling.close()
} finally {
  await cluster.stop()
  await brokers.stop()
}
const [single, clustered] = [summary(results.single), summary(results.cluster)]
const ratio = Math.round((clustered.eventsPerSecond / single.eventsPerSecond) * 100) / 100
const machine = { cpus: cpus().length, cpu: cpus()[0]?.model }
const amounts = { records: RECORDS, rounds: ROUNDS }
const result = { bench: 'redis-cluster', ...amounts, single, cluster: clustered, ratio, ...machine }
process.stdout.write(`${JSON.stringify(result)}\n`)
printNotice(
  `a cluster of three masters takes ${clustered.eventsPerSecond} events/s where one Redis takes ` +
    `${single.eventsPerSecond} (${ratio}); projector ${clustered.projectorCpuUsPerEvent} instead of ` +
    `${single.projectorCpuUsPerEvent} µs of CPU per event`,
)
process.exit(0)
