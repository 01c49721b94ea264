import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { waitUntil } from '@customer-stream/runtime'
import { readTopic } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS, readStateRecord } from '@customer-stream/schemas'
import { makeCustomersEvent, sign } from '@customer-stream/simulator'
import { kafkajsOf, openPipeline, type Pipeline, type ServiceProcess } from '@customer-stream/testing'
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest'

let pipeline: Pipeline
let ingress: ServiceProcess
let projector: ServiceProcess
beforeAll(async () => {
  pipeline = await openPipeline(inject('brokers'))
  ingress = await pipeline.start('ingress', { REQUEST_TIMEOUT_MS: '2000' })
  projector = await pipeline.start('projector')
  await Promise.all([ingress.untilReady(), projector.untilReady()])
})
afterAll(() => pipeline.close())

const post = async (body: string | Buffer) => {
  const answer = await pipeline.post(ingress, body)
  return { status: answer.status, body: (await answer.json()) as { type?: string; status?: unknown } }
}
/** Writes a raw request and reads the answer. */
const raw = (request: string, to = ingress): Promise<string> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(to.url)
    let answer = ''
    const socket = connect(Number(port), hostname, () => socket.write(request))
    socket.setTimeout(15_000, () => reject(new Error(`no answer; so far: ${answer}`)))
    socket.on('data', (data) => {
      answer += data.toString()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(answer))
  })
const head = (headers: string[], body: string) =>
  [
    'POST /webhooks/mykaarma HTTP/1.1',
    'host: x',
    'connection: close',
    'content-type: text/plain',
    `content-length: ${Buffer.byteLength(body)}`,
    ...headers,
    '',
    body,
  ].join('\r\n')
const chunked =
  'POST /webhooks/mykaarma HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n'
const quarantined = async () => {
  const found: { reason: string; stage: string; key: string | undefined; value: string; offset: string }[] = []
  await readTopic(pipeline.admin, pipeline.topics.quarantine, ({ key, value, headers }) => {
    const header = (name: string) => String(headers?.[name])
    found.push({
      reason: header(QUARANTINE_HEADERS.reason),
      stage: header(QUARANTINE_HEADERS.stage),
      key: key?.toString(),
      value: String(value),
      offset: header(QUARANTINE_HEADERS.offset),
    })
  })
  return found
}

