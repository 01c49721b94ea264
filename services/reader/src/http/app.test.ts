import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import type { ApiKey } from '@customer-stream/configuration'
import { createRegistry, type SpanOptions } from '@customer-stream/runtime'
import { customerFromHash } from '@customer-stream/schemas'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createChange } from '../changes/change.ts'
import type { Changes } from '../changes/changes.ts'
import type { CustomerEvents, ReadEvents } from '../customer-events.ts'
import { type Customers, DamagedCustomerError, type MaySee, type Reading } from '../customers.ts'
import type { Dealer, ListDealers } from '../dealers.ts'
import type { FindCustomers } from '../find-customers.ts'
import { KafkaUnavailableError } from '../kafka.ts'
import type { ListCustomers } from '../list-customers.ts'
import { createReaderMetrics } from '../metrics.ts'
import { documentOf } from '../pipeline/document.ts'
import { MEASUREMENT } from '../pipeline/fixtures/measurement.ts'
import type { PipelineWatch } from '../pipeline/watch.ts'
import { type FoundRecord, type Listed, type Quarantine, RedriveError } from '../quarantine/quarantine.ts'
import { createAuthenticate } from './api-keys.ts'
import { type AppOptions, createApp, HEALTH_PATH, OPENAPI_PATH } from './app.ts'
import { CONSOLE_PATHS } from './console-routes.ts'
import { SEARCH_PATH } from './list-routes.ts'
import { openApi } from './openapi/openapi.ts'
import type { PipelineDocument } from './pipeline-document.ts'

const key = (name: string, scopes: ApiKey['scopes'], dealers = ['*']): ApiKey => ({
  ...{ name, scopes, dealers, sha256: hash('sha256', `${name}-key`) },
})
const KEYS = [
  key('full', ['read', 'pii']),
  key('masked', ['read']),
  key('dealer-a', ['read', 'pii'], ['dealer-a']),
  key('dealer-b', ['read', 'pii'], ['dealer-b']),
  key('only-pii', ['pii']),
  key('operator', ['operate']),
  key('revealer', ['operate', 'pii']),
  key('operator-a', ['read', 'pii', 'operate'], ['dealer-a']),
]
const VERSION = { timestamp: 1728542293678, id: 'a7b9' }
const HASH = {
  customerUuid: 'ada',
  firstName: 'Ada',
  isBusiness: 'false',
  vehicles: '[{"ownerId":12345678901234567890,"vin":"1GD312CG0BF081737","vehicleMake":"GMC"}]',
  addresses: '[{"line1":"1 Main Street","isValid":true}]',
  loyalty: '5',
  dealerUuid: 'dealer-a',
  _eventId: VERSION.id,
  _eventTimestamp: `${VERSION.timestamp}`,
  _receivedAt: '1728542294120',
  _appliedAt: '1728542294131',
  _source: 'mykaarma.customers.raw/3/1041',
  _projection: '1',
}
const readingOf = (fields: Readonly<Record<string, string>>): Reading => {
  const customer = customerFromHash(fields)
  return customer.ok ? { kind: 'found', customer: customer.value, isIndexed: true } : { kind: 'missing' }
}

const STORED = (() => {
  const reading = readingOf(HASH)
  if (reading.kind !== 'found') throw new Error('not a customer')
  return reading.customer
})()
const visible = (maySee: MaySee) => (maySee('dealer-a') ? [STORED] : [])

const ACTIVITY: Dealer = {
  ...{ dealerUuid: 'dealer-a', lastEventAt: 1728542294120, customers: 7, state: 'silent' },
  ...{ lastDay: Array(24).fill(1), usualDay: Array(24).fill(2) },
}

const STATE = {
  ...{ customerUuid: 'ada', version: VERSION, dealerUuid: 'dealer-a', customer: { customerUuid: 'ada' } },
  ...{ receivedAt: 1, source: { topic: 'raw', partition: 0, offset: '0' } },
}
const CHANGE = createChange(0, { offset: '0', key: Buffer.from('ada'), value: Buffer.from(JSON.stringify(STATE)) })

const EVENTS: CustomerEvents = {
  ...{ topic: 'raw', partition: 3, from: 7, end: 12, isComplete: true },
  events: [
    {
      ...{ offset: 9, receivedAt: 5, version: VERSION, outcome: 'applied', reason: undefined, isCurrent: true },
      ...{ bytes: Buffer.from('{"phone":"é"}'), contentType: undefined },
      state: { ...STATE, customer: { customerUuid: 'ada', firstName: 'Ada' } },
    },
    {
      ...{ offset: 8, receivedAt: 4, version: undefined, outcome: 'unusable', reason: 'not-json', isCurrent: false },
      ...{ bytes: Buffer.from('{\xe9', 'latin1'), contentType: 'text/plain; charset=x', state: undefined },
    },
  ],
}

