import { expect, it } from 'vitest'
import { createCopies } from './copies.ts'

const record = (offset: string, headers: Readonly<Record<string, string>>, receivedAt = 1) => ({
  partition: 0,
  offset,
  receivedAt,
  headers: { reason: 'not-json', ...headers },
})

it('two records with the same original and time of receipt are copies of one record', () => {
  const { earlierOf } = createCopies()
  const origin = { topic: 'raw', partition: '5', offset: '47' }
  expect(earlierOf(record('1', origin))).toBeUndefined()
  expect(earlierOf(record('2', origin))).toBe('0/1')
  expect(earlierOf(record('3', origin))).toBe('0/1')
  expect(earlierOf(record('4', { ...origin, offset: '48' }))).toBeUndefined()
  expect(earlierOf(record('5', origin, 2))).toBeUndefined()
})

it('records without the place of their original do not count as copies', () => {
  const { earlierOf } = createCopies()
  expect(earlierOf(record('1', { topic: 'raw' }))).toBeUndefined()
  expect(earlierOf(record('2', { topic: 'raw' }))).toBeUndefined()
})
