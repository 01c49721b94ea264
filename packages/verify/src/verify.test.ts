import { expect, it } from 'vitest'
import { recordsBehind } from './verify.ts'

const ends = [{ high: '5' }, { high: '8' }]

it('a position beyond one end does not reduce the lag of other partitions', () => {
  expect(recordsBehind(ends, [['5', '8']])).toBe(0)
  expect(recordsBehind(ends, [['9', '8']])).toBe(0)
  expect(recordsBehind(ends, [['9', '4']])).toBe(4)
  expect(recordsBehind(ends, [['5', null]])).toBe(8)
  expect(recordsBehind(ends, [['5', 'letters']])).toBe(8)
})

it('the lag is measured by the copy of the positions that is furthest behind', () => {
  expect(
    recordsBehind(ends, [
      ['5', '8'],
      ['9', '6'],
    ]),
  ).toBe(2)
})
