import { startTraceCollector, type TraceCollector } from '@customer-stream/testing/trace-collector'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createRegistry } from './metrics.ts'
import { isSampled, type SpanOptions, traceIdOf } from './tracer.ts'
import { createTraces, type TraceSettings } from './traces.ts'
import { waitUntil } from './wait-until.ts'

let collector: TraceCollector
beforeEach(async () => {
  collector = await startTraceCollector()
})
afterEach(() => collector.close())

const SAMPLED = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const UNSAMPLED = SAMPLED.replace(/01$/, '00')

const open = async (settings: Partial<TraceSettings> = {}) => {
  const registry = createRegistry('test')
  const warnings: { event?: string; err?: Error }[] = []
  const { tracer, stop } = await createTraces('test', {
    settings: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_HEADERS: new Map(), ...settings },
    registry,
    logger: { warn: (fields: object) => void warnings.push(fields) } as never,
  })
  const countOf = async (outcome: 'exported' | 'dropped') => {
    const metric = await registry.getSingleMetric('customer_stream_trace_spans_total')?.get()
    return metric?.values.find(({ labels }) => labels.outcome === outcome)?.value
  }
  return { tracer: tracer!, stop, warnings, countOf }
}

const options = (given: Partial<SpanOptions> = {}): SpanOptions => ({
  name: 'work',
  kind: 'server',
  startedAt: performance.now() - 50,
  parent: undefined,
  sampling: 'parent',
  ...given,
})

it('a span continues the trace of its parent, and its context names the span', async () => {
  const { tracer, stop } = await open({ OTEL_SERVICE_NAME: 'mine' })
  const span = tracer.start(options({ parent: { traceparent: SAMPLED, tracestate: 'a=1' } }))
  expect(traceIdOf(span.context)).toBe(SAMPLED.slice(3, 35))
  expect([isSampled(span.context), span.context.tracestate]).toEqual([true, 'a=1'])
  span.end({ 'http.response.status_code': 503 }, 'unavailable')
  await stop()
  expect(collector.spans).toMatchObject([
    {
      service: 'mine',
      name: 'work',
      kind: 2,
      traceId: SAMPLED.slice(3, 35),
      parentSpanId: SAMPLED.slice(36, 52),
      traceState: 'a=1',
      spanId: span.context.traceparent.slice(36, 52),
      attributes: { 'http.response.status_code': 503, 'error.type': 'unavailable' },
      status: { code: 2 },
    },
  ])
  const { startTimeUnixNano, endTimeUnixNano } = collector.spans[0]!
  const ms = Number(BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)) / 1e6
  expect(ms).toBeGreaterThanOrEqual(50)
  expect(Math.abs(Number(BigInt(endTimeUnixNano) / 1_000_000n) - Date.now())).toBeLessThan(10_000)
})

it('a span without a parent begins a new trace', async () => {
  const { tracer, stop } = await open()
  const [one, other] = [tracer.start(options()), tracer.start(options())]
  expect(one.context.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  expect(traceIdOf(one.context)).not.toBe(traceIdOf(other.context))
  await stop()
})

it.each([
  ['parentbased_traceidratio', 0, 'parent', SAMPLED, true],
  ['parentbased_traceidratio', 1, 'parent', UNSAMPLED, false],
  ['parentbased_traceidratio', 0, 'parent', undefined, false],
  ['parentbased_traceidratio', 0, 'ratio', SAMPLED, false],
  ['traceidratio', 0, 'parent', SAMPLED, false],
  ['traceidratio', 1, 'parent', UNSAMPLED, true],
  ['traceidratio', 0, 'always', undefined, true],
] as const)(
  'with the sampler %s and the ratio %d, a span with sampling "%s" and the parent %s is exported: %s',
  async (sampler, ratio, sampling, traceparent, expected) => {
    const { tracer, stop } = await open({ OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: ratio })
    const span = tracer.start(options({ sampling, parent: traceparent === undefined ? undefined : { traceparent } }))
    span.end({})
    await stop()
    expect([isSampled(span.context), collector.spans.length === 1]).toEqual([expected, expected])
  },
)

it('exports of spans use the headers that the settings have at that time', async () => {
  const settings = { OTEL_EXPORTER_OTLP_HEADERS: new Map([['authorization', 'Basic old']]) }
  const { tracer, stop, countOf } = await open(settings)
  tracer.start(options()).end({})
  await waitUntil(
    'the span is exported',
    () => countOf('exported'),
    (count) => count === 1,
  )
  expect(collector.requests.map(({ authorization }) => authorization)).toEqual(['Basic old'])
  settings.OTEL_EXPORTER_OTLP_HEADERS.set('authorization', 'Basic new')
  tracer.start(options()).end({})
  await stop()
  expect(collector.requests.at(-1)?.authorization).toBe('Basic new')
})

it('a refused export drops its spans, with one warning that does not show the headers', async () => {
  collector.answerWith((response) => void response.writeHead(401).end('no such token: s3cret'))
  const { tracer, stop, warnings, countOf } = await open({
    OTEL_EXPORTER_OTLP_HEADERS: new Map([['authorization', 's3cret']]),
  })
  for (let i = 0; i < 3; i++) tracer.start(options()).end({})
  await waitUntil(
    'the spans are dropped',
    () => countOf('dropped'),
    (count) => count === 3,
  )
  tracer.start(options()).end({})
  await stop()
  expect(await countOf('dropped')).toBe(4)
  expect(warnings).toMatchObject([{ event: 'traces-undelivered' }])
  const { err } = warnings[0]!
  expect(`${err?.message} ${err?.stack}`).not.toContain('s3cret')
})

it('if the collector never answers, memory is bounded, and a shutdown waits for one second', async () => {
  collector.answerWith(() => undefined)
  const { tracer, stop, countOf } = await open()
  for (let i = 0; i < 10_000; i++) tracer.start(options()).end({})
  // 2048 spans wait in memory, and another 512 spans are already in an export.
  expect(await countOf('dropped')).toBeGreaterThanOrEqual(10_000 - 2048 - 512)
  const startedAt = performance.now()
  await stop()
  const waitedMs = performance.now() - startedAt
  expect([waitedMs > 900, waitedMs < 4000]).toEqual([true, true])
})

it('a shutdown exports all spans that wait', async () => {
  const { tracer, stop, countOf } = await open()
  for (let i = 0; i < 2000; i++) tracer.start(options()).end({})
  await stop()
  expect([collector.spans.length, await countOf('exported'), await countOf('dropped')]).toEqual([2000, 2000, 0])
})

it('without an endpoint there is no tracer', async () => {
  const { tracer, stop } = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: undefined })
  expect(tracer).toBeUndefined()
  await stop()
})
