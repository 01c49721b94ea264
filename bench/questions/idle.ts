import { setTimeout as sleep } from 'node:timers/promises'
import { openPipeline, type ServiceProcess } from '@customer-stream/testing'
import { alternate, cpuSeconds, residentBytes } from '../report/measure.ts'
import type { Question } from './question.ts'

const TARGET_PERCENT = 0.5

export const idle: Question = {
  name: 'idle',
  title: 'What the services cost while nothing happens',
  ask: async (bench) => {
    const pipeline = await openPipeline(bench.brokers)
    try {
      const services = { ingress: await pipeline.start('ingress'), projector: await pipeline.start('projector') }
      await Promise.all(Object.values(services).map((service) => service.untilReady()))
      const seconds = Math.max(5, Math.round(20 * bench.scale))
      // Wait until the services have finished the work of their start.
      await sleep(5000)
      const doNothing = (service: ServiceProcess) => async () => {
        const before = cpuSeconds(service.pid)
        await sleep(seconds * 1000)
        return {
          '% of a core': ((cpuSeconds(service.pid) - before) / seconds) * 100,
          'resident MB': residentBytes(service.pid) / 1e6,
        }
      }
      const readings = await alternate(3, {
        ingress: doNothing(services.ingress),
        projector: doNothing(services.projector),
      })
      const lines = (['ingress', 'projector'] as const).map((name) => {
        const percent = readings[name]['% of a core'].median
        return {
          what: `idle, ${name}`,
          target: `< ${TARGET_PERCENT} % of a core`,
          figure: `${percent.toFixed(2)} %`,
          met: percent < TARGET_PERCENT,
        }
      })
      return { lines, readings, notes: ['During the measurement no one asks for metrics or readiness.'] }
    } finally {
      await pipeline.close()
    }
  },
}
