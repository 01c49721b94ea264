import { expect, it } from 'vitest'
import { compareVersions } from './compare.ts'
import { parseExact } from './exact-json.ts'

it('a comparison names each added, changed and removed value by its path', () => {
  const before = { a: 1, list: [{ b: 'x' }, { b: 'y' }], gone: null }
  const after = { a: 1, list: [{ b: 'z' }], fresh: [] }
  expect(compareVersions(before, after)).toEqual([
    { path: 'a', kind: 'same', before: 1, after: 1 },
    { path: 'list[0].b', kind: 'changed', before: 'x', after: 'z' },
    { path: 'fresh', kind: 'added', before: undefined, after: [] },
    { path: 'list[1].b', kind: 'removed', before: 'y', after: undefined },
    { path: 'gone', kind: 'removed', before: null, after: undefined },
  ])
})

it('two masked values are not compared, because different values have the same mask', () => {
  expect(compareVersions({ a: '***', b: '***' }, { a: '***' })).toEqual([
    { path: 'a', kind: 'masked', before: '***', after: '***' },
    { path: 'b', kind: 'removed', before: '***', after: undefined },
  ])
})

it("each value of a customer's first version counts as added", () => {
  const after = { a: 1, b: undefined }
  expect(compareVersions(undefined, after)).toEqual([{ path: 'a', kind: 'added', before: undefined, after: 1 }])
})

it('a number that JavaScript would round keeps its digits', () => {
  expect(parseExact('{"a":12345678901234567890,"b":1.0,"c":7}')).toEqual({ a: '12345678901234567890', b: '1.0', c: 7 })
})
