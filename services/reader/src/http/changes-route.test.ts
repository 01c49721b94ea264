import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import { start } from './fixtures/start-app.ts'

const headers = { 'last-event-id': 'x' }

it.each(['customer=', 'dealer=', 'customers=a', 'since=1', `${'customer=a&'.repeat(101)}`])(
  'a stream with %s is refused with 400',
  async (query) => {
    const answer = await start().get(`/v1/changes?${query}`)
    expect(answer.json()).toMatchObject({ status: 400, type: 'invalid-parameter' })
  },
)

it('a stream is refused with 400 for an invalid position, and with 403 for a hidden dealer', async () => {
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

it('the start of a stream reads only the dealers of its customers, because a hash may have a megabyte', async () => {
  const shown: unknown[] = []
  const { get } = start({
    read: () => Promise.reject(new Error('read as a whole')),
    readVersion: async (customerUuid, maySee) =>
      customerUuid === 'ada' && maySee('dealer-a')
        ? { version: { timestamp: 1, id: 'e' }, dealerUuid: 'dealer-a', isIndexed: true }
        : undefined,
    open: async ({ view }) => {
      shown.push(...view.shown)
      return { kind: 'stream', body: Readable.from(['']) }
    },
  })
  expect((await get('/v1/changes?customer=ada&customer=eve', 'dealer-a')).statusCode).toBe(200)
  expect(shown).toEqual([{ customerUuid: 'ada', dealerUuid: 'dealer-a' }])
})
