import { createHmac } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { SpanOptions } from '@customer-stream/runtime'
import { createRegistry } from '@customer-stream/runtime/service'
import { parseEvent, topicNames } from '@customer-stream/schemas'
import { describe, expect, it } from 'vitest'
import type { End } from '../delivery/publisher.ts'
import { createIngressMetrics } from '../metrics.ts'
import { type AppDependencies, type AppOptions, createApp, HEALTH_PATH, type Refusal, WEBHOOK_PATH } from './app.ts'
import { createAuthenticate } from './authenticate.ts'
import type { Suspicion } from './webhook-route.ts'

type Published = Parameters<AppDependencies['publish']>[0]

const sign = (body: Uint8Array | string) => `sha256=${createHmac('sha256', 's3cret').update(body).digest('hex')}`
const authenticate = createAuthenticate({ secrets: new Map([['k', 's3cret']]), tokens: new Map([['t', 'tok']]) })

const start = ({
  outcome = 'stored',
  isTraced = false,
  isOpen = false,
  onBug,
  ...options
}: Partial<AppOptions> & {
  isTraced?: boolean
  /** Authentication is off. */
  isOpen?: boolean
  onBug?: (traceId: string | undefined) => void
  outcome?: End | Promise<End> | Error | (() => End)
} = {}) => {
  const published: Published[] = []
  const internalErrors: Error[] = []
  const refusals: Refusal[] = []
  const suspicions: Suspicion[] = []
  const spans: (SpanOptions & { readonly attributes: object; readonly error: string | undefined })[] = []
  const registry = createRegistry('test')
  const stopping = new AbortController()
  const app = createApp(
    {
      authenticate: isOpen ? undefined : authenticate,
      publish: async (record) => {
        published.push(record)
        if (outcome instanceof Error) throw outcome
        return { end: typeof outcome === 'function' ? outcome() : await outcome }
      },
      topics: topicNames(),
      metrics: createIngressMetrics(registry, {
        size: () => ({ records: 0, bytes: 0 }),
        spoolSize: () => ({ records: 0, bytes: 0, uncountedBytes: 0, oldestAt: undefined }),
        isolated: () => ({ failing: 0, slow: 0 }),
      }),
      onInternalError: (error, traceId) => {
        internalErrors.push(error)
        onBug?.(traceId)
      },
      tracer: isTraced
        ? {
            start: (span) => ({
              context: SPAN,
              end: (attributes, error) => void spans.push({ ...span, attributes, error }),
            }),
          }
        : undefined,
      onRefused: (refusal) => refusals.push(refusal),
      onSuspicion: (suspicion) => suspicions.push(suspicion),
      stopping: stopping.signal,
    },
    {
      maxBodyBytes: 10_000,
      maxReceivingBytes: 16_000_000,
      fallbackEncoding: undefined,
      acceptDeadlineMs: 1000,
      maxConnections: 100,
      keepAliveTimeoutMs: 1000,
      requestTimeoutMs: 1000,
      allowedAddresses: undefined,
      trustedProxies: undefined,
      ...options,
    },
  )
  const post = (body: Uint8Array | string, headers: Record<string, string | undefined> = {}) => {
    const all = {
      'content-type': 'text/plain',
      'mykaarma-signature-token': sign(body),
      'x-authorization-token': 'tok',
      ...headers,
    }
    return app.inject({
      method: 'POST',
      url: WEBHOOK_PATH,
      payload: Buffer.from(body as string),
      headers: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Record<
        string,
        string
      >,
    })
  }
  return { app, post, published, internalErrors, refusals, suspicions, spans, registry, stopping }
}