it('the ingress starts without an error in its log', async () => {
  for (const { logFile } of [ingress, projector]) {
    const lines = (await readFile(logFile, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { level: string; event?: string })
    expect(lines.map(({ event }) => event)).toContain('ready')
    expect(lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
  }
})

describe('raw requests', () => {
  const { body } = makeCustomersEvent()
  it('the ingress accepts a chunked body', async () => {
    const chunk = `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const request = head(
      [
        `mykaarma-signature-token: ${sign(body, pipeline.secret)}`,
        `x-authorization-token: ${pipeline.token}`,
        'transfer-encoding: chunked',
      ],
      '',
    )
    expect(await raw(request.replace(/content-length: 0\r\n/, '') + chunk)).toMatch(/^HTTP\/1.1 202 /)
  })

  it.each(['mykaarma-signature-token', 'x-authorization-token'])(
    'the ingress refuses two %s headers, even if both are valid',
    async (name) => {
      const headers = [
        `mykaarma-signature-token: ${sign(body, pipeline.secret)}`,
        `x-authorization-token: ${pipeline.token}`,
      ]
      const twice = [...headers, headers.find((header) => header.startsWith(name)) ?? '']
      expect(await raw(head(headers, body))).toMatch(/^HTTP\/1.1 202 /)
      expect(await raw(head(twice, body))).toMatch(/^HTTP\/1.1 401 /)
    },
  )

  it('the ingress refuses a body of 10 MB, even before the body has arrived', async () => {
    const large = 'x'.repeat(10_000_000)
    expect(await raw(head(['expect: 100-continue'], large).slice(0, 1000))).toMatch(/ 413 /)
    expect(await raw(head([], large))).toMatch(/^HTTP\/1.1 413 /)
  })

  it.each([
    ['a length and chunks', 'content-length: 4\r\ntransfer-encoding: chunked'],
    ['two different lengths', 'content-length: 5\r\ncontent-length: 50'],
    ['chunks that another coding hides', 'transfer-encoding: chunked, identity'],
    ['a coding that is almost "chunked"', 'transfer-encoding: xchunked'],
    ['a header name with a blank', 'content-length : 5'],
  ])('a request with %s is refused, and no part of its body is read as a second request', async (_, framing) => {
    const hidden = 'GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n'
    const answer = await raw(`POST /webhooks/mykaarma HTTP/1.1\r\nhost: x\r\n${framing}\r\n\r\n0\r\n\r\n${hidden}`)
    expect(answer.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 400'])
  })

  it.each([
    ['text that is not HTTP', 'hello\r\n\r\n', 400, 'bad-request'],
    [
      'a path that cannot be decoded',
      'POST /webhooks/%zz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n',
      400,
      'bad-request',
    ],
    ['headers that are too large', `POST / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431, 'headers-too-large'],
    ['5,000 headers', `POST / HTTP/1.1\r\n${'a: b\r\n'.repeat(5000)}\r\n`, 431, 'headers-too-large'],
    ['5,000 trailers', `${chunked}0\r\n${'a: b\r\n'.repeat(5000)}\r\n`, 431, 'headers-too-large'],
    ['a large chunk extension', `${chunked}1;${'e'.repeat(20_000)}\r\nx\r\n0\r\n\r\n`, 400, 'bad-request'],
    [
      'an unknown expectation',
      'POST /webhooks/mykaarma HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-length: 0\r\n\r\n',
      417,
      'expectation-failed',
    ],
    ['a body that stalls', `${head([], 'whole').slice(0, -3)}`, 408, 'request-timeout'],
  ])('the ingress answers %s with a problem document, and continues', async (_, request, status, type) => {
    const answer = await raw(request)
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({ type, status })
    expect((await fetch(`${ingress.adminUrl}/livez`)).status).toBe(200)
  })
})

it('the ingress opens no tunnel for a CONNECT request', async () => {
  expect(await raw('CONNECT 127.0.0.1:443 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')).toBe('')
})

describe('senders that are not authentic', () => {
  const keptAlive = (line: string, content = '') =>
    `${line} HTTP/1.1\r\nhost: x\r\ncontent-length: ${content.length}\r\n\r\n${content}`
  it.each([
    [401, keptAlive('POST /webhooks/mykaarma', '{}')],
    [404, keptAlive('POST /', '{}')],
    [404, keptAlive('GET /')],
    [405, keptAlive('GET /webhooks/mykaarma')],
    [405, keptAlive('PUT /webhooks/mykaarma', 'x'.repeat(1_000_000))],
    [413, keptAlive('POST /webhooks/mykaarma', 'x'.repeat(2_000_000))],
    [200, keptAlive('GET /healthz')],
  ])('the ingress closes the connection of an unauthenticated sender after the answer %i', async (status, request) => {
    // Resolves when the service closes the connection.
    expect(await raw(request)).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
  })

  it.each([
    ['headers', chunked.slice(0, -2), 'a: b\r\n'],
    ['bytes of a header', `${chunked.slice(0, -2)}a: `, 'b'],
    ['chunks', chunked, '1\r\nx\r\n'],
    ['trailers', `${chunked}0\r\n`, 'a: b\r\n'],
  ])('the ingress ends a request whose %s arrive slowly', async (_, request, piece) => {
    const { hostname, port } = new URL(ingress.url)
    const socket = connect(Number(port), hostname, () => socket.write(request)).on('error', () => undefined)
    const drip = setInterval(() => socket.write(piece), 100)
    onTestFinished(() => clearInterval(drip))
    expect(await text(socket)).toMatch(/^HTTP\/1.1 408 /)
  })

  it('bodies in chunks of one byte do not fill the memory', async () => {
    const flooded = await pipeline.start('ingress', { REQUEST_TIMEOUT_MS: '60000' })
    await flooded.untilReady()
    const { hostname, port } = new URL(flooded.url)
    const memory = () => flooded.metric('process_resident_memory_bytes')
    const before = await memory()
    const answers = Array.from({ length: 30 }, () => {
      const socket = connect(Number(port), hostname)
      socket.write(`${chunked}${'1\r\nx\r\n'.repeat(50_000)}0\r\n\r\n`)
      return text(socket)
    })
    let answered = false
    const all = Promise.all(answers).finally(() => {
      answered = true
    })
    let peak = before
    while (!answered) peak = Math.max(peak, await memory())
    expect((await all).map((answer) => answer.slice(9, 12))).toEqual(Array(30).fill('401'))
    // Code that keeps one Buffer for each chunk needs 290 to 400 MB here.
    expect(peak - before).toBeLessThan(150_000_000)
    await flooded.end()
  })

  it('stalled bodies of unauthenticated clients do not block the real sender', async () => {
    const small = await pipeline.start('ingress', { RECEIVE_MAX_BYTES: '1048576' })
    await small.untilReady()
    const { hostname, port } = new URL(small.url)
    const sockets = Array.from({ length: 20 }, () => connect(Number(port), hostname).on('error', () => undefined))
    for (const socket of sockets) socket.write(head([], 'x'.repeat(500_000)).slice(0, -1))
    await waitUntil(
      'the bodies beyond the limit are refused',
      () => small.metric('ingress_answers_total', { answer: 'too-many-bodies' }),
      (count) => count === 18,
    )
    expect((await pipeline.post(small, body)).status).toBe(202)
    for (const socket of sockets) socket.destroy()
    await small.end()
  })
  const { body } = makeCustomersEvent()
})

it('the ingress counts an aborted body once if the sender closes the connection', async () => {
  const { hostname, port } = new URL(ingress.url)
  const count = () => ingress.metric('ingress_answers_total')
  const before = await count()
  const half = head([], 'whole').slice(0, -3)
  for (let i = 0; i < 10; i++) {
    const socket = connect(Number(port), hostname, () =>
      socket.write(half, () => (i % 2 ? socket.destroy() : socket.resetAndDestroy())),
    )
    socket.on('error', () => undefined)
  }
  await waitUntil(
    'the bodies are counted',
    () => ingress.metric('ingress_answers_total', { answer: 'incomplete' }),
    (incomplete) => incomplete === 10,
  )
  // When this request is answered, the metric includes the earlier requests.
  expect(await raw(head([], ''))).toMatch(/^HTTP\/1.1 401 /)
  expect(await count()).toBe(before + 11)
})

it.each([
  ['signature', { MYKAARMA_SIGNING_SECRETS: 'main=secret', MYKAARMA_TOKENS: '' }, [202, 401, 202]],
  ['token', { MYKAARMA_SIGNING_SECRETS: '', MYKAARMA_TOKENS: 'main=token' }, [401, 202, 202]],
  ['on', { MYKAARMA_SIGNING_SECRETS: 'main=secret', MYKAARMA_TOKENS: 'main=token' }, [401, 401, 202]],
])(
  'with MYKAARMA_AUTH=%s the ingress makes exactly the checks that this value demands',
  async (auth, secrets, statuses) => {
    const service = await pipeline.start('ingress', { ...secrets, MYKAARMA_AUTH: auth })
    await service.untilReady()
    const { body } = makeCustomersEvent()
    const signature = `mykaarma-signature-token: ${sign(body, 'secret')}`
    const token = 'x-authorization-token: token'
    const answers = []
    for (const headers of [[signature], [token], [signature, token]])
      answers.push(Number((await raw(head(headers, body), service)).slice(9, 12)))
    expect(answers).toEqual(statuses)
    await service.end()
  },
)

it('names in a body that is sent in ISO-8859-1 and signed in UTF-8 are correct in Redis', async () => {
  const customerUuid = `c${Math.random()}`
  const customer = { customerUuid, firstName: 'José', lastName: 'Müller' }
  const body = JSON.stringify({
    id: 'e',
    timestamp: Date.now(),
    type: 'customers',
    payload: { customerWithVehicles: { customer } },
  })
  const answer = await fetch(`${ingress.url}/webhooks/mykaarma`, {
    method: 'POST',
    body: Buffer.from(body, 'latin1'),
    headers: {
      'content-type': 'text/plain',
      'mykaarma-signature-token': sign(body, pipeline.secret),
      'x-authorization-token': pipeline.token,
    },
  })
  expect(answer.status).toBe(202)
  const names = await waitUntil(
    'the customer is in Redis',
    () => pipeline.redis.hmget(`${pipeline.keyPrefix}customer:{${customerUuid}}`, 'firstName', 'lastName'),
    ([firstName]) => firstName !== null,
  )
  expect(names).toEqual(['José', 'Müller'])
})

it('a body of MAX_BODY_BYTES is applied, even if its state document is four times as large', async () => {
  const maxBodyBytes = 1_048_576
  const customerUuid = `c${Math.random()}`
  const { body } = makeCustomersEvent({ customerUuid, payloadForm: 'object', customer: { numbers: [] } })
  // A document writes each of these numbers with 21 digits.
  const count = Math.floor((maxBodyBytes - Buffer.byteLength(body)) / 5)
  const filled = body.replace('"numbers":[]', `"numbers":[${Array(count).fill('1e20')}]`)
  const largest = filled + ' '.repeat(maxBodyBytes - Buffer.byteLength(filled))
  expect((await post(largest)).status).toBe(202)
  await waitUntil(
    'the customer is in Redis',
    () => pipeline.redis.hstrlen(`${pipeline.keyPrefix}customer:{${customerUuid}}`, 'numbers'),
    (length) => length > 4 * maxBodyBytes,
  )
  const untilPublished = async () => {
    const found: { bytes: number | undefined; customer: unknown }[] = []
    await readTopic(pipeline.admin, pipeline.stateTopic, (record) => {
      const read = readStateRecord(record)
      if (!read.ok || read.value.customerUuid !== customerUuid) return
      found.push({ bytes: record.value?.length, customer: read.value.state?.customer })
    })
    return found
  }
  const [document] = await waitUntil('the document is published', untilPublished, ({ length }) => length > 0)
  expect(document?.bytes).toBeGreaterThan(4 * maxBodyBytes)
  expect(document?.customer).toHaveProperty('numbers', Array(count).fill(1e20))
})

it('the ingress accepts no more connections than MAX_CONNECTIONS', async () => {
  const small = await pipeline.start('ingress', { MAX_CONNECTIONS: '2' })
  const { hostname, port } = new URL(small.url)
  const held = [1, 2].map(() => connect(Number(port), hostname))
  await Promise.all(held.map((socket) => once(socket, 'connect')))
  // The service closes a refused connection without an answer, so the client may get an error.
  expect(await raw(head([], ''), small).catch(() => '')).toBe('')
  expect(await small.metric('ingress_connections_dropped_total')).toBe(1)
  for (const socket of held) socket.destroy()
  await waitUntil(
    'there is room again',
    () => raw(head([], ''), small).catch(() => ''),
    (answer) => answer.startsWith('HTTP/1.1 401'),
  )
})

describe.concurrent('connections that are not closed', () => {
  const started = 'POST /webhooks/mykaarma HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n'
  it.each([
    ['says nothing', '', {}],
    ['stalls in its headers', started, {}],
    ['stalls in its body', `${started}content-length: 100\r\n\r\nhalf`, {}],
    // The answers to 30,000 requests do not fit into the buffers of both sockets.
    ['reads no answer', 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(30_000), { KEEP_ALIVE_TIMEOUT_MS: '1000' }],
  ])('the ingress destroys the connection of a client that %s and keeps it open', async (_, request, env) => {
    const small = await pipeline.start('ingress', { MAX_CONNECTIONS: '1', REQUEST_TIMEOUT_MS: '1000', ...env })
    const { hostname, port } = new URL(small.url)
    // The client reads nothing, so it does not notice the end of the connection.
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true }).pause()
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    if (request) socket.write(request)
    await waitUntil(
      'there is room again',
      () => raw(head([], ''), small).catch(() => ''),
      (answer) => answer.startsWith('HTTP/1.1 401'),
    )
    socket.destroy()
  })
})

