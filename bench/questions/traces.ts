import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type IngressUnderLoad, openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { alternate } from '../report/measure.ts'
import { type Question, ratioLine } from './question.ts'

const CONNECTIONS = 64
/**
 * By variant: the share of exported traces, and the maximum CPU as a multiple of the CPU without
 * traces.
 */
const SHARES = { '1 % of the traces': [0.01, 1.1], 'all traces': [1, 1.25] } as const

/** Collector that reads the spans and forgets them. */
const startCollector = async () => {
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => response.end('{}'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

export const traces: Question = {
  name: 'traces',
  title: 'What traces cost the ingress',
  needsWrk: true,
  ask: async (bench) => {
    const { server, url } = await startCollector()
    const seconds = Math.max(2, Math.round(5 * bench.scale))
    const opened: IngressUnderLoad[] = []
    const variant = async (env: Readonly<Record<string, string>>) => {
      const under = await openIngressUnderLoad(bench, { env })
      opened.push(under)
      const read = () => under.read(under.ingress, CONNECTIONS, seconds)
      // Warm up the compiler and the connections.
      await read()
      return read
    }
    try {
      const variants: Record<string, Awaited<ReturnType<typeof variant>>> = { 'no traces': await variant({}) }
      for (const [name, [share]] of Object.entries(SHARES))
        variants[name] = await variant({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_SAMPLER_ARG: String(share) })
      const readings = await alternate(5, variants)
      return {
        lines: Object.entries(SHARES).map(([name, [, atMost]]) =>
          ratioLine({
            what: `ingress CPU per accepted event, exporting ${name}`,
            figure: readings[name]!['CPU µs per event'],
            base: readings['no traces']!['CPU µs per event'],
            baseName: 'without traces',
            atMost,
            unit: 'µs',
          }),
        ),
        readings,
        notes: [
          'The requests have no `traceparent`, so each begins a new trace. The collector is on the same machine and ' +
            'keeps nothing.',
        ],
      }
    } finally {
      for (const under of opened) await under.close()
      server.close()
    }
  },
}