const SENDER = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' }
/** Context of each span of the fake tracer. */
const SPAN = { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`, tracestate: 'a=1' }

const customers = (customer: unknown) =>
  JSON.stringify({
    id: 'e1',
    timestamp: 1,
    type: 'customers',
    payload: JSON.stringify({ customerWithVehicles: { customer } }),
  })
const valid = customers({ customerUuid: 'c1' })

describe('authentic events', () => {
  it.each(['text/plain', 'text/plain; charset=utf-8', 'application/json', 'application/json;charset=UTF-8'])(
    'an event is accepted as %s, and stored byte for byte with its customer as key',
    async (type) => {
      const { post, published } = start()
      const body =
        '  {"id" : "e1", ' +
        '"big":12345678901234567890,\n"type":"customers","payload":' +
        `${JSON.stringify('{"customerWithVehicles":{"customer":{"customerUuid":"c1"}}}')}}\t`
      const answer = await post(body, { 'content-type': type })
      expect([answer.statusCode, answer.body]).toEqual([202, '{"status":"accepted"}'])
      expect(published).toHaveLength(1)
      expect(published[0]?.value.toString()).toBe(body)
      expect(published[0]).toMatchObject({
        topic: 'mykaarma.customers.raw',
        key: Buffer.from('c1'),
        headers: { signature: sign(body) },
      })
    },
  )

  it('an event of another type goes to the topic other.raw, with the dealer or the event id as key', async () => {
    const { post, published } = start()
    for (const event of [
      { type: 'mpis', id: 'e', dealeruuid: 'd' },
      { dataType: 'appointments', id: 'e' },
      { type: 'new-type' },
    ])
      expect((await post(JSON.stringify(event))).statusCode).toBe(202)
    expect(published.map(({ topic, key }) => [topic, key?.toString()])).toEqual([
      ['mykaarma.other.raw', 'd'],
      ['mykaarma.other.raw', 'e'],
      ['mykaarma.other.raw', undefined],
    ])
  })

  it('the metric of accepted events includes the wait for Kafka, and leaves out refused requests', async () => {
    const { promise: stored, resolve } = Promise.withResolvers<End>()
    const { post, published, registry } = start({ outcome: stored })
    const answer = post(valid)
    while (published.length === 0) await new Promise(setImmediate)
    setTimeout(resolve, 30, 'stored')
    await answer
    await post(valid, { 'x-authorization-token': 'wrong' })
    const metrics = await registry.metrics()
    expect(metrics).toContain('ingress_accept_seconds_count{service="test"} 1')
    expect(metrics).toContain('ingress_accept_seconds_bucket{le="0.02",service="test"} 0')
  })

  it('the answers of the webhook are timed by class of status code, and probes are not timed', async () => {
    const { app, post, registry } = start()
    await post(valid)
    await post(valid, { 'x-authorization-token': 'wrong' })
    await app.inject({ url: '/healthz' })
    const failing = start({ outcome: 'failed' as never })
    await failing.post(valid)
    const countsOf = async (text: string) =>
      ['2xx', '4xx', '5xx'].map((name) =>
        Number(new RegExp(`ingress_request_seconds_count\\{.*class="${name}".*\\} (\\d+)`).exec(text)?.[1]),
      )
    expect(await countsOf(await registry.metrics())).toEqual([1, 1, 0])
    expect(await countsOf(await failing.registry.metrics())).toEqual([0, 0, 1])
  })

  it('the record of an event has the trace context of the request, if this context is well-formed', async () => {
    const { post, published } = start()
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await post(valid, { traceparent, tracestate: 'a=1' })
    await post(valid, { traceparent: 'nonsense', tracestate: 'a=1' })
    await post('{}', { traceparent, tracestate: 'a=1' })
    expect(published.map(({ topic, headers }) => [topic, headers.traceparent, headers.tracestate])).toEqual([
      ['mykaarma.customers.raw', traceparent, 'a=1'],
      ['mykaarma.customers.raw', undefined, undefined],
      ['mykaarma.quarantine', traceparent, 'a=1'],
    ])
  })
})

describe('traces', () => {
  it('an accepted request has a child of the sender’s span, and its record has the context of this child', async () => {
    const { post, published, spans } = start({ isTraced: true })
    await post(valid, SENDER)
    await post(valid)
    expect(published.map(({ headers }) => headers)).toMatchObject([SPAN, SPAN])
    expect(spans).toMatchObject([
      { name: 'POST /webhooks/mykaarma', kind: 'server', sampling: 'parent', parent: SENDER, error: undefined },
      { sampling: 'parent', parent: undefined },
    ])
    expect(spans[0]?.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/webhooks/mykaarma',
      'http.response.status_code': 202,
      'customer_stream.event': 'customers',
      'customer_stream.outcome': 'stored',
    })
    expect(spans[0]?.startedAt).toBeGreaterThan(0)
  })

  it('a stranger cannot choose which traces are exported', async () => {
    const { post, spans, refusals } = start({ isTraced: true })
    expect((await post(valid, { ...SENDER, 'x-authorization-token': 'wrong' })).statusCode).toBe(401)
    expect(spans).toMatchObject([{ parent: undefined, links: [SENDER], sampling: 'ratio', error: undefined }])
    expect(spans[0]?.attributes).toMatchObject({ 'http.response.status_code': 401, 'error.type': 'unauthenticated' })
    expect(refusals).toMatchObject([{ traceId: '1'.repeat(32) }])
  })

  it('an authentic body that goes to quarantine has a span, and its record has the context of the span', async () => {
    const { post, published, spans, refusals } = start({ isTraced: true })
    expect((await post('{', SENDER)).statusCode).toBe(400)
    expect(published[0]).toMatchObject({ topic: 'mykaarma.quarantine', headers: SPAN })
    expect(spans).toMatchObject([{ parent: SENDER, attributes: { 'error.type': 'malformed-json' } }])
    expect(refusals).toMatchObject([{ traceId: '1'.repeat(32) }])
  })

  it('the span of an event that is not stored has an error', async () => {
    const { post, spans } = start({ isTraced: true, outcome: 'deadline' })
    expect((await post(valid, SENDER)).statusCode).toBe(503)
    expect(spans).toMatchObject([{ error: 'unavailable', attributes: { 'http.response.status_code': 503 } }])
  })

  it('a request to another path has no span', async () => {
    const { app, spans } = start({ isTraced: true })
    await app.inject({ url: HEALTH_PATH })
    await app.inject({ method: 'POST', url: '/other', headers: SENDER })
    expect(spans).toEqual([])
  })

  it('if traces are off, a refusal has the trace id of the sender', async () => {
    const { post, refusals } = start()
    await post(valid, { ...SENDER, 'x-authorization-token': 'wrong' })
    await post(valid, { 'x-authorization-token': 'wrong' })
    expect(refusals.map(({ traceId }) => traceId)).toEqual([SENDER.traceparent.slice(3, 35), undefined])
  })

  it('a bug is reported with the trace id of the request', async () => {
    const traceIds: (string | undefined)[] = []
    const { post, spans } = start({ isTraced: true, outcome: new Error('bug'), onBug: (id) => traceIds.push(id) })
    expect((await post(valid, SENDER)).statusCode).toBe(500)
    expect([traceIds, spans[0]?.error]).toEqual([['1'.repeat(32)], 'internal-error'])
  })
})

describe('unusable authentic bodies', () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  it.each([
    ['is empty', '', 400, 'malformed-json', 'not-json'],
    ['is not JSON', 'hello', 400, 'malformed-json', 'not-json'],
    ['is truncated', valid.slice(0, -5), 400, 'malformed-json', 'not-json'],
    ['is not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 400, 'malformed-json', 'not-utf8'],
    ['is an array', '[]', 422, 'unroutable', 'not-an-object'],
    ['is a number', '7', 422, 'unroutable', 'not-an-object'],
    ['is null', 'null', 422, 'unroutable', 'not-an-object'],
    ['has no type', '{"id":"e1"}', 422, 'unroutable', 'missing-type'],
    [
      'has a payload that is not JSON',
      '{"type":"customers","id":"e1","payload":"{"}',
      422,
      'unroutable',
      'payload-not-json',
    ],
    [
      'has the payload "null"',
      '{"type":"customers","id":"e1","payload":"null"}',
      422,
      'unroutable',
      'payload-not-an-object',
    ],
    ['has no customerUuid', customers({ firstName: 'x' }), 422, 'unroutable', 'missing-customer-uuid'],
    [
      'has a customerUuid that is not a valid key',
      customers({ customerUuid: 'é'.repeat(16_385) }),
      422,
      'unroutable',
      'customer-uuid-too-long',
    ],
    [
      'nests 100 000 deep',
      `{"type":"customers","id":"e1","payload":${JSON.stringify(deep)}}`,
      422,
      'unroutable',
      'payload-not-an-object',
    ],
  ])(
    'a body that %s is refused, and a copy goes to quarantine with the reason',
    async (_, body, status, type, reason) => {
      const { post, published } = start({ maxBodyBytes: 1_000_000 })
      const answer = await post(body)
      expect(answer.statusCode).toBe(status)
      expect(answer.headers['content-type']).toMatch('application/problem+json')
      expect(answer.json()).toMatchObject({ type, status, detail: reason })
      expect(published).toMatchObject([{ topic: 'mykaarma.quarantine', headers: { reason, stage: 'ingress' } }])
      expect(published[0]?.value).toEqual(Buffer.from(body as string))
    },
  )

  it('an event whose key is too long for Kafka is stored without a key', async () => {
    const { post, published } = start({ maxBodyBytes: 1_000_000 })
    const [long, fits] = ['x'.repeat(32_769), 'x'.repeat(32_768)]
    const bodies = [
      customers({ customerUuid: long }),
      JSON.stringify({ type: 'mpis', id: long }),
      JSON.stringify({ id: long }),
    ]
    for (const body of [...bodies, customers({ customerUuid: fits })]) await post(body)
    expect(published.map(({ topic, key }) => [topic, key?.length])).toEqual([
      ['mykaarma.quarantine', undefined],
      ['mykaarma.other.raw', undefined],
      ['mykaarma.quarantine', undefined],
      ['mykaarma.customers.raw', 32_768],
    ])
  })

  it('a compressed body is never unpacked, and its bytes go to quarantine', async () => {
    const { post, published } = start()
    const body = gzipSync('x'.repeat(1_000_000))
    const answer = await post(body, { 'content-encoding': 'gzip' })
    expect([answer.statusCode, answer.json().type]).toEqual([400, 'malformed-json'])
    expect(published[0]?.topic).toBe('mykaarma.quarantine')
    expect(body.equals(published[0]!.value)).toBe(true)
  })

  it('an unusable body gets 503 if its quarantine copy cannot be stored', async () => {
    expect((await start({ outcome: 'deadline' }).post('hello')).statusCode).toBe(503)
  })
})

describe('authentication', () => {
  it.each([
    ['no signature', { 'mykaarma-signature-token': undefined }],
    ['no token', { 'x-authorization-token': undefined }],
    ['a wrong signature', { 'mykaarma-signature-token': sign('other') }],
    ['a wrong token', { 'x-authorization-token': 'other' }],
  ])('a request with %s gets 401 without details, and is not stored', async (_, headers) => {
    const { post, published } = start()
    for (const body of [valid, 'not json']) {
      const answer = await post(body, headers as Record<string, string | undefined>)
      expect([answer.statusCode, answer.json()]).toEqual([
        401,
        { type: 'unauthenticated', status: 401, title: 'The request is not authenticated.' },
      ])
    }
    expect(published).toEqual([])
  })
})

describe('the order of checks', () => {
  const only = (address: string) => ({ includes: (other: string) => other === address })

  it('a request from a forbidden address is refused before all other checks', async () => {
    const { post, published } = start({ allowedAddresses: only('10.0.0.1') })
    const answer = await post('x'.repeat(20_000), {
      'content-type': 'image/png',
      'mykaarma-signature-token': undefined,
    })
    expect([answer.statusCode, answer.json().type]).toEqual([403, 'forbidden-address'])
    expect(published).toEqual([])
  })

  it('the forwarded address is used only from a trusted proxy', async () => {
    const behind = (trusted: string) =>
      start({ allowedAddresses: only('10.0.0.1'), trustedProxies: only(trusted) }).post(valid, {
        'x-forwarded-for': '10.0.0.1',
      })
    expect((await behind('127.0.0.1')).statusCode).toBe(202)
    expect((await behind('192.0.2.9')).statusCode).toBe(403)
  })

  it.each([
    ['415 for another content type', 'image/png', 'unsupported-media-type', 415, 'x'],
    ['413 for a body over the limit', 'text/plain', 'too-large', 413, 'x'.repeat(10_001)],
  ])('the answer %s comes before the check of the signature', async (_, type, slug, status, body) => {
    const answer = await start().post(body, { 'content-type': type, 'mykaarma-signature-token': undefined })
    expect([answer.statusCode, answer.json().type]).toEqual([status, slug])
  })

  it('the answer 413 names the limit', async () => {
    const answer = await start().post('x'.repeat(10_001))
    expect(answer.json().detail).toBe('A body may have at most 10000 bytes.')
  })

  it('a body of exactly the limit is accepted', async () => {
    const body = valid.padEnd(10_000)
    expect((await start().post(body)).statusCode).toBe(202)
  })
})

describe('outages', () => {
  it.each(['deadline', 'queue-full', 'refused', 'closing'] as const)(
    'an event is answered with 503 and Retry-After if the outcome is %s',
    async (outcome) => {
      const answer = await start({ outcome }).post(valid)
      expect([answer.statusCode, answer.json().type, answer.headers['retry-after']]).toEqual([503, 'unavailable', '5'])
    },
  )
})

it('an event that got 503 is at risk until it is accepted', async () => {
  const outcomes: End[] = ['deadline', 'deadline', 'stored']
  const { post, registry } = start({ outcome: () => outcomes.shift()! })
  const atRisk = async () => (await registry.getSingleMetric('ingress_events_at_risk')!.get()).values[0]?.value
  expect(await atRisk()).toBe(0)
  for (const expected of [1, 1, 0]) {
    await post(valid)
    expect(await atRisk()).toBe(expected)
  }
})

it('the metric of the last event has the time of the last 202', async () => {
  const { post, registry } = start()
  const last = async () =>
    (await registry.getSingleMetric('ingress_last_event_timestamp_seconds')!.get()).values[0]!.value
  await post(valid, { 'x-authorization-token': 'wrong' })
  expect(await last()).toBe(0)
  await post(valid)
  expect(Math.abs((await last()) - Date.now() / 1000)).toBeLessThan(60)
})

it('a bug is answered with 500 and reported, and the sender gets no details', async () => {
  const fault = new TypeError('a fault of ours')
  const { post, internalErrors } = start({ outcome: fault })
  const answer = await post(valid)
  expect([answer.statusCode, answer.json()]).toEqual([
    500,
    { type: 'internal-error', status: 500, title: 'The service failed.' },
  ])
  expect(internalErrors).toEqual([fault])
})

it('requests are answered during a shutdown, and each answer ends its connection', async () => {
  const stored = Promise.withResolvers<End>()
  const { app, post, published, stopping } = start({ outcome: stored.promise })
  const underWay = post(valid)
  while (published.length === 0) await new Promise(setImmediate)
  stopping.abort()
  stored.resolve('stored')
  const later = await post(valid)
  const closed = app.close()
  for (const { statusCode, headers } of [await underWay, later])
    expect([statusCode, headers.connection]).toEqual([202, 'close'])
  await closed
})

it('a request for an unknown path gets 404', async () => {
  const { app, internalErrors } = start()
  for (const method of ['GET', 'POST'] as const) {
    const answer = await app.inject({ method, url: '/' })
    expect([answer.statusCode, answer.json().type, answer.headers.connection]).toEqual([404, 'not-found', 'close'])
  }
  expect(internalErrors).toEqual([])
})

it.each([
  [WEBHOOK_PATH, 'GET', 'POST'],
  [WEBHOOK_PATH, 'HEAD', 'POST'],
  [WEBHOOK_PATH, 'PUT', 'POST'],
  [WEBHOOK_PATH, 'OPTIONS', 'POST'],
  [WEBHOOK_PATH, 'PROPFIND', 'POST'],
  [HEALTH_PATH, 'POST', 'GET, HEAD'],
])('a request %s %s is answered with 405 and the allowed methods', async (url, method, allow) => {
  const { app } = start()
  const { statusCode, headers } = await app.inject({ method: method as 'GET', url })
  expect([statusCode, headers.allow, headers.connection]).toEqual([405, allow, 'close'])
})

describe('harmless differences', () => {
  it.each([
    ['a trailing slash', `${WEBHOOK_PATH}/`],
    ['a doubled slash', '//webhooks//mykaarma'],
    ['a doubled slash at the end', `${WEBHOOK_PATH}//`],
    ['a query', `${WEBHOOK_PATH}?source=crm&x=/`],
    ['a percent-encoded letter', '/webhooks/my%6Baarma'],
    ['capitals', '/Webhooks/MyKaarma'],
    ['a whole URL', `http://example.org${WEBHOOK_PATH}`],
  ])('an event with %s in the URL is accepted', async (_, url) => {
    const { app, published } = start()
    const headers = {
      'content-type': 'text/plain',
      'mykaarma-signature-token': sign(valid),
      'x-authorization-token': 'tok',
    }
    expect((await app.inject({ method: 'POST', url, payload: valid, headers })).statusCode).toBe(202)
    expect(published).toHaveLength(1)
  })

  it.each([
    [undefined, undefined],
    ['', ''],
    ['application/octet-stream', 'application/octet-stream'],
    ['multipart/form-data; boundary=x', 'multipart/form-data; boundary=x'],
    ['nonsense', 'nonsense'],
    ['TEXT/PLAIN;charset="UTF-8"', 'TEXT/PLAIN;charset="UTF-8"'],
    ['text/plain', undefined],
    ['application/json; charset=utf-8', undefined],
  ])('the content type %s is accepted, and stored as %s', async (type, kept) => {
    const { post, published } = start()
    expect((await post(valid, { 'content-type': type })).statusCode).toBe(202)
    expect(published[0]?.headers['content-type']).toBe(kept)
  })
})

