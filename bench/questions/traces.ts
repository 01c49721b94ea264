import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { createRequestSpans } from '../../services/ingress/src/http/request-spans.ts'
import { type IngressUnderLoad, openIngressUnderLoad } from '../loads/ingress-under-load.ts'
import { alternate, type Figure } from '../report/measure.ts'
import { type Line, type Question, ratioLine } from './question.ts'

const CONNECTIONS = 64
/**
 * For each variant: the share of exported traces, and the maximum ratio to the CPU without traces.
 */
const SHARES = { '1 % of the traces': [0.01, 1.1], 'all traces': [1, 1.25] } as const

const CALLS = 2_000_000
/** Maximum CPU of the span calls if traces are off, as a share of the CPU for an event. */
const OFF_SHARE = 0.01

/** Measures the span calls that the ingress makes for each event, while traces are off. */
const measureCalls = async () => {
  const spans = createRequestSpans(undefined, '/webhooks/mykaarma')
  const headers = { 'content-type': 'text/plain', 'x-authorization-token': 'token' }
  const request = { headers, arrivedAt: 1 } as unknown as FastifyRequest
  const before = process.cpuUsage()
  for (let i = 0; i < CALLS; i++) {
    spans.contextOf(request)
    spans.accepted(request, { 'customer_stream.event': 'customers', 'customer_stream.outcome': 'stored' })
  }
  const { user, system } = process.cpuUsage(before)
  return { 'CPU µs per event': (user + system) / CALLS }
}

const offLine = (calls: Figure, event: Figure): Line => {
  const share = calls.median / event.median
  return {
    what: 'ingress CPU of the span calls, if traces are off',
    target: `≤ ${100 * OFF_SHARE} % of an accepted event`,
    figure: `${(100 * share).toFixed(2)} % (${calls.median.toFixed(2)} µs against ${event.median.toFixed(0)} µs)`,
    met: share <= OFF_SHARE,
  }
}

/** Starts a collector that reads the spans and drops them. */
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
      await measureCalls()
      const readings = await alternate(5, variants)
      const { calls } = await alternate(5, { calls: measureCalls })
      const base = readings['no traces']!['CPU µs per event']
      return {
        lines: [
          offLine(calls['CPU µs per event'], base),
          ...Object.entries(SHARES).map(([name, [, atMost]]) =>
            ratioLine({
              what: `ingress CPU per accepted event, exporting ${name}`,
              figure: readings[name]!['CPU µs per event'],
              base,
              baseName: 'without traces',
              atMost,
              unit: 'µs',
            }),
          ),
        ],
        readings: { ...readings, 'the span calls alone, without traces': calls },
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
