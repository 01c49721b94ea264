import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { describe, expect, it, onTestFinished } from 'vitest'
import { HEALTH_PATH, OPENAPI_PATH } from './app.ts'
import { CONSOLE_PATHS } from './console-routes.ts'
import { DOCS_PATH } from './docs-page.ts'
import { CUSTOMER, HASH, KEYS, pathOf, readingOf, requestTo, start } from './fixtures/start-app.ts'
import { openApi } from './openapi/openapi.ts'

describe('each route', () => {
  const { app } = start()
  const routes = [...app.routes]
    .filter(([path]) => ![...CONSOLE_PATHS, DOCS_PATH].includes(path))
    .flatMap(([path, methods]) => methods.map((method) => ({ path, method })))
    // Each GET has a HEAD, which an OpenAPI document does not list.
    .filter(({ method }) => method !== 'HEAD')
  const secured = routes.filter(({ path }) => path !== OPENAPI_PATH && path !== HEALTH_PATH)
  /** Routes whose answers have data of all dealers. */
  const ofOperators = secured.filter(({ path }) => /^\/v1\/(pipeline|quarantine)/.test(path))
  const ofDealers = secured.filter((route) => !ofOperators.includes(route))

  it('each route is in openapi.json, and only the document, the health check and the console need no key', () => {
    const described = Object.entries(openApi('0').paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
    )
    expect(described.toSorted()).toEqual(routes.map(({ path, method }) => `${method} ${path}`).toSorted())
    expect(secured.length).toBe(routes.length - 2)
  })

  it.each(
    secured.flatMap((route) =>
      Object.entries({
        'no key': {},
        'an empty key': { authorization: 'Bearer ' },
        'the scheme Basic': { authorization: 'Basic full-key' },
        'a key without a scheme': { authorization: 'full-key' },
        'an unknown key': { authorization: 'Bearer unknown-key' },
        'a part of a key': { authorization: 'Bearer full-ke' },
        'a longer key': { authorization: 'Bearer full-key1' },
        'the digest of a key': { authorization: `Bearer ${KEYS[0]!.sha256}` },
        'two keys': { authorization: 'Bearer full-key, Bearer full-key' },
        'the name of a key': { authorization: 'Bearer full' },
        'another header': { 'x-api-key': 'full-key' },
      }).map(([what, headers]) => ({ ...route, what, headers })),
    ),
  )('$method $path with $what gets 401 and shows nothing', async ({ path, method, headers }) => {
    let reads = 0
    const { app: own, count } = start({
      read: async () => {
        reads += 1
        return readingOf(HASH)
      },
    })
    const answer = await own.inject(requestTo({ path, method }, headers))
    expect([answer.statusCode, answer.headers['www-authenticate'], reads]).toEqual([401, 'Bearer', 0])
    expect(answer.json()).toEqual({ type: 'unauthenticated', status: 401, title: 'The request has no valid API key.' })
    expect(await count('reader_answers_total', 'unauthenticated')).toBe(1)
  })

  it.each(secured)('$method $path with a key without the scope gets 403', async ({ path, method }) => {
    const headers = { authorization: 'Bearer only-pii-key' }
    const answer = await app.inject(requestTo({ path, method }, headers))
    expect(answer.json()).toMatchObject({ type: 'forbidden', status: 403 })
  })

  it.each(ofOperators)(
    '$method $path refuses a key for some dealers, and a key without the scope operate',
    async ({ path, method }) => {
      for (const name of ['operator-a', 'full']) {
        const answer = await app.inject(requestTo({ path, method }, { authorization: `Bearer ${name}-key` }))
        expect(answer.json(), name).toMatchObject({ type: 'forbidden', status: 403 })
      }
    },
  )

  it.each(ofDealers)('$method $path shows a key nothing of another dealer', async ({ path, method }) => {
    const none: Parameters<typeof start>[0] = {
      read: async () => ({ kind: 'missing' }),
      find: async () => ({ kind: 'found', customers: [], isTruncated: false }),
      list: async () => ({ kind: 'page', customers: [], next: undefined }),
      listDealers: async () => ({ kind: 'page', dealers: [], next: undefined }),
      open: async () => ({ kind: 'stream', body: Readable.from(['']) }),
    }
    const ask = (name: string, stored = {}) =>
      start(stored).app.inject(requestTo({ path, method }, { authorization: `Bearer ${name}-key` }))
    const [other, missing] = [await ask('dealer-b'), await ask('dealer-b', none)]
    expect([other.statusCode, other.body]).toEqual([missing.statusCode, missing.body])
    expect(other.body).not.toMatch(/ada|dealer-a/i)
    expect((await ask('dealer-a')).body).toMatch(/"customerUuid":"ada"|"dealerUuid":"dealer-a"/)
  })

  it.each(routes)(
    'a request to $path with a method other than $method gets 405, even with a wrong body',
    async ({ path }) => {
      const headers = { 'content-type': 'application/json' }
      const answer = await app.inject({ method: 'DELETE', url: pathOf(path), headers, body: '{' })
      expect([answer.statusCode, answer.headers.allow]).toEqual([405, app.routes.get(path)?.join(', ')])
    },
  )
})

