import type { StoredProgress } from '@customer-stream/verify'
import { expect, it } from 'vitest'
import { deletable, stateOfProjection } from './rebuild-state.ts'

const progress = (position: bigint | undefined, more: Partial<StoredProgress> = {}): StoredProgress => ({
  partition: 0,
  position,
  fill: undefined,
  erasuresOffset: undefined,
  publishedOffset: undefined,
  windowEnd: undefined,
  completeBefore: undefined,
  ...more,
})
const ends = [{ partition: 0, low: '10', high: '100' }]
const stateOf = (stored: StoredProgress | undefined, given = ends) => stateOfProjection(2, given, stored && [stored])

it('a rebuild is complete when all records that the topic had at the start are applied', () => {
  expect(stateOf(progress(40n))).toMatchObject({ left: 60, done: 30, isComplete: false })
  expect(stateOf(progress(100n))).toMatchObject({ left: 0, done: 90, isComplete: true })
  expect(stateOf(progress(120n))).toMatchObject({ left: 0, isComplete: true })
})

it('a rebuild without positions is incomplete, even if the topic is empty', () => {
  expect(stateOf(undefined)).toMatchObject({ left: 90, done: 0, isComplete: false })
  expect(stateOf(undefined, [{ partition: 0, low: '0', high: '0' }])).toMatchObject({ left: 0, isComplete: false })
})

it('a rebuild can be complete although an empty partition has no position', () => {
  const empty = { partition: 1, low: '7', high: '7' }
  const two = stateOfProjection(2, [...ends, empty], [progress(100n), progress(undefined, { partition: 1 })])
  expect(two.isComplete).toBe(true)
  const reversed = stateOfProjection(2, [empty, ...ends], [])
  expect(reversed.partitions.map(({ partition }) => partition)).toEqual([0, 1])
})

it('a partition that is being filled is incomplete, even if all its events are applied', () => {
  const filling = progress(100n, { fill: { next: 20n, end: 50n } })
  expect(stateOf(filling)).toMatchObject({ left: 30, done: 110, isFilling: true, isComplete: false })
})

it('a partition whose position is inside a lookahead window is complete only when the whole window is applied', () => {
  expect(stateOf(progress(100n, { windowEnd: 130n }))).toMatchObject({ left: 30, isComplete: false })
})

it('after a rebuild, old positions may be deleted, but not the positions of the previous projection', () => {
  const at = (position: bigint) => stateOfProjection(4, ends, [progress(position)])
  expect(deletable([1, 2, 3, 4], at(100n))).toEqual([1, 2])
  expect(deletable([1, 2, 3, 4], at(99n))).toEqual([])
})
