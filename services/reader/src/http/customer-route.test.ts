import { describe, expect, it } from 'vitest'
import { type Customers, DamagedCustomerError, type Reading } from '../customers.ts'
import { CUSTOMER, HASH, readingOf, requestTo, start, VERSION } from './fixtures/start-app.ts'
import { SEARCH_PATH } from './list-routes.ts'

it('the answer has a customer with its types, its version and the times of its event', async () => {
  const { get } = start()
  const answer = await get(CUSTOMER)
  expect(answer.statusCode).toBe(200)
  expect(answer.headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    etag: expect.stringMatching(/^"1728542293678:a7b9;[\da-f]{1,8}"$/),
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

describe('the time up to which Redis is complete', () => {
  const asOf = async (answer: ReturnType<ReturnType<typeof start>['get']>) => (await answer).headers['x-complete-as-of']

  it.each([
    ['a customer', CUSTOMER],
    ['a missing customer', '/v1/customers/bob', 404],
    ['an unchanged customer', CUSTOMER, 304],
    ['a list of customers', '/v1/dealers/dealer-a/customers'],
    ['a list of dealers', '/v1/dealers'],
  ])('the answer for %s says up to which time Redis is complete', async (_, path, status = 200) => {
    const { get } = start({
      pipeline: { completeAsOf: () => async () => 1728542293990 },
      ...(status === 404 && { read: async () => ({ kind: 'missing' }) as Reading }),
    })
    const answer = get(path, 'full', status === 304 ? { 'if-none-match': '*' } : {})
    expect([(await answer).statusCode, await asOf(answer)]).toEqual([status, '1728542293990'])
  })

  it('the answer to a search says up to which time Redis is complete', async () => {
    const { app } = start({ pipeline: { completeAsOf: () => async () => 7 } })
    const answer = await app.inject(
      requestTo({ path: SEARCH_PATH, method: 'POST' }, { authorization: 'Bearer full-key' }),
    )
    expect(answer.headers['x-complete-as-of']).toBe('7')
  })

  it('the time up to which Redis is complete is read before the customer, and checked again after it', async () => {
    const calls: string[] = []
    const { get } = start({
      pipeline: {
        completeAsOf: () => {
          calls.push('arrival')
          return async () => void calls.push('check')
        },
      },
      read: async () => {
        calls.push('read')
        return { kind: 'missing' }
      },
    })
    expect(await asOf(get(CUSTOMER))).toBe('unknown')
    expect(calls).toEqual(['arrival', 'read', 'check'])
  })

  it.each([
    ['without a key', CUSTOMER, 'unknown-key'],
    ['with a wrong parameter', `${CUSTOMER}?x=1`, 'full'],
  ])('a request %s is not answered from Redis, so the completeness of Redis is not checked', async (_, path, key) => {
    expect(await asOf(start({ pipeline: { completeAsOf: () => async () => 7 } }).get(path, key))).toBeUndefined()
  })

  it('if the reader does not know up to which time Redis is complete, the answer says so', async () => {
    expect(await asOf(start().get(CUSTOMER))).toBe('unknown')
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
  expect(masked.headers).toMatchObject({
    etag: (await get(CUSTOMER, 'masked')).headers.etag,
    vary: 'authorization, x-mask',
  })
  const search = requestTo({ path: SEARCH_PATH, method: 'POST' }, { authorization: 'Bearer full-key', ...headers })
  expect((await app.inject(search)).json()).toMatchObject({ customers: [{ customer: { firstName: '***' } }] })
  expect(revealed).toEqual([])
})

it.each(['TAG', 'W/TAG', '"1", TAG', '*'])(
  'a client with If-None-Match %s gets 304, and nothing is revealed',
  async (text) => {
    const { etag } = (await start().get(CUSTOMER)).headers
    const { get, revealed } = start()
    const answer = await get(CUSTOMER, 'full', { 'if-none-match': text.replace('TAG', String(etag)) })
    expect([answer.statusCode, answer.body, revealed]).toEqual([304, '', []])
    expect(answer.headers['x-customer-version']).toBe('1728542293678:a7b9')
  },
)

it('a masked answer has another ETag, so a client with a new scope pii gets the values', async () => {
  const { get } = start()
  const { etag } = (await get(CUSTOMER, 'masked')).headers
  expect((await get(CUSTOMER, 'masked', { 'if-none-match': etag })).statusCode).toBe(304)
  expect((await get(CUSTOMER, 'full', { 'if-none-match': etag })).statusCode).toBe(200)
})

it.each([
  ['a repair', { firstName: 'Augusta' }],
  ['a rebuild', { _appliedAt: '1728542294132' }],
])('after %s of the same version, the ETag differs, so a client gets the new answer', async (_, fields) => {
  const { etag } = (await start().get(CUSTOMER)).headers
  const { get } = start({ read: async () => readingOf({ ...HASH, ...fields }) })
  expect((await get(CUSTOMER, 'full', { 'if-none-match': etag })).statusCode).toBe(200)
})

it.each([
  ['no customer', { kind: 'missing' }, 404, 'customer-not-found'],
  ['an emptied Redis', { kind: 'filling' }, 503, 'unavailable'],
] as const)('the answer for %s is a problem document', async (_, reading, status, type) => {
  const answer = await start({ read: async () => reading }).get(CUSTOMER)
  expect([answer.headers['content-type'], answer.json()]).toEqual([
    'application/problem+json; charset=utf-8',
    expect.objectContaining({ type, status }),
  ])
  expect(answer.headers['retry-after']).toBe(status === 503 ? '1' : undefined)
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

it('an unknown parameter is refused, because a misspelt min-version would be ignored', async () => {
  const answer = await start().get(`${CUSTOMER}?minversion=7:a`)
  expect(answer.json()).toMatchObject({ type: 'invalid-parameter', status: 400 })
})

describe('min-version', () => {
  const stored = (timestamp: number): Reading => readingOf({ ...HASH, _eventTimestamp: `${timestamp}` })

  it('a request with min-version waits until Redis has the version', async () => {
    let reads = 0
    const { get } = start({ read: async () => stored(++reads < 3 ? 1 : 7), waitMs: 10_000 })
    const answer = await get(`${CUSTOMER}?min-version=7:a7b9`)
    // Three reads of the version, then one read of the customer.
    expect([answer.statusCode, answer.json().version.timestamp, reads]).toEqual([200, 7, 4])
  })

  it('a waiting request reads the whole hash only after the wait, because a hash may have a megabyte', async () => {
    const version = (timestamp: number) => ({ version: { timestamp, id: 'a7b9' }, dealerUuid: 'd', isIndexed: true })
    let waits = 0
    let reads = 0
    const { get } = start({
      readVersion: async () => version(++waits < 4 ? 1 : 7),
      // The first read finds an older version, as after a failover of Redis.
      read: async () => stored(++reads < 2 ? 1 : 7),
      waitMs: 10_000,
    })
    const answer = await get(`${CUSTOMER}?min-version=7:a7b9`)
    expect([answer.json().version.timestamp, waits, reads]).toEqual([7, 5, 2])
  })

  it.each([
    ['an older version', stored(1)],
    ['a version without its entries in indexes', { ...stored(7), isIndexed: false } as Reading],
    ['no customer', { kind: 'missing' }],
  ] as const)('a request with min-version gets 504 if Redis has %s at the deadline', async (_, reading) => {
    const answer = await start({ read: async () => reading }).get(`${CUSTOMER}?min-version=7:a7b9`)
    expect(answer.json()).toMatchObject({ type: 'version-not-reached', status: 504 })
  })

  it('the version in a header is accepted as min-version, whatever characters its id has', async () => {
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

  it('a wait for a customer of another dealer looks like a wait for a missing customer', async () => {
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