it.each([
  ...[...start().app.routes].flatMap(([path, methods]) => (methods.includes('GET') ? [path] : [])),
  '/v1/nothing',
])('HEAD %s is answered like GET, without the body, and reveals nothing', async (path) => {
  for (const name of ['full', 'masked', 'revealer', 'unknown']) {
    const { app, revealed } = start({ open: async () => ({ kind: 'stream', body: Readable.from(['an event']) }) })
    const ask = (method: 'GET' | 'HEAD') =>
      app.inject({ method, url: pathOf(path), headers: { authorization: `Bearer ${name}-key` } })
    const head = await ask('HEAD')
    expect([head.body, revealed]).toEqual(['', []])
    const get = await ask('GET')
    const { date: _, 'transfer-encoding': __, ...headers } = get.headers
    expect([head.statusCode, head.headers]).toEqual([get.statusCode, expect.objectContaining(headers)])
  }
})

it('HEAD of the changes begins no stream, because the stream would never end', async () => {
  let streams = 0
  const open = async () => {
    streams += 1
    return { kind: 'stream', body: new Readable({ read: () => undefined }) } as const
  }
  const answer = await start({ open }).app.inject({
    method: 'HEAD',
    url: '/v1/changes',
    headers: { authorization: 'Bearer full-key' },
  })
  expect([answer.statusCode, answer.headers['content-type'], streams]).toEqual([200, 'text/event-stream', 0])
})

it('an outage of Redis is answered with 503, and a bug with 500 without details', async () => {
  const failing = (error: Error) => start({ read: () => Promise.reject(error) })
  const outage = failing(new Error('Command timed out'))
  expect((await outage.get(CUSTOMER)).json()).toEqual({
    type: 'unavailable',
    status: 503,
    title: 'The data cannot be read now. Send the request again.',
    detail: 'Redis does not answer, or cannot answer now.',
  })
  expect(outage.failures).toEqual([])
  const bug = failing(new TypeError('Ada is undefined'))
  const answer = await bug.get(CUSTOMER)
  expect(answer.json()).toEqual({ type: 'internal-error', status: 500, title: 'The service failed.' })
  expect(bug.failures).toHaveLength(1)
})

it('a key that sends too many requests gets 429, and other keys do not', async () => {
  const { get } = start({ maxRate: 2 })
  const statuses = await Promise.all([1, 2, 3].map(async () => (await get(CUSTOMER)).statusCode))
  expect(statuses).toEqual([200, 200, 429])
  expect((await get(CUSTOMER, 'masked')).statusCode).toBe(200)
})

it.each([
  ['/v1', 404, 'not-found'],
  ['/v1/customers', 404, 'not-found'],
  ['/v1/customers/', 404, 'not-found'],
  ['/v1/customers/ada/', 404, 'not-found'],
  ['/v1/customers/%zz', 400, 'bad-request'],
  ['/v1/customers/%ff', 400, 'bad-request'],
])('GET %s is answered with %s', async (url, status, type) => {
  const { get, count } = start()
  const answer = await get(url)
  expect([answer.statusCode, answer.json()]).toEqual([status, expect.objectContaining({ type, status })])
  expect(await count('reader_answers_total', type)).toBe(1)
})

