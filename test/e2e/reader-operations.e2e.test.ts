import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import type { PipelineDocument } from '../../services/reader/src/http/pipeline-document.ts'
import type {
  QuarantineDetail,
  QuarantineList,
  RedriveAnswer,
} from '../../services/reader/src/http/quarantine-document.ts'

let pipeline: Pipeline
let reader: ServiceProcess
let ingress: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress')
  const started = await Promise.all([
    pipeline.start('projector'),
    pipeline.start('reader', {
      INGRESS_ADMIN_URLS: ingress.adminUrl,
      // The token belongs to the ingress, because services may share one environment file.
      ...{ MYKAARMA_CHARSET: 'windows-1252', MYKAARMA_TOKENS: 'main=token' },
    }),
  ])
  reader = started[1]
  await Promise.all([ingress, ...started].map((service) => service.untilReady()))
})
afterAll(() => pipeline?.close())

const get = async <T>(path: string, method = 'GET') => {
  const answer = await fetch(`${reader.url}${path}`, { method, headers: { authorization: 'Bearer full-api-key' } })
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
    ({ lag, outcomes, quarantine, sender }) =>
      lag?.records === 0 &&
      (outcomes?.applied ?? 0) > 0 &&
      quarantine?.open === 1 &&
      (sender.refusedPerSecond ?? 0) > 0,
  )
  expect(body).toMatchObject({
    ...{ isWell: true, summary: 'All is well.', reasons: [] },
    quarantine: { records: 1, openByReason: { 'not-json': 1 } },
    projection: { isFilled: true, projectors: 1 },
    freshness: { p50Ms: expect.any(Number), p99Ms: expect.any(Number) },
    rates: { storedPerSecond: expect.any(Number), handledPerSecond: expect.any(Number) },
    sender: { eventsAtRisk: 0 },
  })
  // Five events were accepted, and one request was refused.
  expect(body.rates.receivedPerSecond).toBeCloseTo(6 * body.sender.refusedPerSecond!, 5)
  expect(body.history.length).toBeGreaterThan(0)
})

it('a record is listed, shown and redriven once, and its customer appears', async () => {
  const customerUuid = 'zoe'
  // Only the reader knows the charset, so the ingress puts the body into quarantine.
  const payload = JSON.stringify({ customerWithVehicles: { customer: { customerUuid, firstName: 'Zo\u00eb' } } })
  const latin = Buffer.from(JSON.stringify({ id: 'e1', timestamp: 1, type: 'customers', payload }), 'latin1')
  expect((await pipeline.post(ingress, latin)).status).toBe(400)
  const listed = await waitUntil(
    'the record is listed',
    () => get<QuarantineList>('/v1/quarantine?reason=not-utf8'),
    ({ body: { records } }) => records?.length === 1,
  )
  const [{ id, handled } = { id: '', handled: null }] = listed.body.records
  expect(handled).toBeNull()
  const shown = await get<QuarantineDetail>(`/v1/quarantine/${id}`)
  expect(shown.body).toMatchObject({ id, base64: latin.toString('base64'), history: [] })
  const redrive = async (query = '') => (await get<RedriveAnswer>(`/v1/quarantine/${id}/redrive${query}`, 'POST')).body
  const topic = pipeline.topics.customers
  expect(await redrive('?dry-run=1')).toEqual({ id, outcome: 'would-redrive', topic })
  expect((await get(`/v1/customers/${customerUuid}`)).status).toBe(404)
  expect(await redrive()).toEqual({ id, outcome: 'redriven', topic })
  await waitUntil(
    'the customer appears',
    () => get<{ customer: { firstName: string } }>(`/v1/customers/${customerUuid}`),
    ({ body: found }) => found.customer?.firstName === 'Zo\u00eb',
  )
  expect(await redrive()).toEqual({ id, outcome: 'handled-before' })
  expect((await get<QuarantineDetail>(`/v1/quarantine/${id}`)).body).toMatchObject({
    handled: 'redriven',
    history: [{ action: 'redriven', requestedBy: 'full', sentTo: topic }],
  })
})
