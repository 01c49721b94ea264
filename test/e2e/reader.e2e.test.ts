import { randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { customerKey, partitionOf, positionsKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import {
  apiKeys,
  openPipeline,
  type Pipeline,
  type ServiceProcess,
  startRedisWithSentinels,
  storeCustomer,
} from '@customer-stream/testing'
import { startRedis } from '@customer-stream/testing/vitest'
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest'
import type { PipelineDocument } from '../../services/reader/src/http/pipeline-document.ts'

let pipeline: Pipeline
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
})
afterAll(() => pipeline.close())

const get = (reader: ServiceProcess, path: string, name = 'full', headers = {}) =>
  fetch(`${reader.url}${path}`, { headers: { authorization: `Bearer ${name}-api-key`, ...headers } })

/** Resolves when the reader gives this answer. */
const untilAnswer = (reader: ServiceProcess, path: string, status: number, name?: string) =>
  waitUntil(
    `the answer to ${path} is ${status}`,
    async () => (await get(reader, path, name)).status,
    (found) => found === status,
  )

it('a client reads its own write with min-version, and each change has a new ETag', async () => {
  const services = await Promise.all([pipeline.start('ingress'), pipeline.start('projector'), pipeline.start('reader')])
  const [ingress, , reader] = services
  await Promise.all(services.map((service) => service.untilReady()))
  const timestamp = Date.now()
  const { body, customerUuid, id } = makeCustomersEvent({ timestamp })
  const path = `/v1/customers/${encodeURIComponent(customerUuid)}`
  const [early] = await Promise.all([
    get(reader, `${path}?min-version=${timestamp}:${id}`),
    pipeline.post(ingress, body),
  ])
  expect(early.status).toBe(200)
  expect(await early.json()).toMatchObject({ customerUuid, version: { timestamp, id } })
  expect(Number(early.headers.get('x-applied-at'))).toBeGreaterThanOrEqual(Number(early.headers.get('x-received-at')))
  const tag = early.headers.get('etag') ?? ''
  expect((await get(reader, path, 'full', { 'if-none-match': tag })).status).toBe(304)
  await storeCustomer(pipeline, ingress, customerUuid, timestamp + 1)
  expect((await get(reader, path, 'full', { 'if-none-match': tag })).status).toBe(200)
  expect((await get(reader, '/v1/customers/nobody')).status).toBe(404)

  expect(await reader.metric('reader_answers_total', { answer: 'ok' })).toBe(2)
  expect(await reader.end()).toBe(0)
  const reveals = readFileSync(reader.logFile, 'utf8').match(/"event":"revealed".*/g) ?? []
  expect(reveals).toHaveLength(2)
  expect(reveals[0]).toContain(`"key":"full","customers":["${customerUuid}"]`)
})

it('while no projector runs, an answer says until when Redis has all events', async () => {
  const site = await openPipeline(inject('brokers'))
  onTestFinished(() => site.close())
  const services = await Promise.all([site.start('ingress'), site.start('projector'), site.start('reader')])
  const [ingress, projector, reader] = services
  await Promise.all(services.map((service) => service.untilReady()))
  await storeCustomer(site, ingress, 'ada', Date.now())
  const answerFor = async (customerUuid: string) => {
    const { status, headers } = await get(reader, `/v1/customers/${customerUuid}`)
    return { status, completeAsOf: headers.get('x-complete-as-of') }
  }

  // The first measurement of the reader may precede the positions of the projector.
  await waitUntil(
    'the reader knows until when Redis has all events',
    () => answerFor('ada'),
    ({ completeAsOf }) => completeAsOf !== 'unknown',
  )
  expect(await projector.end()).toBe(0)
  const stored = await site.post(ingress, makeCustomersEvent({ customerUuid: 'bob' }).body)
  expect(stored.status).toBe(202)
  const acknowledgedAt = Date.now()
  // The second measurement begins after the event was acknowledged.
  const measurements = async () => {
    const { history } = (await (await get(reader, '/v1/pipeline')).json()) as PipelineDocument
    return history.length
  }
  const before = await measurements()
  await waitUntil('two measurements', measurements, (found) => found >= before + 2)
  const late = await answerFor('bob')
  expect([late.status, Number(late.completeAsOf) < acknowledgedAt]).toEqual([404, true])

  await site.start('projector')
  await waitUntil(
    'a measurement has found all events in Redis',
    () => answerFor('bob'),
    ({ completeAsOf }) => Number(completeAsOf) > acknowledgedAt,
  )
  expect((await answerFor('bob')).status).toBe(200)
})

