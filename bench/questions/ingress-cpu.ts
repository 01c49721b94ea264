import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { alternate } from '../report/measure.ts'
import type { Question } from './question.ts'

const TARGET = 1.6

export const ingressCpu: Question = {
  name: 'ingress-cpu',
  title: 'What an accepted event costs the ingress',
  ask: async (bench) => {
    const under = await openIngressUnderLoad(bench)
    const seconds = Math.max(2, Math.round(5 * bench.scale))
    const lines = []
    const readings = {}
    try {
      for (const connections of [64, 256]) {
        const variants = {
          [`bare handler, ${connections} connections`]: () => under.read(under.bare, connections, seconds),
          [`ingress, ${connections} connections`]: () => under.read(under.ingress, connections, seconds),
        }
        // Warms up the compiler, the connections to Kafka and the page cache.
        for (const warmUp of Object.values(variants)) await warmUp()
        const read = await alternate(5, variants)
        Object.assign(readings, read)
        const [bare, ingress] = Object.values(read).map((figures) => figures['CPU µs per event'].median)
        const ratio = (ingress ?? Number.NaN) / (bare ?? Number.NaN)
        lines.push({
          what: `ingress CPU per accepted event, ${connections} connections`,
          target: `≤ ${TARGET} × bare fastify + HMAC + two parses`,
          figure: `${ratio.toFixed(2)} × (${ingress?.toFixed(0)} µs against ${bare?.toFixed(0)} µs)`,
          met: ratio <= TARGET,
        })
      }
    } finally {
      await under.close()
    }
    return {
      lines,
      readings,
      notes: [
        'The ingress answers when Kafka has stored the record (`acks=all`); the bare handler answers at once ' +
          'and stores nothing. Load by wrk from the same machine, which the broker shares too.',
      ],
    }
  },
}
