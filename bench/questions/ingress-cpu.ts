import { openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { alternate } from '../report/measure.ts'
import { type Question, ratioLine } from './question.ts'

const TARGET = 1.3

export const ingressCpu: Question = {
  name: 'ingress-cpu',
  title: 'What an accepted event costs the ingress',
  needsWrk: true,
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
        // Warm up the compiler, the connections to Kafka and the page cache.
        for (const warmUp of Object.values(variants)) await warmUp()
        const read = await alternate(5, variants)
        Object.assign(readings, read)
        lines.push(
          ratioLine({
            what: `ingress CPU per accepted event, ${connections} connections`,
            figure: read[`ingress, ${connections} connections`]!['CPU µs per event'],
            base: read[`bare handler, ${connections} connections`]!['CPU µs per event'],
            baseName: 'bare fastify + HMAC + two parses',
            atMost: TARGET,
            unit: 'µs',
          }),
        )
      }
    } finally {
      await under.close()
    }
    return {
      lines,
      readings,
      notes: [
        'The ingress answers when Kafka has stored the record (`acks=all`). The bare handler answers immediately ' +
          'and stores nothing. wrk sends the requests from the same machine, which also runs the broker.',
      ],
    }
  },
}
