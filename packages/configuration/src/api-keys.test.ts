import { expect, it } from 'vitest'
import { readApiKeys } from './api-keys.ts'

const key = { name: 'crm', sha256: 'AB'.repeat(32), scopes: ['read', 'pii'], dealers: ['*'] }
const read = (...keys: unknown[]) => readApiKeys(JSON.stringify(keys))

it('readApiKeys returns the keys, with each digest in lower case', () => {
  expect(read(key)).toEqual([{ ...key, sha256: 'ab'.repeat(32) }])
  expect(readApiKeys('')).toEqual([])
})

it.each([
  ['not JSON', 'x'],
  ['JSON array', '{}'],
  ['JSON array', '[]'],
  ['key 1 is not an object', '[1]'],
  ['key 1 is not an object', '[[]]'],
])('readApiKeys refuses a value with the problem "%s": %s', (problem, text) => {
  expect(() => readApiKeys(text)).toThrow(problem)
})

it.each<[problem: string, change: object]>([
  ['name', { name: '' }],
  ['name', { name: 'a b' }],
  ['name', { name: 'x'.repeat(65) }],
  ['sha256', { sha256: 'key' }],
  ['sha256', { sha256: undefined }],
  ['scopes', { scopes: [] }],
  ['scopes', { scopes: ['write'] }],
  ['scopes', { scopes: 'read' }],
  ['dealers', { dealers: [] }],
  ['dealers', { dealers: [''] }],
  ['dealers', { dealers: undefined }],
  ['a member other than', { dealer: 'a' }],
])('readApiKeys refuses a key, and the error has the text "%s": %j', (problem, change) => {
  const other = { ...key, name: 'other', sha256: 'cd'.repeat(32) }
  expect(() => read(other, { ...key, ...change })).toThrow(new RegExp(`^key 2 .*${problem}`))
})

it('readApiKeys refuses two keys with the same name or the same digest', () => {
  expect(() => read(key, { ...key, sha256: 'cd'.repeat(32) })).toThrow('the same name')
  expect(() => read(key, { ...key, name: 'other', sha256: 'ab'.repeat(32) })).toThrow('the same sha256')
})
