import { waitUntil } from '@customer-stream/runtime'
import { PROJECTION_VERSION, positionField, positionsKey } from '@customer-stream/schemas'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { customersInRedis } from '@customer-stream/verify'
import { fillTopic } from '../loads/fill-topic.ts'
import { openFeeder } from '../loads/redis-feeder.ts'
import { alternate, cpuSeconds, residentBytes } from '../report/measure.ts'
import type { Bench, Question } from './question.ts'

/**
 * Number of customers at scale 1. A million customers (`--scale 10`) need 40 minutes and 45 GB of
 * disk.
 */
const CUSTOMERS = 100_000
const EVENTS_PER_CUSTOMER = 20
const GAIN = 10
const SHARE_OF_REDIS = 0.6
const PARTITIONS = 12
/** The feeder writes for some seconds, because a shorter run varies too much. */
const FED_CUSTOMERS = 20_000
const FED_ROUNDS = 6
/** Default of the setting LOOKAHEAD_RECORDS. */
const DEFAULT_LOOKAHEAD = 200_000

/**
 * Settings of a projector that reads only the raw topic. The number of records that it reads ahead
 * is proportional to the number of customers. So the events per customer in these records do not
 * depend on the scale.
 */
const withoutState = (customers: number) => ({
  KAFKA_STATE_TOPIC: 'false',
  LOOKAHEAD_RECORDS: String(Math.round((DEFAULT_LOOKAHEAD * customers) / 1_000_000)),
})

let runs = 0

/**
 * Deletes all keys in the background, because this deletion takes longer than a command may last.
 */
const emptyRedis = async ({ redis }: Pipeline) => {
  await redis.flushall('ASYNC')
  const pending = async () => /^lazyfree_pending_objects:(\d+)/m.exec(await redis.info('memory'))?.[1]
  await waitUntil('Redis has freed the memory', pending, (objects) => objects === '0', { timeoutMs: 300_000 })
}

/**
 * Starts a projector on an empty Redis. Measures from readiness until Redis has every customer and
 * the position is at the end. The customers stay in Redis.
 * @param groupId consumer group. If it has committed offsets, the projector fills Redis from the
 *   state topic. Otherwise the projector reads the raw topic.
 */
const rebuild = async (pipeline: Pipeline, customers: number, groupId: string, env: Record<string, string> = {}) => {
  runs += 1
  await emptyRedis(pipeline)
  const prefix = `${pipeline.keyPrefix}lost-${runs}:`
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  const total = ends.reduce((sum, { high }) => sum + Number(high), 0)
  const positions = ends.map(({ partition }) => positionField(pipeline.topics.customers, partition))
  const fields = [...positions, ...positions.map((field) => `${field}#fill`)]
  const left = async () => {
    // Ask again if Redis does not answer in time.
    const values = await pipeline.redis.hmget(positionsKey(PROJECTION_VERSION, prefix), ...fields).catch(() => [])
    if (values.length === 0) return total
    const applied = values.slice(0, ends.length).reduce((sum, offset) => sum + Number(offset ?? 0), 0)
    return total - applied + values.slice(ends.length).filter((fill) => fill !== null).length
  }
  const projector = await pipeline.start('projector', {
    REDIS_KEY_PREFIX: prefix,
    CONSUMER_GROUP_ID: groupId,
    ...env,
  })
  await projector.untilReady()
  const startedAt = performance.now()
  const cpuBefore = cpuSeconds(projector.pid)
  await waitUntil('Redis is complete', left, (count) => count === 0, { timeoutMs: 3_600_000, pauseMs: 10 })
  const seconds = (performance.now() - startedAt) / 1000
  const cpu = cpuSeconds(projector.pid) - cpuBefore
  const resident = residentBytes(projector.pid)
  const remaining = () => projector.metric('projector_fill_remaining_records')
  await waitUntil('the fill has ended', remaining, (count) => count === 0)
  await projector.end()
  let found = 0
  for await (const _ of customersInRedis(pipeline.redis, prefix)) found += 1
  if (found !== customers) throw new Error(`${found} of ${customers} customers are in Redis`)
  return {
    seconds,
    'customers per second': customers / seconds,
    'CPU µs per customer': (cpu / customers) * 1e6,
    'resident MB': resident / 1e6,
  }
}