it('a search after a request with min-version finds the customer only by its new values', async () => {
  const services = await Promise.all([pipeline.start('ingress'), pipeline.start('projector'), pipeline.start('reader')])
  const [ingress, , reader] = services
  await Promise.all(services.map((service) => service.untilReady()))
  const customerUuid = randomUUID()
  const vins = Array.from({ length: 20 }, (_, i) => `${customerUuid}-${i}`.toUpperCase())
  const search = async (vin: string) => {
    const headers = { authorization: 'Bearer full-api-key', 'content-type': 'application/json' }
    const body = JSON.stringify({ vin })
    const answer = await fetch(`${reader.url}/v1/customers/search`, { method: 'POST', headers, body })
    return ((await answer.json()) as { customers: { customerUuid: string }[] }).customers.map(
      (each) => each.customerUuid,
    )
  }
  const start = Date.now()
  for (const [i, vin] of vins.entries()) {
    const { body, id, timestamp } = makeCustomersEvent({ customerUuid, timestamp: start + i, vehicles: [{ vin }] })
    const [read] = await Promise.all([
      get(reader, `/v1/customers/${customerUuid}?min-version=${timestamp}:${id}`),
      pipeline.post(ingress, body),
    ])
    expect(read.status).toBe(200)
    expect([await search(vin), await search(vins[i - 1] ?? 'none')]).toEqual([[customerUuid], []])
  }
  for (const service of services) expect(await service.end()).toBe(0)
})

/** Puts a customer into a Redis, as the projector does. */
const putCustomer = async (redis: Pipeline['redis']) => {
  const { keyPrefix } = pipeline
  await redis.hset(positionsKey(1, keyPrefix), 'raw/0', '1')
  await redis.hset(customerKey('c', keyPrefix), {
    customerUuid: 'c',
    _eventId: 'e',
    _eventTimestamp: '7',
    _source: 'raw/0/0',
    _receivedAt: '8',
    _appliedAt: '9',
    _projection: '1',
  })
}

it('during an outage of Redis the reader answers 503 in time, and then recovers without help', async () => {
  // With `everysec` Redis may delay a write while it syncs an earlier write, so a killed Redis
  // could lose it.
  const redis = await startRedis({ args: ['--appendfsync', 'always'] })
  onTestFinished(() => redis.stop())
  const client = await pipeline.connectRedis(redis.url)
  await putCustomer(client)
  client.disconnect()
  await redis.kill()
  const env = { REDIS_URL: redis.url, REDIS_COMMAND_TIMEOUT_MS: '500' }
  const reader = await pipeline.start('reader', env)
  const answer = await get(reader, '/v1/customers/c')
  expect([answer.status, await answer.json()]).toEqual([503, expect.objectContaining({ type: 'unavailable' })])
  expect(await (await fetch(`${reader.adminUrl}/readyz`)).text()).toMatch(/not-ready.*redis/)
  await redis.restart()
  await reader.untilReady()
  expect((await get(reader, '/v1/customers/c')).status).toBe(200)

  await redis.pause()
  const started = performance.now()
  expect((await get(reader, '/v1/customers/c')).status).toBe(503)
  expect(performance.now() - started).toBeLessThan(5000)
  await redis.resume()
  await untilAnswer(reader, '/v1/customers/c', 200)

  await redis.kill()
  await redis.loseData()
  await redis.restart()
  // Redis is empty now, so the reader must not say that the customer does not exist.
  await reader.untilReady()
  expect((await get(reader, '/v1/customers/c')).status).toBe(503)
  expect(await reader.end()).toBe(0)
})

