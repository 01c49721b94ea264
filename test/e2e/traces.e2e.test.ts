import { readFile } from 'node:fs/promises'
import { waitUntil } from '@customer-stream/runtime'
import { readTopic } from '@customer-stream/runtime/kafka'
import { customerKey, type RawRecord, traceContextOf } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { askReader, openPipeline, type Pipeline } from '@customer-stream/testing'
import { startTraceCollector, type TraceCollector } from '@customer-stream/testing/trace-collector'
import { afterEach, beforeEach, expect, inject, it } from 'vitest'

let pipeline: Pipeline
let collector: TraceCollector
beforeEach(async () => {
  ;[pipeline, collector] = await Promise.all([openPipeline(inject('brokers')), startTraceCollector()])
})
afterEach(async () => {
  await pipeline.close()
  await collector.close()
})

const startBoth = async (env: Readonly<Record<string, string>>) => {
  const [ingress, projector] = await Promise.all([pipeline.start('ingress', env), pipeline.start('projector', env)])
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  return { ingress, projector }
}
const recordsOf = async (topic: string): Promise<RawRecord[]> => {
  const records: RawRecord[] = []
  await readTopic(pipeline.admin, topic, (record) => {
    records.push(record)
  })
  return records
}
const applied = (customerUuid: string) =>
  waitUntil(
    'the customer is in Redis',
    () => pipeline.redis.exists(customerKey(customerUuid, pipeline.keyPrefix)),
    (count) => count === 1,
  )

it('one trace follows an event from its request to Redis, and contains no data of the customer', async () => {
  const headers = 'authorization=Basic%20c2VjcmV0'
  const { ingress, projector } = await startBoth({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: headers,
  })
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const sender = { traceparent: `00-${traceId}-b7ad6b7169203331-01`, tracestate: 'vendor=1' }
  const { body, customerUuid } = makeCustomersEvent({ customer: { firstName: 'Zoë' } })
  expect((await pipeline.post(ingress, body, sender)).status).toBe(202)
  await applied(customerUuid)
  const [server, chunk] = await waitUntil(
    'both services have sent a span',
    () => collector.spans.toSorted((a, b) => a.kind - b.kind),
    (spans) => spans.length === 2,
  )
  expect(server).toMatchObject({ service: 'customer-stream-ingress', traceId, parentSpanId: 'b7ad6b7169203331' })
  expect(chunk).toMatchObject({
    service: 'customer-stream-projector',
    traceId,
    parentSpanId: server?.spanId,
    links: [{ traceId, spanId: server?.spanId }],
    attributes: { 'customer_stream.written': 1, 'customer_stream.position_moved': true },
  })
  const context = { traceparent: `00-${traceId}-${server?.spanId}-01`, tracestate: 'vendor=1' }
  for (const topic of [pipeline.topics.customers, pipeline.stateTopic])
    expect((await recordsOf(topic)).map((record) => traceContextOf(record.headers))).toEqual([context])
  const exported = JSON.stringify(collector.spans)
  for (const secret of [customerUuid, 'Zoë', pipeline.secret, pipeline.token]) expect(exported).not.toContain(secret)
  expect(collector.requests.every(({ authorization }) => authorization === 'Basic c2VjcmV0')).toBe(true)
  // The projector counts the span only after the answer of the collector.
  await waitUntil(
    'the span is counted',
    () => projector.metric('customer_stream_trace_spans_total', { outcome: 'exported' }),
    (count) => count === 1,
  )
})

it('a request to the reader is a span in the trace of its client, without data of the customer', async () => {
  const reader = await pipeline.start('reader', { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  await reader.untilReady()
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` }
  expect((await askReader(reader, '/v1/customers/customer-of-a-trace', { headers })).status).toBe(503)
  const [span] = await waitUntil(
    'the reader has sent a span',
    () => collector.spans,
    (spans) => spans.length === 1,
  )
  expect(span).toMatchObject({ service: 'customer-stream-reader', traceId, parentSpanId: 'b7ad6b7169203331' })
  expect(span?.attributes).toMatchObject({ 'error.type': 'unavailable' })
  expect(JSON.stringify(collector.spans)).not.toMatch(/customer-of-a-trace|full-api-key/)
})

it('quarantine and the log name the trace of an event that is refused or cannot be applied', async () => {
  const { ingress } = await startBoth({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  const { body } = makeCustomersEvent()
  const withoutId = JSON.stringify({ ...JSON.parse(body.toString()), id: '' })
  expect((await pipeline.post(ingress, withoutId)).status).toBe(202)
  expect((await pipeline.post(ingress, '{')).status).toBe(400)
  const quarantined = await waitUntil(
    'quarantine has both records',
    () => recordsOf(pipeline.topics.quarantine),
    (records) => records.length === 2,
  )
  const traceIds = quarantined.map(({ headers }) => traceContextOf(headers)?.traceparent.slice(3, 35))
  const spans = await waitUntil(
    'the requests have spans',
    () => collector.spans.filter(({ kind }) => kind === 2),
    (found) => found.length === 2,
  )
  expect(traceIds.toSorted()).toEqual(spans.map(({ traceId }) => traceId).toSorted())
  const refused = spans.find(({ attributes }) => attributes['error.type'] === 'malformed-json')
  const lines = (await readFile(ingress.logFile, 'utf8')).split('\n').filter((line) => line.includes('request-refused'))
  expect(lines.map((line) => JSON.parse(line).trace_id)).toEqual([refused?.traceId])
})

it('if the trace collector never answers, no event is lost, and both services stop in time', async () => {
  collector.answerWith(() => undefined)
  const { ingress, projector } = await startBoth({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  const events = Array.from({ length: 300 }, () => makeCustomersEvent())
  const answers = await Promise.all(events.map(({ body }) => pipeline.post(ingress, body)))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
  await Promise.all(events.map(({ customerUuid }) => applied(customerUuid)))
  await waitUntil(
    'the collector has requests of both services',
    () => collector.requests.length,
    (count) => count >= 2,
  )
  for (const service of [ingress, projector]) {
    const startedAt = performance.now()
    expect(await service.end()).toBe(0)
    // Without traces, a service ends within a second.
    expect(performance.now() - startedAt).toBeLessThan(8000)
  }
})

it('if no trace collector listens, no event is lost', async () => {
  const { ingress, projector } = await startBoth({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' })
  const { body, customerUuid } = makeCustomersEvent()
  expect((await pipeline.post(ingress, body)).status).toBe(202)
  await applied(customerUuid)
  expect([await ingress.end(), await projector.end()]).toEqual([0, 0])
})
