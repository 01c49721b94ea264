import { waitUntil } from '@customer-stream/runtime'
import { writeErasure } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'
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
      // MYKAARMA_TOKENS is a setting of the ingress. The reader must accept it, because services
      // may share one environment file.
      MYKAARMA_CHARSET: 'windows-1252',
      MYKAARMA_TOKENS: 'main=token',
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

const openProducer = async () => {
  const producer = kafkajsOf(pipeline.kafka).producer()
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return producer
}

const untilPipeline = (what: string, isTrue: (document: PipelineDocument) => boolean) =>
  waitUntil(
    what,
    () => get<PipelineDocument>('/v1/pipeline'),
    ({ body }) => isTrue(body),
  )

it('GET /v1/pipeline counts stored, handled and quarantined records, and says that all is well', async () => {
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
    isWell: true,
    summary: expect.stringMatching(/^All is well, with \d notices?\.$/),
    reasons: [],
    quarantine: { records: 1, openByReason: { 'not-json': 1 } },
    projection: { isFilled: true, projectors: 1 },
    freshness: { p50Ms: expect.any(Number), p99Ms: expect.any(Number) },
    rates: { storedPerSecond: expect.any(Number), handledPerSecond: expect.any(Number) },
    sender: { eventsAtRisk: 0 },
  })
  expect(await reader.metric('reader_quarantine_open_records', { reason: 'not-json' })).toBe(1)
  expect(await reader.metric('reader_quarantine_open_records')).toBe(1)
  // Five events were accepted, and one request was refused.
  expect(body.rates.receivedPerSecond).toBeCloseTo(6 * body.sender.refusedPerSecond!, 5)
  expect(body.history.length).toBeGreaterThan(0)
})

it('the reader lists, shows and redrives a quarantine record once, and its customer is then in Redis', async () => {
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

it('a customer who is erased between two redrives does not come back', async () => {
  const reason = 'refused-by-kafka'
  const messages = [1, 2].map((timestamp) => ({
    value: makeCustomersEvent({ customerUuid: 'eve', timestamp }).body,
    headers: { reason },
  }))
  const producer = await openProducer()
  await producer.send({ topic: pipeline.topics.quarantine, messages })
  const { body } = await waitUntil(
    'the records are listed',
    () => get<QuarantineList>(`/v1/quarantine?reason=${reason}`),
    ({ body: { records } }) => records?.length === 2,
  )
  const redrive = async (at: number, query = '') =>
    (await get<RedriveAnswer>(`/v1/quarantine/${body.records[at]?.id}/redrive${query}`, 'POST')).body
  expect(await redrive(0)).toMatchObject({ outcome: 'redriven' })
  expect(await redrive(1, '?dry-run=1')).toMatchObject({ outcome: 'would-redrive' })
  const value = writeErasure({ erasedAt: 3, scope: 'forever', reason: 'test', requestedBy: 'test' })
  await producer.send({ topic: pipeline.erasuresTopic, messages: [{ key: 'eve', value }] })
  expect(await redrive(1, '?dry-run=1')).toMatchObject({ outcome: 'refused', refused: 'erased' })
  expect(await redrive(1)).toMatchObject({ outcome: 'refused', refused: 'erased' })
})

it('the reader shows a quarantine record of 1 MiB with all its bytes', async () => {
  const body = Buffer.alloc(1_048_576, 'a')
  expect((await pipeline.post(ingress, body)).status).toBe(400)
  const { records } = await waitUntil(
    'the record is listed',
    async () => (await get<QuarantineList>('/v1/quarantine?limit=1')).body,
    (list) => list.records?.[0]?.bytes === body.length,
  )
  const shown = await get<QuarantineDetail>(`/v1/quarantine/${records[0]?.id}`)
  expect(shown.body.text).toBe(body.toString())
  const answer = await get<RedriveAnswer>(`/v1/quarantine/${records[0]?.id}/redrive`, 'POST')
  expect(answer.body).toMatchObject({ outcome: 'refused', refused: 'not-json' })
})

it('the reader lists and shows a quarantine record whose reason this version does not know', async () => {
  const producer = await openProducer()
  const headers = { reason: 'from-the-future', stage: '<b>' }
  await producer.send({ topic: pipeline.topics.quarantine, messages: [{ value: '{', headers }] })
  const { body } = await waitUntil(
    'the record is listed',
    () => get<QuarantineList>('/v1/quarantine?reason=from-the-future'),
    ({ body: { records } }) => records?.length === 1,
  )
  expect(body.records[0]).toMatchObject({ reason: 'from-the-future', stage: '<b>', handled: null })
  expect(body.records[0]?.explanation).toContain('This version does not know the reason.')
  const shown = await get<QuarantineDetail>(`/v1/quarantine/${body.records[0]?.id}`)
  expect(shown.body).toMatchObject({ text: '{', headers })
})

it('the pages of quarantine list 10,000 records once each, and leave out records that Kafka has deleted', async () => {
  const producer = await openProducer()
  const topic = pipeline.topics.quarantine
  const messages = Array.from({ length: 1000 }, () => ({ value: '{', headers: { reason: 'no-id' } }))
  for (let sent = 0; sent < 10_000; sent += messages.length) await producer.send({ topic, messages })
  await waitUntil(
    'a record is listed',
    () => get<QuarantineList>('/v1/quarantine?reason=no-id&limit=1'),
    ({ status }) => status === 200,
  )
  const ids = new Set<string>()
  let pages = 0
  for (let cursor: string | undefined = ''; cursor !== undefined; pages += 1) {
    const from = cursor === '' ? '' : `&cursor=${cursor}`
    const page: QuarantineList = (await get<QuarantineList>(`/v1/quarantine?reason=no-id&limit=500${from}`)).body
    for (const { id } of page.records) ids.add(id)
    cursor = page.cursor
  }
  expect([ids.size, pages]).toEqual([10_000, 20])
  const [id = ''] = ids
  const [, partition = '', offset = ''] = /-(\d+)-(\d+)$/.exec(id) ?? []
  const partitions = [{ partition: Number(partition), offset: String(BigInt(offset) + 1n) }]
  // kafkajs deletes records only of topics whose leaders it knows.
  await pipeline.administrator.fetchTopicOffsets(topic)
  await pipeline.administrator.deleteTopicRecords({ topic, partitions })
  for (const [path, method] of [
    ['', 'GET'],
    ['/redrive?dry-run=1', 'POST'],
    ['/redrive', 'POST'],
  ] as const)
    expect((await get(`/v1/quarantine/${id}${path}`, method)).body).toMatchObject({ type: 'record-not-found' })
  const list = await get<QuarantineList>('/v1/quarantine?reason=no-id&limit=500')
  expect(list.body.records.map((record) => record.id)).not.toContain(id)
})