const QUARANTINED: Listed = {
  ...{ partition: 3, offset: '17', receivedAt: 5, reason: 'not-json', stage: 'ingress', source: undefined },
  ...{ bytes: 4, origin: 'raw/1/2@5', handled: undefined },
}
const foundRecord = (value: Buffer | null): FoundRecord => ({
  facts: QUARANTINED,
  record: { ...QUARANTINED, key: Buffer.from('ada'), value, headers: { reason: 'not-json' } },
  history: [{ topicId: 'a', partition: 3, offset: '17', action: 'dropped', at: 9, requestedBy: 'ops', note: 'a test' }],
})
const QUARANTINE: Quarantine = {
  topic: 't.quarantine',
  list: async () => ({ records: [QUARANTINED], hasMore: false, isCut: false }),
  read: async () => foundRecord(Buffer.from('{"é"')),
  redrive: async () => ({ outcome: 'redriven', topic: 't.customers.raw' }),
}

/** Answers of the parts behind the routes. */
interface Answers {
  read: Customers['read']
  find: FindCustomers
  list: ListCustomers
  listDealers: ListDealers
  open: Changes['open']
  readEvents: ReadEvents
  pipeline: Pick<PipelineWatch, 'document'>
  quarantine: Partial<Quarantine>
  isOpen: boolean
}