it('the ingress answers a request whose first bytes arrived before its shutdown', async () => {
  const stopping = await pipeline.start('ingress')
  await stopping.untilReady()
  const { body } = makeCustomersEvent()
  const request = head(
    [`mykaarma-signature-token: ${sign(body, pipeline.secret)}`, `x-authorization-token: ${pipeline.token}`],
    body,
  )
  const { hostname, port } = new URL(stopping.url)
  const socket = connect(Number(port), hostname)
  const answer = text(socket)
  socket.write(request.slice(0, 30))
  // After the answer to this request, the service has read the beginning of the earlier request.
  expect((await pipeline.post(stopping, body)).status).toBe(202)
  stopping.signal('SIGTERM')
  await waitUntil(
    'new connections are refused',
    () =>
      fetch(stopping.url).then(
        () => true,
        () => false,
      ),
    (open) => !open,
  )
  socket.write(request.slice(30))
  expect(await answer).toMatch(/^HTTP\/1.1 202 /)
  expect(await stopping.ended).toBe(0)
})

it('during a shutdown without Kafka, the ingress answers a late request by the deadline', async () => {
  const stopping = await pipeline.start('ingress', { KAFKA_BROKERS: '127.0.0.1:1', ACCEPT_DEADLINE_MS: '1000' })
  const { body } = makeCustomersEvent()
  const request = head(
    [`mykaarma-signature-token: ${sign(body, pipeline.secret)}`, `x-authorization-token: ${pipeline.token}`],
    body,
  )
  const { hostname, port } = new URL(stopping.url)
  const [early, late] = [connect(Number(port), hostname), connect(Number(port), hostname)]
  const answers = [text(early), text(late)]
  late.write(request.slice(0, 30))
  // After the answer to this request, the service has read the beginning of the late request.
  expect(await raw(head([], ''), stopping)).toMatch(/^HTTP\/1.1 401 /)
  early.write(request)
  await waitUntil(
    'the first request waits for Kafka',
    () => stopping.metric('ingress_queue_records'),
    (records) => records === 1,
  )
  stopping.signal('SIGTERM')
  // The deadline of the first request has passed, and the second request must get no later
  // deadline.
  expect(await answers[0]).toMatch(/^HTTP\/1.1 503 /)
  late.write(request.slice(30))
  expect(await answers[1]).toMatch(/^HTTP\/1.1 503 /)
  expect(await stopping.ended).toBe(0)
})

