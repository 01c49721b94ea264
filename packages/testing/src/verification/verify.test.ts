import { expect, it } from 'vitest'
import { recordsBehind } from './verify.ts'

const ends = [{ high: '5' }, { high: '8' }]

it('waits for each partition by itself: what was read beyond one end makes up for no other', () => {
  expect(recordsBehind(ends, [['5', '8']])).toBe(0)
  expect(recordsBehind(ends, [['9', '8']])).toBe(0)
  expect(recordsBehind(ends, [['9', '4']])).toBe(4)
  expect(recordsBehind(ends, [['5', null]])).toBe(8)
  expect(recordsBehind(ends, [['5', 'letters']])).toBe(8)
})

it('goes by the least filled of several copies', () => {
  expect(
    recordsBehind(ends, [
      ['5', '8'],
      ['9', '6'],
    ]),
  ).toBe(2)
})
