import { openPipeline } from '@customer-stream/testing'
import { alternate } from '../report/measure.ts'
import type { Question } from './question.ts'

const TARGET_SECONDS = 1.5

export const start: Question = {
  name: 'start',
  title: 'How long a service takes to be ready',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    try {
      const startOne = (name: 'ingress' | 'projector') => async () => {
        const startedAt = performance.now()
        const service = await pipeline.start(name)
        await service.untilReady()
        const seconds = (performance.now() - startedAt) / 1000
        await service.end()
        return { 'seconds to ready': seconds }
      }
      const variants = { ingress: startOne('ingress'), projector: startOne('projector') }
      // Do not measure the first start, because it creates the topics.
      for (const first of Object.values(variants)) await first()
      const readings = await alternate(5, variants)
      const lines = (['ingress', 'projector'] as const).map((name) => {
        const seconds = readings[name]['seconds to ready'].median
        return {
          what: `start, ${name}`,
          target: `ready in < ${TARGET_SECONDS} s`,
          figure: `${seconds.toFixed(2)} s`,
          met: seconds < TARGET_SECONDS,
        }
      })
      return {
        lines,
        readings,
        notes: [
          'The time counts from the start of the process until `/readyz` answers 200. The benchmark asks every ' +
            '50 ms. The topics exist, and the brokers answer.',
        ],
      }
    } finally {
      await pipeline.close()
    }
  },
}