it('with READER_AUTH=off, a request without a key gets an unmasked answer', async () => {
  const answer = await start({ isOpen: true }).app.inject(CUSTOMER)
  expect([answer.statusCode, answer.json().customer.firstName]).toEqual([200, 'Ada'])
})

it('a span of an answer has no customer data, and only a client with a valid key can continue a trace', async () => {
  const { get, spans } = start()
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  await get(CUSTOMER, 'full', { traceparent })
  await get(CUSTOMER, undefined, { traceparent, authorization: 'Bearer x' })
  expect(spans).toMatchObject([
    { name: 'GET /v1/customers/:customerUuid', parent: { traceparent }, sampling: 'parent' },
    { parent: undefined, links: [{ traceparent }], sampling: 'ratio' },
  ])
  expect(JSON.stringify(spans.map(({ attributes }) => attributes))).not.toContain('ada')
})

it('/healthz is 200 until SIGTERM, then 503, and is not counted as a request', async () => {
  const { app, stopping, spans, count } = start()
  const ask = async () => {
    const { statusCode, body, headers } = await app.inject(HEALTH_PATH)
    return [statusCode, JSON.parse(body), headers.connection]
  }
  expect(await ask()).toEqual([200, { status: 'ready' }, 'keep-alive'])
  stopping.abort()
  expect(await ask()).toEqual([503, expect.objectContaining({ type: 'unavailable' }), 'close'])
  expect([
    spans,
    await count('reader_answers_total', 'ok'),
    await count('reader_answers_total', 'unavailable'),
  ]).toEqual([[], 0, 0])
})

it('a client that reads no answers is disconnected, so that its answers need no memory', async () => {
  // The answer does not fit into the buffers of both sockets.
  const read = async () => readingOf({ ...HASH, note: 'x'.repeat(16 * 1024 * 1024) })
  const { app } = start({ read, keepAliveTimeoutMs: 100, requestTimeoutMs: 100 })
  onTestFinished(() => app.close())
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const closed = new Promise<number>((resolve) =>
    app.server.on('connection', (socket) => socket.on('close', () => resolve(socket.bytesWritten))),
  )
  const client = connect(Number(port), '127.0.0.1').pause()
  onTestFinished(() => void client.destroy())
  client.on('error', () => undefined)
  client.write(`GET ${CUSTOMER} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer full-key\r\n\r\n`)
  expect(await closed).toBeGreaterThan(0)
})

/** Sends a text to the port of an app. Returns the text of the answer. */
const sendRaw = async (text: string): Promise<string> => {
  const { app } = start()
  onTestFinished(() => app.close())
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(text))
    socket.on('data', (chunk) => {
      answer += chunk
    })
    socket.on('close', () => resolve(answer))
  })
}

it.each([
  ['no version', 'GET\r\n\r\n', 400, 'bad-request'],
  ['large headers', `GET / HTTP/1.1\r\nhost: a\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'headers-too-large'],
  ['no host', `GET ${CUSTOMER} HTTP/1.1\r\nconnection: close\r\n\r\n`, 401, 'unauthenticated'],
  ['an expectation', `GET ${CUSTOMER} HTTP/1.1\r\nexpect: x\r\nconnection: close\r\n\r\n`, 401, 'unauthenticated'],
])('a request with %s, which Node would answer itself, gets a problem document', async (_, request, status, type) => {
  const problem = `^HTTP/1\\.1 ${status} .*content-type: application/problem\\+json.*"type":"${type}"`
  expect(await sendRaw(request)).toMatch(new RegExp(problem, 's'))
})

it.each(['.', '..', '%2e%2e'])('the path segment %s is taken as the id of a customer', async (id) => {
  const headers = 'authorization: Bearer full-key\r\nconnection: close'
  expect(await sendRaw(`GET /v1/customers/${id} HTTP/1.1\r\nhost: a\r\n${headers}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /)
})