/** Writes the events of each customer into a new raw topic. */
const openHistory = async (bench: Bench, customers: number, eventsPerCustomer: number) => {
  const pipeline = await openPipeline(bench.brokers)
  bench.say(`writing ${customers * eventsPerCustomer} events of ${customers} customers`)
  await fillTopic(bench, pipeline, { events: customers * eventsPerCustomer, customers, partitions: PARTITIONS })
  return pipeline
}

export const lostRedis: Question = {
  name: 'lost-redis',
  title: 'How fast a lost Redis is complete again',
  onlyIfNamed: true,
  ask: async (bench) => {
    const customers = Math.round(CUSTOMERS * bench.scale)
    const long = await openHistory(bench, customers, EVENTS_PER_CUSTOMER)
    // After compaction, the state topic has one document of each customer.
    const short = await openHistory(bench, customers, 1)
    const feeder = await openFeeder(bench, Math.min(FED_CUSTOMERS, customers), FED_ROUNDS)
    try {
      const known = `${short.keyPrefix}known`
      bench.say('publishing the documents')
      await rebuild(short, customers, known)
      await feeder.feed()
      const once = await alternate(1, {
        'from the raw topic': () => {
          bench.say('filling Redis from the raw topic')
          return rebuild(long, customers, `${long.keyPrefix}new`, withoutState(customers))
        },
      })
      const thrice = await alternate(3, {
        'from the state topic': () => {
          bench.say('filling Redis from the state topic')
          return rebuild(short, customers, known)
        },
        'Redis alone, plain feeder': async () => {
          const { 'events per second': rate, 'CPU µs per event': cpu } = await feeder.feed()
          return {
            'customers per second': rate,
            'CPU µs per customer': cpu,
            seconds: customers / rate,
            'resident MB': 0,
          }
        },
      })
      const readings = { ...once, ...thrice }
      const { median: raw } = readings['from the raw topic'].seconds
      const { median: state } = readings['from the state topic'].seconds
      const { median: rate } = readings['from the state topic']['customers per second']
      const { median: alone } = readings['Redis alone, plain feeder']['customers per second']
      return {
        lines: [
          {
            what: `lost Redis, ${EVENTS_PER_CUSTOMER} events a customer: from the state topic`,
            target: `≥ ${GAIN} × as fast as from the raw topic`,
            figure: `${(raw / state).toFixed(1)} × (${state.toFixed(1)} s against ${raw.toFixed(1)} s)`,
            met: raw / state >= GAIN,
          },
          {
            what: 'lost Redis: customers from the state topic',
            target: `≥ ${SHARE_OF_REDIS * 100} % of Redis alone with the same script`,
            figure: `${((rate / alone) * 100).toFixed(0)} % (${rate.toFixed(0)} customers/s of ${alone.toFixed(0)})`,
            met: rate / alone >= SHARE_OF_REDIS,
          },
        ],
        readings,
        notes: [
          `${customers} customers have ${EVENTS_PER_CUSTOMER} events each, in random order, in ${PARTITIONS} ` +
            'partitions. The raw topic is read once, with the lookahead, and no document is published. ' +
            'A window of the lookahead has 2.4 events per customer, as with a million customers and the default ' +
            'setting. The state topic has one document of each customer, as after a compaction. The feeder ' +
            'writes 120,000 customers into a Redis that also has the customers of the last rebuild. The time ' +
            'counts from readiness.',
        ],
      }
    } finally {
      await feeder.close()
      await Promise.all([long, short].map((pipeline) => pipeline.close({ removeTopics: true })))
    }
  },
}
