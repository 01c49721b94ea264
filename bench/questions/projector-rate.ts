import { openPipeline } from '@customer-stream/testing'
import { catchUp } from '../loads/catch-up.ts'
import { fillTopic } from '../loads/fill-topic.ts'
import { openFeeder } from '../loads/redis-feeder.ts'
import { alternate } from '../report/measure.ts'
import type { Question } from './question.ts'

const SHARE_OF_REDIS = 0.6
const HOT_GAIN = 3
const EVENTS_PER_HOT_CUSTOMER = 100
/** The state topic is off, because the feeder does not publish either. */
const WITHOUT_STATE = { env: { KAFKA_STATE_TOPIC: 'false' } }

export const projectorRate: Question = {
  name: 'projector-rate',
  title: 'How fast the projector catches up',
  ask: async (bench) => {
    const events = Math.round(200_000 * bench.scale)
    const [distinct, hot, feeder] = [
      await openPipeline(bench.brokers),
      await openPipeline(bench.brokers),
      await openFeeder(bench, Math.round(20_000 * bench.scale)),
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
          'A hot customer has 100 events, in random order over the whole topic. The feeder has prepared hashes ' +
            'and keeps four calls in flight. The CPU of the feeder does not include the CPU of Redis.',
        ],
      }
    } finally {
      for (const pipeline of [distinct, hot, feeder]) await pipeline.close()
    }
  },
}