describe('ids and timestamps', () => {
  it.each([
    ['1 character', 'x'],
    ['10 000 characters', 'y'.repeat(10_000)],
    ['spaces and braces', ' {a} {} '],
    ['newlines and NUL', 'a\n\r\u0000b'],
    ['an empty hash tag', '{}'],
    ['emoji', '👨‍👩‍👧'],
    ['__proto__', '__proto__'],
  ])('the ingress accepts ids of %s', async (_, id) => {
    const uuid = `${id}${Math.random()}`
    expect((await post(makeCustomersEvent({ customerUuid: uuid, id }).body)).status).toBe(202)
    await waitUntil(
      'the customer is in Redis',
      () => pipeline.redis.hget(`${pipeline.keyPrefix}customer:{${uuid}}`, '_eventId'),
      (eventId) => eventId === id,
    )
  })

  it('every authentic event is accepted, and only unusable events are quarantined', async () => {
    const event = (timestamp: unknown, id: unknown = 'e') => {
      const { body, customerUuid } = makeCustomersEvent({ payloadForm: 'object' })
      return { body: JSON.stringify({ ...JSON.parse(body), id, timestamp }), customerUuid }
    }
    const deep = makeCustomersEvent({ payloadForm: 'object' })
    const bad = [
      ['invalid-timestamp', event(0)],
      ['invalid-timestamp', event(-1)],
      ['invalid-timestamp', event(1e308)],
      ['invalid-timestamp', event('soon')],
      ['invalid-timestamp', event(null)],
      ['too-far-in-future', event(Date.now() + 48 * 3600 * 1000)],
      ['missing-event-id', event(1, '')],
      ['invalid-event-id', event(1, 7)],
      [
        'nested-too-deep',
        {
          ...deep,
          body: deep.body.replace(
            '"customerUuid"',
            `"deep":${'['.repeat(100_000)}${']'.repeat(100_000)},"customerUuid"`,
          ),
        },
      ],
    ] as const
    const good = makeCustomersEvent()
    for (const [, { body }] of bad) expect((await post(body)).status).toBe(202)
    expect((await post(good.body)).status).toBe(202)
    await waitUntil(
      'the unusable events are in quarantine',
      () => projector.metric('projector_events_total', { outcome: 'quarantined' }),
      (count) => count === bad.length,
    )
    await waitUntil(
      'the usable event is in Redis',
      () => pipeline.redis.exists(`${pipeline.keyPrefix}customer:{${good.customerUuid}}`),
      (exists) => exists === 1,
    )
    const found = (await quarantined()).filter(({ stage }) => stage === 'projector')
    const summary = (list: readonly (readonly [string, string | undefined, string])[]) =>
      list.map((item) => item.join(' ')).sort()
    expect(summary(found.map(({ reason, key, value }) => [reason, key, value]))).toEqual(
      summary(bad.map(([reason, { customerUuid, body }]) => [reason, customerUuid, body])),
    )
  })

  it('if events with one id have several timestamps, the newest timestamp is applied', async () => {
    const customerUuid = `c${Math.random()}`
    const at = (timestamp: number, firstName: string) =>
      makeCustomersEvent({ customerUuid, id: 'same', timestamp, customer: { firstName } }).body
    for (const body of [at(5, 'five'), at(7, 'seven'), at(6, 'six')]) expect((await post(body)).status).toBe(202)
    await waitUntil(
      'the newest event is in Redis',
      () => pipeline.redis.hget(`${pipeline.keyPrefix}customer:{${customerUuid}}`, 'firstName'),
      (name) => name === 'seven',
    )
    const marker = makeCustomersEvent()
    await post(marker.body)
    expect((await pipeline.verify()).wrong).toEqual([])
    expect(await pipeline.redis.hget(`${pipeline.keyPrefix}customer:{${customerUuid}}`, 'firstName')).toBe('seven')
  })
})