describe('charsets', () => {
  const text = customers({ customerUuid: 'José' })
  const latin1 = Buffer.from(text, 'latin1')
  it.each([
    [
      'is the declared charset',
      'text/plain; charset=ISO-8859-1',
      latin1,
      sign(latin1),
      'text/plain; charset=ISO-8859-1',
    ],
    ['is found if the signature is over UTF-8', 'text/plain', latin1, sign(text), 'text/plain; charset=windows-1252'],
    [
      'is the declared charset, even if the signature is over UTF-8',
      'text/plain;charset=latin1',
      latin1,
      sign(text),
      'text/plain;charset=latin1',
    ],
    [
      'is UTF-8 if the sender sent UTF-8 and signed the declared charset',
      'text/plain; charset=iso-8859-1',
      Buffer.from(text),
      sign(latin1),
      undefined,
    ],
    [
      'is UTF-8 if the sender sent UTF-8 and signed ISO-8859-1',
      'text/plain',
      Buffer.from(text),
      sign(latin1),
      undefined,
    ],
    [
      'may be UTF-16',
      'application/json; charset=utf-16',
      Buffer.from(text, 'utf16le'),
      sign(text),
      'application/json; charset=utf-16',
    ],
    [
      'is UTF-8 if it declares ASCII',
      'text/plain; charset=us-ascii',
      Buffer.from(text),
      sign(text),
      'text/plain; charset=us-ascii',
    ],
    [
      'is UTF-8 if the declared charset is unknown',
      'text/plain; charset=klingon',
      Buffer.from(text),
      sign(text),
      'text/plain; charset=klingon',
    ],
  ])('the charset of a body %s; the bytes are stored as sent', async (_, type, body, signature, kept) => {
    const { post, published } = start()
    expect((await post(body, { 'content-type': type, 'mykaarma-signature-token': signature })).statusCode).toBe(202)
    expect(published[0]?.value).toEqual(body)
    expect([published[0]?.key?.toString(), published[0]?.headers['content-type']]).toEqual(['José', kept])
    // A subscriber can read the record.
    expect(parseEvent(body, { contentType: published[0]?.headers['content-type'] })).toMatchObject({
      ok: true,
      value: { customerUuid: 'José' },
    })
  })

  it('the fallback charset is used if the body declares no charset and is not UTF-8', async () => {
    const { post, published } = start({ fallbackEncoding: 'windows-1252' })
    expect((await post(latin1)).statusCode).toBe(202)
    expect((await post(text)).statusCode).toBe(202)
    expect(published.map(({ key, headers }) => [key?.toString(), headers['content-type']])).toEqual([
      ['José', 'text/plain; charset=windows-1252'],
      ['José', undefined],
    ])
  })

  it('a copy in quarantine keeps the header content-type with its charset', async () => {
    const { post, published } = start()
    await post('é', { 'content-type': 'text/plain; charset=utf-16' })
    expect(published[0]?.headers).toMatchObject({ reason: 'not-json', 'content-type': 'text/plain; charset=utf-16' })
  })

  it('a changed body is not authentic, even if its charset is not UTF-8', async () => {
    const other = Buffer.from(text.replace('José', 'Josè'), 'latin1')
    expect((await start().post(other, { 'mykaarma-signature-token': sign(text) })).statusCode).toBe(401)
  })
})

