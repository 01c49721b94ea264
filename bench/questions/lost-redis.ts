import { waitUntil } from '@customer-stream/runtime'
import { createPartitionReader } from '@customer-stream/runtime/kafka'
import { PROJECTION_VERSION, positionField, positionsKey } from '@customer-stream/schemas'
import { openPipeline, type Pipeline } from '@customer-stream/testing'
import { fillTopic } from '../loads/fill-topic.ts'
import { openFeeder } from '../loads/redis-feeder.ts'
import { alternate, cpuSeconds, residentBytes } from '../report/measure.ts'
import type { Question } from './question.ts'

const EVENTS_PER_CUSTOMER = 20
const GAIN = 10
const SHARE_OF_REDIS = 0.6
const PARTITIONS = 12

const WITHOUT_STATE = { KAFKA_STATE_TOPIC: 'false' }

let runs = 0

/**
 * Starts a projector with a new key prefix. Measures from readiness until Redis has every customer
 * and the position is at the end.
 * @param groupId a projector whose group has committed offsets fills Redis from the state topic.
 */
const rebuild = async (pipeline: Pipeline, customers: number, groupId: string, env: Record<string, string> = {}) => {
  runs += 1
  const prefix = `${pipeline.keyPrefix}lost-${runs}:`
  const ends = await pipeline.admin.fetchTopicOffsets(pipeline.topics.customers)
  const total = ends.reduce((sum, { high }) => sum + Number(high), 0)
  const positions = ends.map(({ partition }) => positionField(pipeline.topics.customers, partition))
  const fields = [...positions, ...positions.map((field) => `${field}#fill`)]
  const left = async () => {
    const values = await pipeline.redis.hmget(positionsKey(PROJECTION_VERSION, prefix), ...fields)
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
  const lag = () => projector.metric('projector_fill_remaining_records')
  await waitUntil('the fill has ended', lag, (count) => count === 0)
  await projector.end()
  const keys = await pipeline.redis.keys(`${prefix}customer:*`)
  if (keys.length !== customers) throw new Error(`${keys.length} of ${customers} customers are in Redis`)
  for (let i = 0; i < keys.length; i += 1000) await pipeline.redis.unlink(...keys.slice(i, i + 1000))
  return {
    seconds,
    'customers per second': customers / seconds,
    'CPU µs per customer': (cpu / customers) * 1e6,
    'resident MB': resident / 1e6,
  }
}

/** Creates a state topic that Kafka compacts within seconds instead of hours. */
const createStateTopic = async ({ administrator, stateTopic }: Pipeline) => {
  const config = {
    'cleanup.policy': 'compact',
    'max.compaction.lag.ms': '604800000',
    'delete.retention.ms': '604800000',
    'max.message.bytes': '6000000',
    'segment.bytes': '6000000',
    'min.cleanable.dirty.ratio': '0.01',
  }
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  await administrator.createTopics({
    topics: [{ topic: stateTopic, numPartitions: PARTITIONS, replicationFactor: 1, configEntries }],
  })
}

const countRecords = async ({ admin, stateTopic }: Pipeline): Promise<number> => {
  const reader = createPartitionReader(admin, stateTopic)
  let records = 0
  for (const { partition, low, high } of await admin.fetchTopicOffsets(stateTopic))
    for (let next = low; BigInt(next) < BigInt(high); ) {
      const part = await reader.fetch(partition, next, high)
      records += part.records.length
      next = part.nextOffset
    }
  return records
}

export const lostRedis: Question = {
  name: 'lost-redis',
  title: 'How fast a lost Redis is complete again',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    const customers = Math.round(50_000 * bench.scale)
    const feeder = await openFeeder(bench, Math.min(20_000, customers))
    try {
      const events = customers * EVENTS_PER_CUSTOMER
      await fillTopic(bench, pipeline, { events, customers, partitions: PARTITIONS })
      await createStateTopic(pipeline)
      const known = `${pipeline.keyPrefix}known`
      await rebuild(pipeline, customers, known)
      await feeder.feed()
      const documents = await waitUntil(
        'Kafka has compacted the state topic',
        () => countRecords(pipeline),
        (count) => count < 1.5 * customers,
        { timeoutMs: 300_000, pauseMs: 3000 },
      )
      const readings = await alternate(3, {
        'from the raw topic': () => rebuild(pipeline, customers, `${pipeline.keyPrefix}new-${runs}`, WITHOUT_STATE),
        'from the state topic': () => rebuild(pipeline, customers, known),
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
          `${events} events of ${customers} customers in random order over ${PARTITIONS} partitions. The group that ` +
            'reads the state topic has committed its offsets, and the one that reads the raw topic is new. The raw ' +
            'topic is read with the lookahead, and nothing is published meanwhile. The state topic had ' +
            `${documents} records after its compaction. The time counts from readiness.`,
        ],
      }
    } finally {
      await feeder.close()
      await pipeline.close()
    }
  },
}
