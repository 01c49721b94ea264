import { expect, it } from 'vitest'
import type { Dealer, ListDealers } from '../dealers.ts'
import { ACTIVITY, start } from './fixtures/start-app.ts'

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

it('an unknown value of a dealer is null', async () => {
  const dealers: readonly Dealer[] = [{ ...ACTIVITY, state: 'active', customers: undefined }]
  const { get } = start({ listDealers: async () => ({ kind: 'page', dealers, next: undefined }) })
  expect((await get('/v1/dealers')).json().dealers[0]).toMatchObject({ customers: null, silentSince: null })
})

it('the cursor of a page of dealers leads to the next page', async () => {
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

it('the list of dealers gets 503 while Redis is being filled', async () => {
  const answer = await start({ listDealers: async () => ({ kind: 'filling' }) }).get('/v1/dealers')
  expect(answer.json()).toMatchObject({ type: 'unavailable', status: 503 })
})