const start = ({
  read = async (_, maySee) => (maySee('dealer-a') ? readingOf(HASH) : { kind: 'missing' }),
  find = async (_query, maySee) => ({ kind: 'found', customers: visible(maySee), isTruncated: false }),
  list = async () => ({ kind: 'page', customers: [STORED], next: undefined }),
  listDealers = async ({ maySee }) => ({
    kind: 'page',
    dealers: maySee('dealer-a') ? [ACTIVITY] : [],
    next: undefined,
  }),
  open = async ({ view }) => ({ kind: 'stream', body: Readable.from([view(CHANGE)?.data ?? '']) }),
  readEvents = async () => EVENTS,
  pipeline = { document: () => undefined },
  quarantine = {},
  isOpen = false,
  ...options
}: Partial<AppOptions> & Partial<Answers> = {}) => {
  const revealed: string[] = []
  const failures: Error[] = []
  const spans: (SpanOptions & { readonly attributes: object; readonly error: string | undefined })[] = []
  const registry = createRegistry('test')
  const stopping = new AbortController()
  const app = createApp(
    {
      authenticate: createAuthenticate({ READER_AUTH: isOpen ? 'off' : 'keys', READER_API_KEYS: KEYS }),
      ...{ customers: { read }, find, list, listDealers, changes: { open }, readEvents, pipeline },
      quarantine: { ...QUARANTINE, ...quarantine },
      metrics: createReaderMetrics(registry),
      onReveal: (name, customerUuids) => revealed.push(`${name} ${customerUuids}`),
      onRecordReveal: (name, id) => revealed.push(`${name} ${id}`),
      onFailure: (error) => failures.push(error),
      tracer: {
        start: (span) => ({
          context: { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` },
          end: (attributes, error) => void spans.push({ ...span, attributes, error }),
        }),
      },
      stopping: stopping.signal,
    },
    {
      ...{ version: '0', maxRate: 1000, waitMs: 50, maxWaiting: 10, maxConnections: 100 },
      ...{ keepAliveTimeoutMs: 1000, requestTimeoutMs: 1000, ...options },
    },
  )
  const get = (url: string, name: string | undefined = 'full', headers = {}) =>
    app.inject({ url, headers: { ...(name !== undefined && { authorization: `Bearer ${name}-key` }), ...headers } })
  const count = async (metric: string, label: string) =>
    (await registry.getSingleMetric(metric)!.get()).values
      .filter(({ labels }) => Object.values(labels).includes(label))
      .reduce((sum, { value }) => sum + value, 0)
  return { app, get, revealed, failures, spans, stopping, count }
}

const CUSTOMER = '/v1/customers/ada'
/** A path for each route, with a customer of dealer-a. */
const pathOf = (route: string) =>
  route.replace(':customerUuid', 'ada').replace(':dealerUuid', 'dealer-a').replace(':id', 't.quarantine-3-17')
/** Returns a valid request to a route. */
const requestTo = ({ path, method }: { readonly path: string; readonly method: string }, headers: object) => ({
  ...{ method: method as 'GET', url: pathOf(path), headers: { ...headers } },
  ...(path === SEARCH_PATH && { body: { vin: '1GD312CG0BF081737' } }),
})

describe('each route', () => {
  const { app } = start()
  const routes = [...app.routes]
    .filter(([path]) => !CONSOLE_PATHS.includes(path))
    .flatMap(([path, methods]) => methods.map((method) => ({ path, method })))
  const guarded = routes.filter(({ path }) => path !== OPENAPI_PATH && path !== HEALTH_PATH)
  /** Routes whose answers belong to all dealers. */
  const ofOperators = guarded.filter(({ path }) => /^\/v1\/(pipeline|quarantine)/.test(path))
  const ofDealers = guarded.filter((route) => !ofOperators.includes(route))

  it('each route is described in openapi.json, and only document, health and console are open', () => {
    const described = Object.entries(openApi('0').paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
    )
    expect(described.toSorted()).toEqual(routes.map(({ path, method }) => `${method} ${path}`).toSorted())
    expect(guarded.length).toBe(routes.length - 2)
  })

  it.each(
    guarded.flatMap((route) =>
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

  it.each(guarded)('$method $path with a key without the scope gets 403', async ({ path, method }) => {
    const headers = { authorization: 'Bearer only-pii-key' }
    const answer = await app.inject(requestTo({ path, method }, headers))
    expect(answer.json()).toMatchObject({ type: 'forbidden', status: 403 })
  })

  it.each(ofOperators)('$method $path refuses a key for some dealers, or without operate', async ({ path, method }) => {
    for (const name of ['operator-a', 'full']) {
      const answer = await app.inject(requestTo({ path, method }, { authorization: `Bearer ${name}-key` }))
      expect(answer.json(), name).toMatchObject({ type: 'forbidden', status: 403 })
    }
  })

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

  it.each(routes)('another method than $method of $path gets 405, even with a wrong body', async ({ path }) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await app.inject({ method: 'DELETE', url: pathOf(path), headers, body: '{' })
    expect([answer.statusCode, answer.headers.allow]).toEqual([405, app.routes.get(path)?.join(', ')])
  })
})

it('a customer is answered with its types, its version and the times of its event', async () => {
  const { get } = start()
  const answer = await get(CUSTOMER)
  expect(answer.statusCode).toBe(200)
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    etag: '"1728542293678:a7b9"',
    'x-customer-version': '1728542293678:a7b9',
    'x-customer-source': 'mykaarma.customers.raw/3/1041',
    'x-received-at': '1728542294120',
    'x-applied-at': '1728542294131',
  })
  expect(answer.body).toContain('"ownerId":12345678901234567890')
  expect(answer.json()).toEqual({
    customerUuid: 'ada',
    version: VERSION,
    dealerUuid: 'dealer-a',
    customer: { customerUuid: 'ada', firstName: 'Ada', isBusiness: false },
    vehicles: [{ ownerId: expect.any(Number), vin: '1GD312CG0BF081737', vehicleMake: 'GMC' }],
    addresses: [{ line1: '1 Main Street', isValid: true }],
    texts: { loyalty: '5' },
    receivedAt: 1728542294120,
    appliedAt: 1728542294131,
    source: { topic: 'mykaarma.customers.raw', partition: 3, offset: '1041' },
  })
})

it('a key without the scope pii gets masked values, and each reveal is reported', async () => {
  const { get, revealed, count } = start()
  const masked = await get(CUSTOMER, 'masked')
  expect(masked.body).not.toMatch(/"Ada"|Main Street|1GD312CG0BF081737|1234567890|"5"/)
  expect(masked.json()).toMatchObject({ customer: { firstName: '***', isBusiness: false }, texts: { loyalty: '***' } })
  expect(revealed).toEqual([])
  await get(CUSTOMER)
  expect(revealed).toEqual(['full ada'])
  expect(await count('reader_requests_total', 'masked')).toBe(1)
})

it('a key with the scope pii gets a masked answer with the header x-mask, and nothing is revealed', async () => {
  const { get, app, revealed } = start()
  const headers = { 'x-mask': 'on' }
  const masked = await get(CUSTOMER, 'full', headers)
  expect(masked.json()).toMatchObject({ customer: { firstName: '***' } })
  expect(masked.headers).toMatchObject({ etag: '"1728542293678:a7b9;masked"', vary: 'authorization, x-mask' })
  const search = requestTo({ path: SEARCH_PATH, method: 'POST' }, { authorization: 'Bearer full-key', ...headers })
  expect((await app.inject(search)).json()).toMatchObject({ customers: [{ customer: { firstName: '***' } }] })
  expect(revealed).toEqual([])
})

describe('the console', () => {
  it.each(CONSOLE_PATHS)('%s needs no key, and runs and loads only files of the reader', async (url) => {
    const { app } = start()
    const answer = await app.inject({ url, headers: { 'accept-encoding': 'gzip' } })
    // A working copy without a build answers with a problem.
    expect(answer.statusCode === 200 || answer.json().detail.includes('npm run build')).toBe(true)
    if (answer.statusCode !== 200) return
    expect(answer.headers).toMatchObject({
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none/,
      ),
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'content-encoding': 'gzip',
    })
    expect(answer.headers['content-security-policy']).not.toMatch(/unsafe|http|\*/)
    const again = await app.inject({ url, headers: { 'if-none-match': String(answer.headers.etag) } })
    expect([again.statusCode, again.body]).toEqual([304, ''])
    expect((await app.inject({ url })).headers['content-encoding']).toBeUndefined()
  })

  it('the page has no inline script, no inline style and no other host', async () => {
    const page = await readFile(new URL('../../console/index.html', import.meta.url), 'utf8')
    expect(page).not.toMatch(/<style|style=|onload|https?:|<script(?! type="module" src="console.js"><\/script>)/)
  })
})

it.each(['"1728542293678:a7b9"', 'W/"1728542293678:a7b9"', '"1", "1728542293678:a7b9"', '*'])(
  'a client with If-None-Match %s gets 304, and nothing is revealed',
  async (tag) => {
    const { get, revealed } = start()
    const answer = await get(CUSTOMER, 'full', { 'if-none-match': tag })
    expect([answer.statusCode, answer.body, revealed]).toEqual([304, '', []])
    expect(answer.headers['x-customer-version']).toBe('1728542293678:a7b9')
  },
)

it('a masked answer has another ETag, so a client with the scope pii gets the values', async () => {
  const { get } = start()
  const { etag } = (await get(CUSTOMER, 'masked')).headers
  expect((await get(CUSTOMER, 'masked', { 'if-none-match': etag })).statusCode).toBe(304)
  expect((await get(CUSTOMER, 'full', { 'if-none-match': etag })).statusCode).toBe(200)
})

it.each([
  ['no customer', { kind: 'missing' }, 404, 'customer-not-found'],
  ['an emptied Redis', { kind: 'filling' }, 503, 'unavailable'],
] as const)('%s is answered with a problem', async (_, reading, status, type) => {
  const answer = await start({ read: async () => reading }).get(CUSTOMER)
  expect([answer.headers['content-type'], answer.json()]).toEqual([
    'application/problem+json; charset=utf-8',
    expect.objectContaining({ type, status }),
  ])
  expect(answer.headers['retry-after']).toBe(status === 503 ? '1' : undefined)
})

it('an outage of Redis is answered with 503, and a bug with 500 without details', async () => {
  const failing = (error: Error) => start({ read: () => Promise.reject(error) })
  const outage = failing(new Error('Command timed out'))
  expect((await outage.get(CUSTOMER)).json()).toMatchObject({ type: 'unavailable', status: 503 })
  expect(outage.failures).toEqual([])
  const bug = failing(new TypeError('Ada is undefined'))
  const answer = await bug.get(CUSTOMER)
  expect(answer.json()).toEqual({ type: 'internal-error', status: 500, title: 'The service failed.' })
  expect(bug.failures).toHaveLength(1)
})

it.each<[string, Customers['read']]>([
  ['without a version', () => Promise.reject(new DamagedCustomerError('ada'))],
  ['without a source', async () => readingOf({ ...HASH, _source: 'x' })],
])('a damaged hash %s is answered with 503, and the log names the customer', async (_, read) => {
  const { get, failures } = start({ read })
  expect((await get(CUSTOMER)).json()).toMatchObject({ status: 503, detail: 'A stored customer is damaged.' })
  expect(failures.map(({ message }) => message)).toEqual([
    'the hash of customer ada is damaged; customer-stream verify --repair corrects it',
  ])
})

describe('min-version', () => {
  const stored = (timestamp: number): Reading => readingOf({ ...HASH, _eventTimestamp: `${timestamp}` })

  it('waits until Redis has the version', async () => {
    let reads = 0
    const { get } = start({ read: async () => stored(++reads < 3 ? 1 : 7), waitMs: 10_000 })
    const answer = await get(`${CUSTOMER}?min-version=7:a7b9`)
    expect([answer.statusCode, answer.json().version.timestamp, reads]).toEqual([200, 7, 3])
  })

  it.each([
    ['an older version', stored(1)],
    ['a version without its entries in indexes', { ...stored(7), isIndexed: false } as Reading],
    ['no customer', { kind: 'missing' }],
  ] as const)('with %s at the deadline the answer is 504', async (_, reading) => {
    const answer = await start({ read: async () => reading }).get(`${CUSTOMER}?min-version=7:a7b9`)
    expect(answer.json()).toMatchObject({ type: 'version-not-reached', status: 504 })
  })

  it('the version in a header is accepted as min-version, whatever its id has', async () => {
    const { get } = start({ read: async () => readingOf({ ...HASH, _eventId: 'é/%?&"\n: x' }) })
    const version = (await get(CUSTOMER)).headers['x-customer-version']
    expect(version).toMatch(/^[!-~]+$/)
    expect((await get(`${CUSTOMER}?min-version=${version}`)).statusCode).toBe(200)
  })

  it.each(['7', '7:', ':a', 'x:a', '0:a', '9007199254740992:a', '-1:a', '7:a&min-version=7:a', '%00', ''])(
    'min-version=%s is refused with 400',
    async (value) => {
      const answer = await start().get(`${CUSTOMER}?min-version=${value}`)
      expect(answer.json()).toMatchObject({ type: 'invalid-parameter', status: 400 })
    },
  )

  it('a waiting request of another dealer looks like a missing customer', async () => {
    const answer = await start().get(`${CUSTOMER}?min-version=1:a`, 'dealer-b')
    expect(answer.json()).toMatchObject({ type: 'version-not-reached' })
  })

  it('only READ_MAX_WAITING requests wait, and a stop ends the wait', async () => {
    const { get, stopping } = start({ read: async () => stored(1), maxWaiting: 1, waitMs: 60_000 })
    const waiting = get(`${CUSTOMER}?min-version=7:a`)
    await new Promise((resolve) => setImmediate(resolve))
    expect((await get(`${CUSTOMER}?min-version=7:a`)).json()).toMatchObject({ type: 'too-many-requests' })
    stopping.abort()
    const answer = await waiting
    expect([answer.statusCode, answer.headers.connection]).toEqual([503, 'close'])
  })
})

describe('lists', () => {
  const search = (body: unknown, name = 'full', options: Parameters<typeof start>[0] = {}) => {
    const { app, revealed } = start(options)
    const headers = { authorization: `Bearer ${name}-key`, 'content-type': 'application/json' }
    const payload = typeof body === 'string' ? body : JSON.stringify(body)
    return app.inject({ method: 'POST', url: SEARCH_PATH, headers, payload }).then((answer) => ({ answer, revealed }))
  }

  it('a search shows a key its customers, masked without pii, and reports the reveal', async () => {
    const { answer, revealed } = await search({ phone: '+1 310 555 0123' })
    expect(answer.json().customers).toMatchObject([{ customerUuid: 'ada', appliedAt: 1728542294131 }])
    expect([answer.headers['cache-control'], revealed]).toEqual(['no-store', ['full ada']])
    const masked = await search({ email: 'ada@example.com' }, 'masked')
    expect([masked.answer.json().customers[0].customer.firstName, masked.revealed]).toEqual(['***', []])
  })

  it.each<[body: unknown, status: number, type: string]>([
    ['{', 400, 'bad-request'],
    ['', 400, 'bad-request'],
    ['{"__proto__":{"phone":"1"}}', 400, 'bad-request'],
    [[], 400, 'invalid-parameter'],
    ['null', 400, 'invalid-parameter'],
    [{}, 400, 'invalid-parameter'],
    [{ phone: 1 }, 400, 'invalid-parameter'],
    [{ phone: '' }, 400, 'invalid-parameter'],
    [{ phone: 'x'.repeat(513) }, 400, 'invalid-parameter'],
    [{ phone: 'x'.repeat(100_000) }, 413, 'too-large'],
    [{ phone: '1', email: 'a' }, 400, 'invalid-parameter'],
    [{ key: '1' }, 400, 'invalid-parameter'],
    [{ name: 'Ada' }, 400, 'invalid-parameter'],
  ])('a search with the body %j is refused', async (body, status, type) => {
    expect((await search(body)).answer.json()).toMatchObject({ status, type })
  })

  it.each([
    ['no-term', 400, 'invalid-parameter'],
    ['no-index', 503, 'unavailable'],
    ['filling', 503, 'unavailable'],
  ] as const)('a search that ends with %s gets %s', async (kind, status, type) => {
    const { answer } = await search({ vin: 'a' }, 'full', { find: async () => ({ kind }) })
    expect(answer.json()).toMatchObject({ status, type })
  })

  it('a damaged customer makes a list incomplete, so the answer is 503', async () => {
    const find = () => Promise.reject(new DamagedCustomerError('eve'))
    const { answer } = await search({ vin: 'a' }, 'full', { find })
    expect([answer.statusCode, answer.body.includes('eve')]).toEqual([503, false])
  })

  it('a body with another content type gets 415', async () => {
    const headers = { authorization: 'Bearer full-key', 'content-type': 'text/plain' }
    const answer = await start().app.inject({ method: 'POST', url: SEARCH_PATH, headers, payload: 'a' })
    expect(answer.json()).toMatchObject({ status: 415, type: 'unsupported-media-type' })
  })

  const DEALER = '/v1/dealers/dealer-a/customers'

  it('the cursor of a page leads to the next page of the same list, and of no other list', async () => {
    const asked: unknown[] = []
    const list: ListCustomers = async (_, options) => {
      asked.push(options)
      return { kind: 'page', customers: [STORED], next: { timestamp: 9, customerUuid: 'é/😀' } }
    }
    const { get } = start({ list })
    const { cursor } = (await get(`${DEALER}?changed-since=5&limit=7`)).json()
    expect((await get(`${DEALER}?changed-since=5&cursor=${cursor}`)).statusCode).toBe(200)
    expect(asked).toEqual([
      { since: 5, limit: 7, after: undefined },
      { since: 5, limit: 100, after: { timestamp: 9, customerUuid: 'é/😀' } },
    ])
    for (const url of [`${DEALER}?cursor=${cursor}`, `/v1/dealers/dealer-b/customers?changed-since=5&cursor=${cursor}`])
      expect((await get(url)).json()).toMatchObject({ status: 400, type: 'invalid-parameter' })
    expect((await start().get(DEALER)).json()).toEqual({ customers: [expect.anything()] })
  })

  const forged = (...parts: unknown[]) => Buffer.from(JSON.stringify(parts)).toString('base64url')

  it.each([
    ...['limit=0', 'limit=-1', 'limit=1e9', 'limit=501', 'limit=', 'limit=1&limit=2', 'changed-since=x'],
    ...['changed-since=9007199254740992', 'since=1', 'cursor=', 'cursor=x', 'cursor=%00', `cursor=${'x'.repeat(5000)}`],
    ...[forged(), forged('dealer-a', 0, -1, 'x'), forged('dealer-a', 0, '9', 'x'), forged('dealer-a', 0, 9, 7)].map(
      (cursor) => `cursor=${cursor}`,
    ),
    ...[forged('dealer-a', 0, 9, 'x', 'y'), `${forged('dealer-a', 0, 9, 'x')}=`].map((cursor) => `cursor=${cursor}`),
  ])('a list with %s is refused with 400', async (query) => {
    expect((await start().get(`${DEALER}?${query}`)).json()).toMatchObject({ status: 400, type: 'invalid-parameter' })
  })
})

it('an unknown parameter is refused, because a misspelt min-version would not wait', async () => {
  const answer = await start().get(`${CUSTOMER}?minversion=7:a`)
  expect(answer.json()).toMatchObject({ type: 'invalid-parameter', status: 400 })
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

it.each(['a/b', 'é 😀', '\0', 'x'.repeat(9000), '__proto__', '<script>', '}{'])(
  'an id may have any characters: %j',
  async (id) => {
    const asked: string[] = []
    const { get } = start({
      read: async (customerUuid) => {
        asked.push(customerUuid)
        return { kind: 'missing' }
      },
    })
    expect((await get(`/v1/customers/${encodeURIComponent(id)}`)).statusCode).toBe(404)
    expect(asked).toEqual([id])
  },
)

it('READER_AUTH=off answers without a key, unmasked', async () => {
  const answer = await start({ isOpen: true }).app.inject(CUSTOMER)
  expect([answer.statusCode, answer.json().customer.firstName]).toEqual([200, 'Ada'])
})

it('each answer ends a span without data of the customer, and only a client chooses its trace', async () => {
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

it('/healthz is 200 until SIGTERM, then 503, and counts as no request', async () => {
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
])('a request with %s, which Node would answer itself, gets a problem', async (_, request, status, type) => {
  const problem = `^HTTP/1\\.1 ${status} .*content-type: application/problem\\+json.*"type":"${type}"`
  expect(await sendRaw(request)).toMatch(new RegExp(problem, 's'))
})

describe('the list of dealers', () => {
  const pages: ListDealers = async ({ after, limit }) => {
    const known = ['a', 'b', 'c'].filter((id) => after === undefined || id > after)
    const dealers = known.slice(0, limit).map((dealerUuid) => ({ ...ACTIVITY, dealerUuid }))
    return { kind: 'page', dealers, next: known.length > limit ? dealers.at(-1)?.dealerUuid : undefined }
  }

  it('a silent dealer has the time of its last event', async () => {
    const answer = await start().get('/v1/dealers')
    expect(answer.json()).toEqual({
      dealers: [{ ...ACTIVITY, silentSince: ACTIVITY.lastEventAt }],
    })
    expect(answer.headers['cache-control']).toBe('no-store')
  })

  it('a value that is not known is null', async () => {
    const dealers: readonly Dealer[] = [{ ...ACTIVITY, state: 'active', customers: undefined }]
    const { get } = start({ listDealers: async () => ({ kind: 'page', dealers, next: undefined }) })
    expect((await get('/v1/dealers')).json().dealers[0]).toMatchObject({ customers: null, silentSince: null })
  })

  it('the cursor of a page leads to the next page', async () => {
    const { get } = start({ listDealers: pages })
    const first = (await get('/v1/dealers?limit=2')).json()
    expect(first.dealers.map((each: Dealer) => each.dealerUuid)).toEqual(['a', 'b'])
    const second = (await get(`/v1/dealers?limit=2&cursor=${first.cursor}`)).json()
    expect(second).toEqual({ dealers: [expect.objectContaining({ dealerUuid: 'c' })] })
  })

  it.each(['limit=0', 'limit=-1', 'limit=1e9', 'limit=501', 'cursor=', 'cursor=x', 'cursor=WzFd', 'dealer=a'])(
    'GET /v1/dealers?%s is refused with 400',
    async (query) => {
      expect((await start().get(`/v1/dealers?${query}`)).json()).toMatchObject({ type: 'invalid-parameter' })
    },
  )

  it('a Redis that is being filled is answered with 503', async () => {
    const answer = await start({ listDealers: async () => ({ kind: 'filling' }) }).get('/v1/dealers')
    expect(answer.json()).toMatchObject({ type: 'unavailable', status: 503 })
  })
})

describe('the history of a customer', () => {
  const HISTORY = `${CUSTOMER}/events`

  it('the newest events are answered, with their bytes if the client asks for them', async () => {
    const { get, revealed } = start()
    const answer = await get(`${HISTORY}?since=4&raw=1`)
    expect(answer.json()).toMatchObject({
      searched: { since: 4, partition: 3, from: '7', end: '12', isComplete: true },
      events: [
        {
          outcome: 'applied',
          document: { customer: { firstName: 'Ada' } },
          raw: '{"phone":"é"}',
          rawIsUtf8: true,
        },
        { outcome: 'unusable', reason: 'not-json', version: null, raw: '{\ufffd', rawIsUtf8: false },
      ],
    })
    expect([answer.headers['cache-control'], revealed]).toEqual(['no-store', ['full ada']])
    expect((await get(HISTORY)).body).not.toContain('"raw":')
  })

  it('a key without pii gets masked documents, and no bytes', async () => {
    const { get, revealed } = start()
    const answer = await get(HISTORY, 'masked')
    expect(answer.json().events[0].document.customer.firstName).toBe('***')
    expect((await get(`${HISTORY}?raw=1`, 'masked')).json()).toMatchObject({ status: 403, type: 'forbidden' })
    expect(revealed).toEqual([])
  })

  it('a key of a dealer sees no event of another dealer, and no event whose dealer is unknown', async () => {
    const events = EVENTS.events.map((event) => ({
      ...event,
      state: event.state && { ...event.state, dealerUuid: 'b' },
    }))
    const { get } = start({ readEvents: async () => ({ ...EVENTS, events }) })
    expect((await get(HISTORY, 'dealer-a')).json().events).toEqual([])
    expect((await start().get(HISTORY, 'dealer-a')).json().events).toHaveLength(1)
  })

  it.each(['since=x', 'since=-1', 'since=1e9', 'raw=2', 'raw=1&raw=1', 'from=1'])(
    '%s is refused with 400',
    async (query) => {
      expect((await start().get(`${HISTORY}?${query}`)).json()).toMatchObject({
        status: 400,
        type: 'invalid-parameter',
      })
    },
  )

  it('an outage of Kafka is answered with 503, and a third history at the same time with 429', async () => {
    const { get } = start({ readEvents: () => Promise.reject(new KafkaUnavailableError('x')) })
    expect((await get(HISTORY)).json()).toMatchObject({ status: 503, type: 'unavailable' })
    const { promise, resolve } = Promise.withResolvers<CustomerEvents>()
    const slow = start({ readEvents: () => promise })
    const waiting = [slow.get(HISTORY), slow.get(HISTORY)]
    await new Promise((done) => setImmediate(done))
    expect((await slow.get(HISTORY)).statusCode).toBe(429)
    resolve(EVENTS)
    expect((await Promise.all(waiting)).map(({ statusCode }) => statusCode)).toEqual([200, 200])
  })
})

describe('a stream of changes', () => {
  const headers = { 'last-event-id': 'x' }

  it.each(['customer=', 'dealer=', 'customers=a', 'since=1', `${'customer=a&'.repeat(101)}`])(
    'a stream with %s is refused with 400',
    async (query) => {
      const answer = await start().get(`/v1/changes?${query}`)
      expect(answer.json()).toMatchObject({ status: 400, type: 'invalid-parameter' })
    },
  )

  it('an id that no event has is refused with 400, and a dealer that the key may not see with 403', async () => {
    const { get } = start()
    expect((await get('/v1/changes', 'full', headers)).json()).toMatchObject({ status: 400, type: 'invalid-parameter' })
    expect((await get('/v1/changes?dealer=dealer-b', 'dealer-a')).json()).toMatchObject({
      status: 403,
      type: 'forbidden',
    })
  })

  it.each([
    ['full', 503, 'unavailable'],
    ['key-full', 429, 'too-many-requests'],
    ['gone', 410, 'position-gone'],
    ['unavailable', 503, 'unavailable'],
  ] as const)('a stream that cannot be opened (%s) gets %s', async (kind, status, type) => {
    const { get } = start({ open: async () => ({ kind }) })
    expect((await get('/v1/changes')).json()).toMatchObject({ status, type })
  })
})

describe('the pipeline', () => {
  it('a reader that has not measured yet answers 503, and then the document', async () => {
    let document: PipelineDocument | undefined
    const { get } = start({ pipeline: { document: () => document } })
    expect((await get('/v1/pipeline', 'operator')).json()).toMatchObject({ type: 'unavailable', status: 503 })
    document = documentOf([MEASUREMENT], [], 1)
    const answer = await get('/v1/pipeline', 'operator')
    expect([answer.statusCode, answer.headers['cache-control']]).toEqual([200, 'no-store'])
    expect(answer.json()).toEqual(JSON.parse(JSON.stringify(document)))
  })

  it('a parameter is refused with 400', async () => {
    expect((await start().get('/v1/pipeline?x=1', 'operator')).json()).toMatchObject({ type: 'invalid-parameter' })
  })
})

describe('quarantine', () => {
  const RECORD = '/v1/quarantine/t.quarantine-3-17'

  it('the list has the facts of each record, and no bytes', async () => {
    const answer = await start().get('/v1/quarantine', 'operator')
    expect(answer.json()).toEqual({
      records: [
        {
          ...{ id: 't.quarantine-3-17', partition: 3, offset: '17', receivedAt: 5, reason: 'not-json' },
          ...{ explanation: expect.any(String), stage: 'ingress', source: null, bytes: 4, handled: null },
        },
      ],
    })
  })

  it('a cursor continues after the last record, and belongs to one reason', async () => {
    const asked: unknown[] = []
    const { get } = start({
      quarantine: {
        list: async (query) => {
          asked.push(query)
          return { records: [QUARANTINED], hasMore: true, isCut: true }
        },
      },
    })
    const { cursor, truncated } = (await get('/v1/quarantine?reason=not-json&limit=1', 'operator')).json()
    expect(truncated).toBe(true)
    await get(`/v1/quarantine?reason=not-json&cursor=${cursor}`, 'operator')
    expect(asked).toEqual([
      { reason: 'not-json', after: undefined, limit: 1 },
      { reason: 'not-json', after: { receivedAt: 5, partition: 3, offset: '17' }, limit: 100 },
    ])
    for (const query of [`cursor=${cursor}`, `reason=not-utf8&cursor=${cursor}`, 'cursor=x', 'limit=501', 'x=1'])
      expect((await get(`/v1/quarantine?${query}`, 'operator')).json(), query).toMatchObject({
        type: 'invalid-parameter',
      })
  })

  it('a reason that no record has and this version does not know is refused with the nearest reason', async () => {
    const { get } = start({ quarantine: { list: async () => ({ records: [], hasMore: false, isCut: false }) } })
    const answer = await get('/v1/quarantine?reason=not-jsn', 'operator')
    expect(answer.json()).toMatchObject({ type: 'invalid-parameter', detail: expect.stringContaining('not-json') })
    expect((await get('/v1/quarantine?reason=not-json', 'operator')).json()).toEqual({ records: [] })
  })

  it('the bytes of a record need the scope pii, and each reveal is reported', async () => {
    const { get, revealed, count } = start()
    for (const [name, headers] of [['operator'], ['revealer', { 'x-mask': 'on' }]] as const)
      expect((await get(RECORD, name, headers)).json()).toMatchObject({ type: 'forbidden', status: 403 })
    expect(revealed).toEqual([])
    const answer = await get(RECORD, 'revealer')
    expect(answer.json()).toMatchObject({
      ...{ id: 't.quarantine-3-17', key: 'ada', headers: { reason: 'not-json' }, text: '{"é"' },
      history: [{ action: 'dropped', at: 9, requestedBy: 'ops', note: 'a test' }],
    })
    expect(answer.headers['cache-control']).toBe('no-store')
    expect(revealed).toEqual(['revealer t.quarantine-3-17'])
    expect(await count('reader_answers_total', 'ok')).toBe(1)
  })

  it('bytes that are no text are in base64, and a record without bytes has neither', async () => {
    const read = (value: Buffer | null) =>
      start({ quarantine: { read: async () => foundRecord(value) } }).get(RECORD, 'revealer')
    expect((await read(Buffer.from([0xff]))).json()).toMatchObject({ base64: '/w==' })
    expect(Object.keys((await read(null)).json())).not.toEqual(expect.arrayContaining(['text']))
  })

  it.each(['other-3-17', 't.quarantine-3', 't.quarantine-x-1', 't.quarantine-3-17-1', 't.quarantine'])(
    'the id %s is no record',
    async (id) => {
      expect((await start().get(`/v1/quarantine/${id}`, 'revealer')).json()).toMatchObject({ type: 'record-not-found' })
    },
  )

  it('a redrive has the name of its key, and a dry run has no name', async () => {
    const asked: unknown[] = []
    const redrive: Quarantine['redrive'] = async (place, requestedBy) => {
      asked.push([place, requestedBy])
      return { outcome: 'redriven', topic: 't.customers.raw' }
    }
    const { app } = start({ quarantine: { redrive } })
    const headers = { authorization: 'Bearer operator-key' }
    const post = (query: string) => app.inject({ method: 'POST', url: `${RECORD}/redrive${query}`, headers })
    expect((await post('')).json()).toEqual({ id: 't.quarantine-3-17', outcome: 'redriven', topic: 't.customers.raw' })
    await post('?dry-run=1')
    expect(asked).toEqual([
      [{ partition: 3, offset: '17' }, 'operator'],
      [{ partition: 3, offset: '17' }, undefined],
    ])
    for (const query of ['?dry-run=yes', '?dry-run=1&dry-run=1', '?x=1'])
      expect((await post(query)).json()).toMatchObject({ type: 'invalid-parameter' })
    expect(asked.length).toBe(2)
  })

  it.each([
    [new RedriveError('', true), { status: 409, type: 'redrive-running' }],
    [new RedriveError('no right', false), { status: 503, type: 'redrive-unavailable', detail: 'no right' }],
    [undefined, { status: 404, type: 'record-not-found' }],
  ])('a redrive that is not possible (%s) gets its problem', async (error, problem) => {
    const redrive = async () => {
      if (error) throw error
      return undefined
    }
    const { app } = start({ quarantine: { redrive } })
    const headers = { authorization: 'Bearer operator-key' }
    const answer = await app.inject({ method: 'POST', url: `${RECORD}/redrive`, headers })
    expect(answer.json()).toMatchObject(problem)
  })
})