it('during a failover of Redis each answer is correct or 503, and the reader finds the new primary', {
  timeout: 60_000,
}, async () => {
  const site = await startRedisWithSentinels()
  onTestFinished(() => site.stop())
  await site.untilWatched()
  const killed = await site.primary()
  const client = await pipeline.connectRedis(killed.url)
  await putCustomer(client)
  expect(await client.call('WAIT', '1', '5000')).toBe(1)
  client.disconnect()
  const reader = await pipeline.start('reader', { ...site.env, REDIS_COMMAND_TIMEOUT_MS: '500' })
  await reader.untilReady()
  const statusOf = async (customerUuid: string) => (await get(reader, `/v1/customers/${customerUuid}`)).status
  expect([await statusOf('c'), await statusOf('nobody')]).toEqual([200, 404])
  await killed.kill()
  const seen = new Set<string>()
  await waitUntil(
    'the reader answers from the new primary',
    async () => {
      const statuses = await Promise.all([statusOf('c'), statusOf('nobody')])
      for (const [i, status] of statuses.entries()) seen.add(`${['stored', 'missing'][i]} ${status}`)
      return statuses
    },
    ([stored, missing]) => stored === 200 && missing === 404,
  )
  expect(await site.primary()).not.toBe(killed)
  expect([...seen].toSorted()).toEqual(['missing 404', 'missing 503', 'stored 200', 'stored 503'])
  expect(await reader.end()).toBe(0)
})

it('while a lost Redis is filled again, the reader never answers 404 for a stored customer', async () => {
  const site = await openPipeline(inject('brokers'))
  onTestFinished(() => site.close())
  const services = await Promise.all([
    site.start('ingress'),
    // With this long interval, the event below first reveals the loss for one partition. Only later
    // the periodic check finds the loss of all partitions.
    site.start('projector', { POSITION_CHECK_MS: '2000' }),
    site.start('reader'),
  ])
  const [ingress, , reader] = services
  await Promise.all(services.map((service) => service.untilReady()))
  const [first = '', other = ''] = [3, 7].map((partition) => {
    for (let i = 0; ; i++) if (partitionOf(`${partition}-${i}`, 12) === partition) return `${partition}-${i}`
  })
  const post = async (customerUuid: string, timestamp: number) =>
    expect((await site.post(ingress, makeCustomersEvent({ customerUuid, timestamp }).body)).status).toBe(202)
  for (const customerUuid of [first, other]) {
    await post(customerUuid, 1)
    await untilAnswer(reader, `/v1/customers/${customerUuid}`, 200)
  }
  await site.redis.del(...(await site.redis.keys(`${site.keyPrefix}*`)))
  await post(first, 2)
  await untilAnswer(reader, `/v1/customers/${first}`, 200)
  await waitUntil(
    'the other customer is back',
    async () => {
      const { status } = await get(reader, `/v1/customers/${other}`)
      expect(status).not.toBe(404)
      return status
    },
    (status) => status === 200,
  )
})

it('SIGTERM ends waiting requests with an answer, and the reader exits with 0', async () => {
  const reader = await pipeline.start('reader', { READ_WAIT_MS: '30000' })
  await reader.untilReady()
  const waiting = get(reader, '/v1/customers/c?min-version=7:e')
  await waitUntil(
    'the request waits',
    () => reader.metric('reader_waiting_requests'),
    (count) => count === 1,
  )
  reader.signal('SIGTERM')
  const { status, headers } = await waiting
  expect([status, headers.get('connection')]).toEqual([503, 'close'])
  expect(await reader.ended).toBe(0)
})

it('a changed file of API keys is used without a restart', async () => {
  const file = join(pipeline.folder, 'keys.json')
  const scopes = ['read'] as const
  const write = (name: string) => writeFileSync(file, apiKeys([{ name, scopes, dealers: ['*'] }]))
  write('old')
  const env = { READER_API_KEYS: '', READER_API_KEYS_FILE: file, SECRET_FILES_CHECK_MS: '100' }
  const reader = await pipeline.start('reader', env)
  await reader.untilReady()
  await putCustomer(pipeline.redis)
  const path = '/v1/customers/c'
  await untilAnswer(reader, path, 200, 'old')
  write('new')
  await untilAnswer(reader, path, 401, 'old')
  expect((await get(reader, path, 'new')).status).toBe(200)
})

