/** Sends requests that Schemathesis derives from the OpenAPI document of the reader. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { waitUntil } from '@customer-stream/runtime'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { runSchemathesis, schemathesis, timeout } from './schemathesis.ts'

let pipeline: Pipeline
let reader: ServiceProcess
afterAll(() => pipeline?.close())

const get = (path: string) => fetch(`${reader.url}${path}`, { headers: { authorization: 'Bearer full-api-key' } })
const untilFound = (path: string) =>
  waitUntil(
    `GET ${path} finds something`,
    async () => {
      const answer = await get(path)
      return [answer.status, await answer.text()] as const
    },
    ([status, text]) => status === 200 && !/"(records|dealers|events)":\[\]/.test(text),
  )

/**
 * Stores a customer, a dealer, a raw event and records of quarantine. Without them many requests
 * would get only 404.
 */
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  const services = await Promise.all([
    pipeline.start('ingress'),
    pipeline.start('projector'),
    pipeline.start('reader', { READ_WAIT_MS: '50', READER_MAX_RATE: '1000000' }),
  ])
  const [ingress] = services
  reader = services[2]
  await Promise.all(services.map((service) => service.untilReady()))
  // Schemathesis often generates the id 0.
  const { body } = makeCustomersEvent({
    customerUuid: '0',
    dealeruuid: '0',
    customer: { customerKey: '0', emails: [{ emailAddress: '0' }], loyalty: '5' },
    vehicles: [{ vin: '0' }],
  })
  expect((await pipeline.post(ingress, body)).status).toBe(202)
  for (let i = 0; i < 3; i++) expect((await pipeline.post(ingress, `not json ${i}`)).status).toBe(400)
  const paths = ['/v1/customers/0', '/v1/customers/0/events', '/v1/dealers', '/v1/quarantine', '/v1/pipeline']
  await Promise.all(paths.map(untilFound))
})

/**
 * Starts a proxy that ends each stream after its first bytes. Otherwise a stream would have no end,
 * and Schemathesis would wait for it.
 */
const endStreams = async () => {
  // The proxy accepts very large headers, so that such requests reach the reader.
  const server = createServer({ maxHeaderSize: 1024 * 1024 }, (incoming, outgoing) => {
    const { method, headers, url = '' } = incoming
    const upstream = request(`${reader.url}${url}`, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
      if (!answer.headers['content-type']?.startsWith('text/event-stream')) return answer.pipe(outgoing)
      return answer.once('data', (bytes) => {
        outgoing.end(bytes)
        upstream.destroy()
      })
    })
    // When the proxy ends a stream, `upstream` also emits an error.
    upstream.on('error', () => outgoing.destroy())
    incoming.pipe(upstream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

const fuzz = (url: string, options: readonly string[]) =>
  runSchemathesis({
    document: 'reader-openapi.json',
    url,
    cwd: pipeline.folder,
    options: [
      ...['--header', 'authorization: Bearer full-api-key'],
      // This check needs requests without an API key, but every request here has the key.
      // `services/reader/src/http/app.test.ts` has requests without a key.
      ...['--exclude-checks', 'ignored_auth'],
      // 504 is a documented answer to `min-version`. At its end, this test checks by a metric that
      // no answer was 500.
      ...['--exclude-checks', 'not_a_server_error'],
      // The OpenAPI document cannot say which texts are phone numbers, or which cursors exist.
      ...['--exclude-checks', 'positive_data_acceptance'],
      ...options,
    ],
  })

const STREAMS = '/v1/changes'

describe.skipIf(schemathesis === undefined)('generated requests to the reader', () => {
  it('each generated request to the reader gets a documented answer, except streams of changes', {
    timeout,
  }, async () => {
    const { code, output } = await fuzz(reader.url, ['--exclude-path', STREAMS])
    expect(code, output).toBe(0)
  })

  it('each generated request for a stream of changes gets a documented answer', { timeout }, async () => {
    const proxy = await endStreams()
    try {
      const { code, output } = await fuzz(proxy.url, ['--include-path', STREAMS])
      expect(code, output).toBe(0)
    } finally {
      proxy.close()
    }
  })

  it('the reader answers no generated request with internal-error or unavailable', async () => {
    const of = (answer: string) => reader.metric('reader_answers_total', { answer })
    const all = await reader.metric('reader_answers_total')
    process.stdout.write(`${all} answers of the reader, ${await of('ok')} with 200\n`)
    expect(await of('ok')).toBeGreaterThan(0)
    expect([await of('internal-error'), await of('unavailable')]).toEqual([0, 0])
    expect(await reader.end()).toBe(0)
    expect(readFileSync(reader.logFile, 'utf8')).not.toContain('"level":50')
  })
})
