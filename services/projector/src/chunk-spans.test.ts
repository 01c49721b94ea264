import type { SpanOptions } from '@customer-stream/runtime'
import { expect, it } from 'vitest'
import { createChunkSpans } from './chunk-spans.ts'
import { setUp } from './fixtures/fake-projection.ts'

const traceparentOf = (i: number, flags = '01') => `00-${String(i).padStart(32, 'a')}-${'b'.repeat(16)}-${flags}`

const setUpTracer = () => {
  const spans: (SpanOptions & { readonly attributes: Readonly<Record<string, unknown>> })[] = []
  const tracer = {
    start: (options: SpanOptions) => ({
      context: { traceparent: traceparentOf(0) },
      end: (attributes: object) => void spans.push({ ...options, attributes: { ...attributes } }),
    }),
  }
  return { spans, tracer }
}
const NOTHING = { newest: [], poison: [], stale: 0, duplicate: 0 }
const recordOf = (traceparent: string | undefined, offset = '7') => ({
  offset,
  timestamp: '1',
  key: null,
  value: null,
  headers: traceparent === undefined ? {} : { traceparent: Buffer.from(traceparent) },
})

it('a chunk with one sampled record continues the trace of this record', () => {
  const { spans, tracer } = setUpTracer()
  const traceparents = [undefined, traceparentOf(1, '00'), traceparentOf(2), 'nonsense']
  const span = createChunkSpans(tracer, 'raw')(
    traceparents.map((traceparent) => recordOf(traceparent)),
    3,
    5,
  )
  span?.end({ ...NOTHING, stale: 2, duplicate: 1 }, true)
  const parent = { traceparent: traceparentOf(2) }
  expect(spans).toMatchObject([
    { name: 'process raw', kind: 'consumer', startedAt: 5, parent, links: [parent], sampling: 'always' },
  ])
  expect(spans[0]?.attributes).toEqual({
    'messaging.system': 'kafka',
    'messaging.operation.type': 'process',
    'messaging.destination.name': 'raw',
    'messaging.destination.partition.id': '3',
    'messaging.batch.message_count': 4,
    'messaging.kafka.offset': 7,
    'customer_stream.written': 0,
    'customer_stream.quarantined': 0,
    'customer_stream.superseded': 3,
    'customer_stream.position_moved': true,
  })
})

it('a chunk with several sampled records begins its own trace, and links to at most 128 of these records', () => {
  const { spans, tracer } = setUpTracer()
  const records = Array.from({ length: 300 }, (_, i) => recordOf(traceparentOf(i)))
  createChunkSpans(tracer, 'raw')(records, 0, 5)?.end(NOTHING, false)
  expect(spans[0]?.parent).toBeUndefined()
  expect(spans[0]?.links?.length).toBe(128)
})

it('a chunk without a sampled record has no span, and without a tracer no chunk has a span', () => {
  const { tracer } = setUpTracer()
  expect(createChunkSpans(tracer, 'raw')([recordOf(undefined), recordOf(traceparentOf(1, '00'))], 0, 5)).toBeUndefined()
  expect(createChunkSpans(undefined, 'raw')([recordOf(traceparentOf(1))], 0, 5)).toBeUndefined()
})

it('the span of a chunk ends when its position has moved, or when its work was aborted', async () => {
  const { spans, tracer } = setUpTracer()
  const { assign, projection, batch, before } = setUp({ tracer })
  await assign()
  const traced = (from: number, customer: string | undefined, signal?: AbortSignal) => {
    const fetched = batch(from, [customer], signal)
    const headers = { traceparent: Buffer.from(traceparentOf(from)) }
    return { ...fetched, records: fetched.records.map((record) => ({ ...record, headers })) }
  }
  expect(await projection.onBatch(traced(10, 'a'))).toBe('11')
  const gaveUp = new AbortController()
  before.apply = () => {
    gaveUp.abort()
    throw new Error('Redis is down')
  }
  expect(await projection.onBatch(traced(11, 'b', gaveUp.signal))).toBeUndefined()
  expect(spans.map(({ attributes }) => attributes)).toMatchObject([
    { 'messaging.kafka.offset': 10, 'customer_stream.written': 1, 'customer_stream.position_moved': true },
    { 'messaging.kafka.offset': 11, 'customer_stream.position_moved': false },
  ])
})