describe('refusals', () => {
  it.each([
    ['unauthenticated', { 'mykaarma-signature-token': sign('other') }, WEBHOOK_PATH, valid],
    ['not-found', {}, '/webhook', valid],
    ['too-large', {}, WEBHOOK_PATH, 'x'.repeat(10_001)],
  ])(
    "a request refused as %s is disconnected, and is reported if it has the sender's headers",
    async (problem, headers, url, payload) => {
      const { app, refusals, registry } = start()
      const ours = {
        'mykaarma-signature-token': sign(payload),
        'x-authorization-token': 'tok',
        'content-type': 'text/plain',
      }
      const answer = await app.inject({ method: 'POST', url, payload, headers: { ...ours, ...headers } })
      expect([answer.json().type, answer.headers.connection]).toEqual([problem, 'close'])
      // Only the log names the failed check. In the answer, the name would help an attacker.
      expect(answer.body).not.toContain('signature-wrong')
      const seen = {
        problem,
        ...(problem === 'unauthenticated' && { check: 'signature-wrong' }),
        sender: 'proven',
        method: 'POST',
        path: url,
        contentType: 'text/plain',
        bytes: payload.length,
        address: '127.0.0.1',
      }
      expect(refusals).toMatchObject([seen])
      await app.inject({
        method: 'POST',
        url,
        payload: 'x'.repeat(payload.length),
        headers: { 'content-type': 'text/plain' },
      })
      expect(refusals).toHaveLength(1)
      expect(await registry.getSingleMetricAsString('ingress_sender_refusals_total')).toContain(
        `problem="${problem}",sender="proven",service="test"} 1`,
      )
    },
  )

  it("a stranger's request is counted by the check that failed, and does not prove the sender", async () => {
    const { post, refusals, registry } = start()
    const forged = { 'x-authorization-token': 'guess' }
    for (let i = 0; i < 6; i++) await post(valid, { ...forged, 'mykaarma-signature-token': sign('other') })
    await post(valid, { 'mykaarma-signature-token': undefined, 'x-authorization-token': undefined })
    await post('x'.repeat(10_001), forged)
    expect(refusals.map(({ check, sender }) => [check, sender])).toEqual([
      ...Array(6).fill(['token-unknown', 'claimed']),
      [undefined, 'claimed'],
    ])
    const unauthenticated = await registry.getSingleMetricAsString('ingress_unauthenticated_total')
    expect(unauthenticated).toContain('check="token-unknown",service="test"} 6')
    expect(unauthenticated).toContain('check="signature-missing",service="test"} 1')
    const refused = await registry.getSingleMetricAsString('ingress_sender_refusals_total')
    expect(refused).toContain('problem="unauthenticated",sender="claimed",service="test"} 6')
    expect(refused).toContain('problem="unauthenticated",sender="proven",service="test"} 0')
    const last = await registry.getSingleMetric('ingress_last_refusal_timestamp_seconds')!.get()
    expect(Date.now() / 1000 - last.values[0]!.value).toBeLessThan(60)
  })

  it.each([
    ['proven', false],
    ['claimed', true],
  ])('the sender of an unusable event is %s (authentication off: %s)', async (sender, isOpen) => {
    const { post, refusals } = start({ isOpen })
    expect((await post('not json')).statusCode).toBe(400)
    expect(refusals).toMatchObject([{ problem: 'malformed-json', sender }])
  })

  it('a request from a forbidden address is always reported, with the address and x-forwarded-for', async () => {
    const { post, refusals } = start({
      allowedAddresses: { includes: () => false },
      trustedProxies: { includes: () => true },
    })
    const forwarded = '192.0.2.7:51008'
    await post(valid, {
      'x-forwarded-for': forwarded,
      'mykaarma-signature-token': undefined,
      'x-authorization-token': undefined,
    })
    expect(refusals).toMatchObject([
      { problem: 'forbidden-address', address: forwarded, forwardedFor: forwarded, peer: '127.0.0.1' },
    ])
  })

  it('a refused authentic request keeps its connection open', async () => {
    const { post } = start()
    for (const body of ['not JSON', '{}', valid]) expect((await post(body)).headers.connection).not.toBe('close')
  })
})

