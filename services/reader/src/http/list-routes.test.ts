import { expect, it, vi } from 'vitest'
import { DamagedCustomerError } from '../customers.ts'
import type { ListCustomers, Page } from '../list-customers.ts'
import { pathOf, STORED, start } from './fixtures/start-app.ts'
import { DEALER_PATH, SEARCH_PATH } from './list-routes.ts'

const search = (body: unknown, name = 'full', options: Parameters<typeof start>[0] = {}) => {
  const { app, revealed } = start(options)
  const headers = { authorization: `Bearer ${name}-key`, 'content-type': 'application/json' }
  const payload = typeof body === 'string' ? body : JSON.stringify(body)
  return app.inject({ method: 'POST', url: SEARCH_PATH, headers, payload }).then((answer) => ({ answer, revealed }))
}

it('a search returns the customers that a key may see, masked without pii, and reports a reveal', async () => {
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

it('the answer to a search that is too large names the limit', async () => {
  const { answer } = await search({ phone: 'x'.repeat(100_000) })
  expect(answer.json().detail).toBe('A body may have at most 16384 bytes.')
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

it('a key gets four lists at the same time, and its further lists wait', async () => {
  const page = Promise.withResolvers<Page>()
  let lists = 0
  const { get } = start({
    list: () => {
      lists += 1
      return page.promise
    },
  })
  const path = pathOf(DEALER_PATH)
  const answers = Array.from({ length: 6 }, () => get(path))
  await vi.waitFor(() => expect(lists).toBe(4))
  const other = get(path, 'dealer-a')
  await vi.waitFor(() => expect(lists).toBe(5))
  page.resolve({ kind: 'page', customers: [], next: undefined })
  expect((await Promise.all([...answers, other])).map(({ statusCode }) => statusCode)).toEqual(Array(7).fill(200))
  expect(lists).toBe(7)
})

it('a list that waits for another list gets 503 when the service stops', async () => {
  const page = Promise.withResolvers<Page>()
  const { get, stopping } = start({ list: () => page.promise })
  const path = pathOf(DEALER_PATH)
  const [running, waiting] = [Array.from({ length: 4 }, () => get(path)), get(path)]
  await new Promise(setImmediate)
  stopping.abort()
  expect((await waiting).json()).toMatchObject({ status: 503, type: 'unavailable' })
  expect((await get(path)).statusCode).toBe(503)
  page.resolve({ kind: 'page', customers: [], next: undefined })
  expect((await Promise.all(running)).map(({ statusCode }) => statusCode)).toEqual([200, 200, 200, 200])
})

it.each([
  ['WRONGTYPE Operation against a key holding the wrong kind of value', 1, 'A key in Redis has another type.'],
  ['LOADING Redis is loading the dataset in memory', 0, 'Redis does not answer, or cannot answer now.'],
])(
  'the error %s of Redis is answered with 503, and is reported only if a person must repair it',
  async (message, count, detail) => {
    const error = Object.assign(new Error(message), { name: 'ReplyError' })
    const { get, failures } = start({ list: () => Promise.reject(error) })
    expect((await get(pathOf(DEALER_PATH))).json()).toMatchObject({ status: 503, type: 'unavailable', detail })
    expect(failures).toHaveLength(count)
  },
)
