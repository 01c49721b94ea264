import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import type { PipelineDocument } from '../../services/reader/src/http/pipeline-document.ts'

let pipeline: Pipeline
let reader: ServiceProcess
let ingress: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  const started = await Promise.all([pipeline.start('ingress'), pipeline.start('projector'), pipeline.start('reader')])
  ingress = started[0]
  reader = started[2]
  await Promise.all(started.map((service) => service.untilReady()))
})
afterAll(() => pipeline?.close())

const get = async <T>(path: string) => {
  const answer = await fetch(`${reader.url}${path}`, { headers: { authorization: 'Bearer full-api-key' } })
  return { status: answer.status, body: (await answer.json()) as T }
}

const untilPipeline = (what: string, isTrue: (document: PipelineDocument) => boolean) =>
  waitUntil(
    what,
    () => get<PipelineDocument>('/v1/pipeline'),
    ({ body }) => isTrue(body),
  )

it('the pipeline counts what was stored, handled and quarantined, and says that all is well', async () => {
  await untilPipeline('the reader knows the projector', ({ projection }) => projection?.projectors === 1)
  for (let i = 0; i < 5; i++) expect((await pipeline.post(ingress, makeCustomersEvent({}).body)).status).toBe(202)
  expect((await pipeline.post(ingress, Buffer.from('not json'))).status).toBe(400)
  const { body } = await untilPipeline(
    'a measurement has the events',
    ({ lag, outcomes, quarantine }) => lag?.records === 0 && (outcomes?.applied ?? 0) > 0 && quarantine?.open === 1,
  )
  expect(body).toMatchObject({
    ...{ isWell: true, summary: 'All is well.', reasons: [] },
    quarantine: { records: 1, openByReason: { 'not-json': 1 } },
    projection: { isFilled: true, projectors: 1 },
    freshness: { p50Ms: expect.any(Number), p99Ms: expect.any(Number) },
    rates: { storedPerSecond: expect.any(Number), handledPerSecond: expect.any(Number), receivedPerSecond: null },
  })
  expect(body.history.length).toBeGreaterThan(0)
})
