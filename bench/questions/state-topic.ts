import { openPipeline } from '@customer-stream/testing'
import { catchUp } from '../loads/catch-up.ts'
import { fillTopic } from '../loads/fill-topic.ts'
import { alternate } from '../report/measure.ts'
import type { Question } from './question.ts'

const SHARE = 0.6

export const stateTopic: Question = {
  name: 'state-topic',
  title: 'What the state topic costs the projector',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    try {
      const events = Math.round(200_000 * bench.scale)
      await fillTopic(bench, pipeline, { events, customers: events, partitions: 12 })
      const publishing = () => catchUp(pipeline)
      await publishing()
      const readings = await alternate(3, {
        'with the state topic': publishing,
        'without it': () => catchUp(pipeline, { env: { KAFKA_STATE_TOPIC: 'false' } }),
      })
      const [own, base] = [
        readings['with the state topic']['events per second'].median,
        readings['without it']['events per second'].median,
      ]
      return {
        lines: [
          {
            what: 'projector, catching up on distinct customers, with the state topic',
            target: `≥ ${SHARE * 100} % of its rate without it`,
            figure: `${((own / base) * 100).toFixed(0)} % (${own.toFixed(0)} events/s of ${base.toFixed(0)})`,
            met: own / base >= SHARE,
          },
        ],
        readings,
        notes: [
          'Each event has a different customer, so each event becomes a document, which is the most expensive ' +
            'case. The CPU is the CPU of the projector alone. Kafka and Redis share the two cores.',
        ],
      }
    } finally {
      await pipeline.close()
    }
  },
}