it('quarantine has a copy of an unusable authentic body, with its event id as the key', async () => {
  const unusable: [string, number, string, string | undefined][] = [
    ['', 400, 'not-json', undefined],
    ['not json', 400, 'not-json', undefined],
    ['[]', 422, 'not-an-object', undefined],
    ['{"id":"e-7","type":"customers","payload":"null"}', 422, 'payload-not-an-object', 'e-7'],
  ]
  for (const [body, status] of unusable) expect((await post(body)).status).toBe(status)
  const found = (await quarantined()).filter(({ stage }) => stage === 'ingress')
  for (const [value, , reason, key] of unusable)
    expect(found).toContainEqual(expect.objectContaining({ value, reason, key }))
})

it('foreign records in the raw topic are quarantined', async () => {
  const before = await projector.metric('projector_events_total', { outcome: 'quarantined' })
  const producer = kafkajsOf(pipeline.kafka).producer({ createPartitioner: () => () => 3 })
  await producer.connect()
  await producer.send({
    topic: pipeline.topics.customers,
    messages: [{ key: 'k', value: null }, { value: 'foreign' }, { key: 'k', value: '{"type":"mpis"}' }],
  })
  await producer.disconnect()
  await waitUntil(
    'the foreign records are in quarantine',
    () => projector.metric('projector_events_total', { outcome: 'quarantined' }),
    (count) => count === before + 3,
  )
  expect((await quarantined()).map(({ reason }) => reason)).toContain('not-a-customers-event')
})