it('the load balancer gets 200 until a shutdown begins', async () => {
  const ask = async ({ app }: ReturnType<typeof start>) => {
    const { statusCode, headers, body } = await app.inject({ method: 'GET', url: HEALTH_PATH })
    return [statusCode, body, headers.connection]
  }
  const ready = start()
  expect(await ask(ready)).toEqual([200, '{"status":"ready"}', 'close'])
  ready.stopping.abort()
  expect(await ask(ready)).toEqual([503, '{"status":"not-ready"}', 'close'])
})

it.each([
  ['old-timestamp', { id: 'e', type: 'customers', timestamp: 1_795_000_000 }, '1795000000'],
  ['old-timestamp', { id: 'e', type: 'customers', timestamp: '1795000000' }, '1795000000'],
  ['type-spelling', { id: 'e', type: 'Customers' }, 'Customers'],
  ['type-spelling', { id: 'e', type: ' customers' }, ' customers'],
  ['type-spelling', { id: 'e', type: 'service_orders' }, 'service_orders'],
  [undefined, { id: 'e', type: 'customers', timestamp: 1_795_000_000_000 }, ''],
  [undefined, { id: 'e', type: 'a-new-type', timestamp: 1_795_000_000_000 }, ''],
  // JavaScript throws when it converts this object to a number.
  [undefined, { id: 'e', type: 'customers', timestamp: { toString: '1' } }, ''],
])(
  'an accepted event that will probably never be applied is counted and reported: %s',
  async (what, envelope, value) => {
    const { post, suspicions, registry } = start()
    const payload = { customerWithVehicles: { customer: { customerUuid: 'c' } } }
    expect((await post(JSON.stringify({ ...envelope, payload }))).statusCode).toBe(202)
    expect(suspicions).toEqual(what === undefined ? [] : [{ what, eventId: 'e', given: value }])
    const counted = await registry.getSingleMetricAsString('ingress_suspicious_events_total')
    if (what !== undefined) expect(counted).toContain(`what="${what}",service="test"} 1`)
  },
)

it('a body with a long number in deep JSON is accepted', async () => {
  const { post, published } = start({ maxBodyBytes: 1_000_000 })
  const deep = `[12345678901234567890,${'['.repeat(100_000)}${']'.repeat(100_000)}]`
  const payload = `{"customerWithVehicles":{"customer":{"customerUuid":"c","x":${deep}}}}`
  const body = `{"id":"e","type":"customers","timestamp":1795000000000,"payload":${payload}}`
  expect((await post(body)).statusCode).toBe(202)
  expect(published[0]?.value.toString()).toBe(body)
})
