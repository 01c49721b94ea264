import { expect, it } from 'vitest'
import { progressIn } from './positions.ts'

const field = 't/3'

it('the progress of a partition is its position and its #fill, #erasures, #state and #window fields', () => {
  const hash = {
    [field]: '90',
    [`${field}#fill`]: 'id/topicId/40/100/0/complete',
    [`${field}#erasures`]: 'topicId/7/stateId',
    [`${field}#state`]: 'topicId/80',
    [`${field}#window`]: '50/120',
    't/33': '5',
  }
  expect(progressIn([hash], 't', 3)).toEqual({
    partition: 3,
    position: 90n,
    fill: { next: 40n, end: 100n },
    erasuresOffset: 7n,
    publishedOffset: 80n,
    windowEnd: 120n,
    completeBefore: 50n,
  })
})

it('a partition without fields has no progress', () => {
  expect(progressIn([{}], 't', 3)).toEqual({
    partition: 3,
    position: undefined,
    fill: undefined,
    erasuresOffset: undefined,
    publishedOffset: undefined,
    windowEnd: undefined,
    completeBefore: undefined,
  })
})

it('a window is ignored if the position has reached the end of the window', () => {
  const left = progressIn([{ [field]: '120', [`${field}#window`]: '50/120' }], 't', 3)
  expect(left).toMatchObject({ windowEnd: undefined, completeBefore: 120n })
})

it('on Redis Cluster the position is the lowest of its copies, and is undefined if a copy is missing', () => {
  expect(progressIn([{ [field]: '9' }, { [field]: '10' }], 't', 3).position).toBe(9n)
  expect(progressIn([{ [field]: '9' }, {}], 't', 3).position).toBeUndefined()
  const fills = [{ [`${field}#fill`]: 'a/b/30/40/0/partial' }, { [`${field}#fill`]: 'a/b/20/40/0/partial' }]
  expect(progressIn(fills, 't', 3).fill).toEqual({ next: 20n, end: 40n })
})