it('a reader without Kafka is ready and answers about customers, and says what is missing', async () => {
  const problemOf = async (path: string) => {
    const answer = await get(reader, path)
    const { type } = (await answer.json()) as { type: string }
    return [answer.status, type, answer.headers.get('retry-after')]
  }
  await putCustomer(pipeline.redis)
  const reader = await pipeline.start('reader', { KAFKA_BROKERS: '127.0.0.1:1' })
  await reader.untilReady()
  expect((await get(reader, '/v1/customers/c')).status).toBe(200)
  await waitUntil(
    'the readiness names the outage of Kafka',
    async () => (await fetch(`${reader.adminUrl}/readyz`)).text(),
    (text) => /"status":"ready".*"name":"kafka","ready":true,"detail":"Kafka 127\.0\.0\.1:1 /.test(text),
  )
  expect(await reader.metric('reader_kafka_available')).toBe(0)
  const record = `/v1/quarantine/${pipeline.topics.quarantine}-0-1`
  const problems = await Promise.all(['/v1/changes', '/v1/customers/c/events', '/v1/quarantine', record].map(problemOf))
  expect(problems).toEqual(Array(4).fill([503, 'unavailable', '1']))
  await untilAnswer(reader, '/v1/pipeline', 200)
  const pipelineDocument = await (await get(reader, '/v1/pipeline')).json()
  expect(pipelineDocument).toMatchObject({ isWell: false, lag: { records: null }, quarantine: null })
  expect(await reader.end()).toBe(0)
})

/** Opens a stream of changes. Reads its text until the text matches. */
const openChanges = async (reader: ServiceProcess, query: string, name: string, headers = {}) => {
  const leaving = new AbortController()
  onTestFinished(() => leaving.abort())
  const authorization = `Bearer ${name}-api-key`
  const answer = await fetch(`${reader.url}/v1/changes${query}`, {
    headers: { authorization, ...headers },
    signal: leaving.signal,
  })
  let text = ''
  const reading = (async () => {
    for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString()
    return 'ended'
  })().catch(() => 'cut')
  const until = (wanted: RegExp) =>
    waitUntil(
      `the stream matches ${wanted}`,
      () => text,
      (found) => wanted.test(found),
    )
  return { answer, until, ended: reading, leave: () => leaving.abort() }
}

it('a POST reaches a stream of changes, and a later stream continues after the event', async () => {
  const services = await Promise.all([pipeline.start('ingress'), pipeline.start('projector'), pipeline.start('reader')])
  const [ingress, , reader] = services
  await Promise.all(services.map((service) => service.untilReady()))
  await untilAnswer(reader, '/v1/changes?customer=', 400)
  const [first, second] = [makeCustomersEvent(), makeCustomersEvent()]
  const query = `?${[first, second].map((each) => `customer=${encodeURIComponent(each.customerUuid)}`).join('&')}`
  const stream = await openChanges(reader, query, 'full')
  expect([stream.answer.status, stream.answer.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
  const masked = await openChanges(reader, '', 'masked')
  await pipeline.post(ingress, first.body)
  const text = await stream.until(/\nevent: changed\n.*\n\n/)
  expect(text).toContain(`data: {"customerUuid":"${first.customerUuid}","version":`)
  expect(await masked.until(/event: changed/)).toContain('"firstName":"***"')
  const [, id = ''] = /\nid: (.*)\nevent: changed/.exec(text) ?? []
  stream.leave()
  await pipeline.post(ingress, second.body)
  const later = await openChanges(reader, query, 'full', { 'last-event-id': id })
  const rest = await later.until(/event: changed/)
  expect(rest).toContain(`"customerUuid":"${second.customerUuid}"`)
  expect(rest).not.toContain(`"customerUuid":"${first.customerUuid}"`)
  expect(await reader.metric('reader_streams')).toBe(2)

  const events = await get(reader, `/v1/customers/${encodeURIComponent(first.customerUuid)}/events?raw=1`)
  expect(await events.json()).toMatchObject({
    searched: { isComplete: true },
    events: [{ outcome: 'applied', isCurrent: true, raw: first.body, rawIsUtf8: true }],
  })

  const ended = Promise.all([later.ended, masked.ended])
  expect(await reader.end()).toBe(0)
  expect(await ended).toEqual(['ended', 'ended'])
  expect(await later.until(/\nretry: \d+\n\n$/)).toContain('retry')
  const reveals = readFileSync(reader.logFile, 'utf8').match(/"event":"revealed".*/g) ?? []
  // The request for the events is one reveal. The streams with the key `full` have revealed both
  // customers.
  const customers = reveals.flatMap((line) => /"key":"full","customers":\[(.*?)\]/.exec(line)?.[1]?.split(',') ?? [])
  const [before, after] = [first, second].map(({ customerUuid }) => JSON.stringify(customerUuid))
  expect(customers.toSorted()).toEqual([before, before, after].toSorted())
})
