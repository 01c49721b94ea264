import { PROJECTION_VERSION } from '@customer-stream/schemas'
import { openPipeline } from '@customer-stream/testing'
import { catchUp } from '../loads/catch-up.ts'
import { fillTopic } from '../loads/fill-topic.ts'
import { alternate } from '../report/measure.ts'
import type { Line, Question } from './question.ts'

const EVENTS_PER_CUSTOMER = 24
const TARGET_GAIN = 2.5
const ONE_PASS = { LOOKAHEAD_RECORDS: '0' }
const CAUSES = ['a raised PROJECTION_VERSION', 'an empty Redis'] as const

export const rebuild: Question = {
  name: 'rebuild',
  title: 'How fast the projector rebuilds the hashes',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    try {
      const customers = Math.round(8000 * bench.scale)
      await fillTopic(bench, pipeline, { events: customers * EVENTS_PER_CUSTOMER, customers, partitions: 12 })
      const keyPrefix = `${pipeline.keyPrefix}rebuilt:`
      let projection = PROJECTION_VERSION
      const raised = (env: Readonly<Record<string, string>>) => {
        projection += 1
        return catchUp(pipeline, { keyPrefix, projection, env })
      }
      // Write hashes first, so that the runs with a higher version have hashes to replace.
      await catchUp(pipeline, { keyPrefix })
      const readings = await alternate(3, {
        'a raised PROJECTION_VERSION, two passes': () => raised({}),
        'a raised PROJECTION_VERSION, one pass': () => raised(ONE_PASS),
        'an empty Redis, two passes': () => catchUp(pipeline),
        'an empty Redis, one pass': () => catchUp(pipeline, { env: ONE_PASS }),
      })
      const lines = CAUSES.map((cause): Line => {
        const [two, one] = (['two passes', 'one pass'] as const).map(
          (passes) => readings[`${cause}, ${passes}`]['events per second'].median,
        ) as [number, number]
        return {
          what: `rebuild after ${cause}, ${EVENTS_PER_CUSTOMER} events a customer`,
          target: `≥ ${TARGET_GAIN} × the rate of one pass`,
          figure: `${(two / one).toFixed(2)} × (${two.toFixed(0)} events/s against ${one.toFixed(0)})`,
          met: two / one >= TARGET_GAIN,
        }
      })
      return {
        lines,
        readings,
        notes: [
          `${customers * EVENTS_PER_CUSTOMER} events of ${customers} customers are in 12 partitions, in random ` +
            'order. With a raised version, Redis already has each hash of the earlier version. The rows with one ' +
            'pass have `LOOKAHEAD_RECORDS=0`. The time counts from readiness, so that it includes the first pass.',
        ],
      }
    } finally {
      await pipeline.close()
    }
  },
}
