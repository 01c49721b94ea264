import { customerToHash, parseEvent } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline } from '@customer-stream/testing'
import { createStore } from '../../services/projector/src/store.ts'
import { catchUp } from '../loads/catch-up.ts'
import { fillTopic } from '../loads/fill-topic.ts'
import { alternate } from '../report/measure.ts'
import type { Bench, Question } from './question.ts'

const SHARE_OF_REDIS = 0.6
const HOT_GAIN = 3
const EVENTS_PER_HOT_CUSTOMER = 100
/** The same number of events that the projector passes to Redis in one call. */
const CUSTOMERS_PER_CALL = 250
const CALLS_IN_FLIGHT = 4
/** As the feeder. The question state-topic measures the cost of the state topic. */
const WITHOUT_STATE = { env: { KAFKA_STATE_TOPIC: 'false' } }

const hashesOf = (customers: number) =>
  Array.from({ length: customers }, (_, i) => {
    const parsed = parseEvent(Buffer.from(makeCustomersEvent().body))
    if (!parsed.ok || parsed.value.kind !== 'customers') throw new Error('the simulator made no customers event')
    const hash = customerToHash(parsed.value, {
      topic: 't',
      partition: 0,
      offset: String(i),
      receivedAt: 1,
      appliedAt: 1,
      projection: 1,
    })
    if (!hash.ok) throw new Error(hash.detail)
    return hash.value
  })

/** Runs the same script with prepared hashes. This is the rate of Redis alone. */
const openFeeder = async ({ brokers, scale }: Bench) => {
  const pipeline = await openPipeline(brokers)
  const customers = hashesOf(Math.round(20_000 * scale))
  let runs = 0
  return {
    feed: async () => {
      runs += 1
      const store = createStore(pipeline.redis, {
        keyPrefix: `${pipeline.keyPrefix}feeder-${runs}:`,
        topic: 't',
        projection: 1,
      })
      const calls: Promise<unknown>[] = []
      const startedAt = performance.now()
      const cpuBefore = process.cpuUsage()
      for (let start = 0; start < customers.length; start += CUSTOMERS_PER_CALL) {
        // Each call has its own partition, so no call waits for the position of another.
        const call = start / CUSTOMERS_PER_CALL
        calls.push(store.applyChunk(customers.slice(start, start + CUSTOMERS_PER_CALL), call, undefined, '1'))
        if (calls.length >= CALLS_IN_FLIGHT) await calls.shift()
      }
      await Promise.all(calls)
      const seconds = (performance.now() - startedAt) / 1000
      const { user, system } = process.cpuUsage(cpuBefore)
      return {
        'events per second': customers.length / seconds,
        'CPU µs per event': (user + system) / customers.length,
        'resident MB': 0,
      }
    },
    close: () => pipeline.close(),
  }
}

export const projectorRate: Question = {
  name: 'projector-rate',
  title: 'How fast the projector catches up',
  ask: async (bench) => {
    const events = Math.round(200_000 * bench.scale)
    const [distinct, hot, feeder] = [
      await openPipeline(bench.brokers),
      await openPipeline(bench.brokers),
      await openFeeder(bench),
    ]
    try {
      await fillTopic(bench, distinct, { events, customers: events, partitions: 12 })
      await fillTopic(bench, hot, { events, customers: events / EVENTS_PER_HOT_CUSTOMER, partitions: 12 })
      const variants = {
        'Redis alone, plain feeder': feeder.feed,
        'projector, distinct customers': () => catchUp(distinct, WITHOUT_STATE),
        'projector, hot customers': () => catchUp(hot, WITHOUT_STATE),
      }
      await feeder.feed()
      await catchUp(hot, WITHOUT_STATE)
      const readings = await alternate(3, variants)
      const rate = (variant: keyof typeof variants) => readings[variant]['events per second'].median
      const share = rate('projector, distinct customers') / rate('Redis alone, plain feeder')
      const gain = rate('projector, hot customers') / rate('projector, distinct customers')
      return {
        lines: [
          {
            what: 'projector, catching up on distinct customers',
            target: `≥ ${SHARE_OF_REDIS * 100} % of Redis alone with the same script`,
            figure:
              `${(share * 100).toFixed(0)} % (${rate('projector, distinct customers').toFixed(0)} events/s of ` +
              `${rate('Redis alone, plain feeder').toFixed(0)})`,
            met: share >= SHARE_OF_REDIS,
          },
          {
            what: `projector, catching up on hot customers (${EVENTS_PER_HOT_CUSTOMER} events each)`,
            target: `≥ ${HOT_GAIN} × its rate on distinct customers`,
            figure: `${gain.toFixed(2)} × (${rate('projector, hot customers').toFixed(0)} events/s)`,
            met: gain >= HOT_GAIN,
          },
        ],
        readings,
        notes: [
          'A hot customer has 100 events, in random order over the whole topic. The feeder has prepared hashes and ' +
            'keeps four calls in flight. Its CPU does not include that of Redis.',
        ],
      }
    } finally {
      for (const pipeline of [distinct, hot, feeder]) await pipeline.close()
    }
  },
}
