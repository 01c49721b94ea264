import { expect, it } from 'vitest'
import { createTokenCache, type Token, TokenError } from './token-cache.ts'

const setUp = () => {
  let now = 0
  const answers: (Token | TokenError)[] = []
  const requests: number[] = []
  const cache = createTokenCache(
    async () => {
      requests.push(now)
      const answer = answers.shift() ?? new TokenError('no answer', { hint: '' })
      if (answer instanceof TokenError) throw answer
      return answer
    },
    () => now,
  )
  const at = async (time: number): Promise<string> => {
    now = time
    return cache.get().catch((error: Error) => error.message)
  }
  return { answers, requests, cache, at }
}

it('all connections share a token until a fifth of its lifetime remains', async () => {
  const { answers, requests, at, cache } = setUp()
  answers.push({ value: 'first', lifetimeMs: 100_000 }, { value: 'second', lifetimeMs: 100_000 })
  expect(await Promise.all([cache.get(), cache.get()])).toEqual(['first', 'first'])
  expect(await at(79_999)).toBe('first')
  expect(await at(80_000)).toBe('second')
  expect(requests).toEqual([0, 80_000])
})

it('a short-lived token is renewed before kafkajs logs in again', async () => {
  const { answers, at } = setUp()
  answers.push({ value: 'first', lifetimeMs: 40_000 }, { value: 'second', lifetimeMs: 40_000 })
  expect(await at(0)).toBe('first')
  expect(await at(30_000)).toBe('second')
})

it('each login needs a new token if the lifetime is unknown', async () => {
  const { answers, at } = setUp()
  answers.push({ value: 'first', lifetimeMs: 0 }, { value: 'second', lifetimeMs: 0 })
  expect([await at(0), await at(0)]).toEqual(['first', 'second'])
})

it('a token is used until it expires while requests for a new token fail', async () => {
  const { answers, requests, at } = setUp()
  answers.push({ value: 'first', lifetimeMs: 100_000 })
  expect(await at(0)).toBe('first')
  for (const time of [80_000, 80_500, 81_000, 82_999, 83_000]) expect(await at(time)).toBe('first')
  expect(requests).toEqual([0, 80_000, 81_000, 83_000])
  expect(await at(100_000)).toBe('no answer')
  answers.push({ value: 'second', lifetimeMs: 100_000 })
  expect(await at(200_000)).toBe('second')
})

it('a token that a broker has refused is not used again', async () => {
  const { answers, at, cache } = setUp()
  answers.push({ value: 'first', lifetimeMs: 100_000 }, { value: 'second', lifetimeMs: 100_000 })
  await at(0)
  cache.drop('other')
  expect(await at(1)).toBe('first')
  cache.drop('first')
  expect(await at(2)).toBe('second')
})
