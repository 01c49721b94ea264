import { expect, it } from 'vitest'
import { createFindCompleteAsOf } from './complete-as-of.ts'
import { MEASUREMENT } from './fixtures/measurement.ts'
import type { Measurement } from './measurement.ts'

type Part = Pick<Measurement, 'raw' | 'progress'>

/** Ends of the partitions. Undefined: the partition has no leader. */
const ends = (askedAt: number, ...highs: readonly (number | undefined)[]): Measurement['raw'] => ({
  askedAt,
  partitions: highs.length,
  watermarks: new Map(
    highs.flatMap((high, i) => (high === undefined ? [] : [[i, { low: '0', stable: `${high}`, high: `${high}` }]])),
  ),
})
const positions = (...offsets: readonly number[]): Measurement['progress'] => ({
  ...(MEASUREMENT.progress as Exclude<Measurement['progress'], 'none' | undefined>),
  ...{ isFilled: true, indexes: undefined, fill: undefined },
  complete: new Map(offsets.map((offset, i) => [i, BigInt(offset)])),
})
const filling = { ...(positions(9, 9) as object), isFilled: false } as Measurement['progress']
/** Returns the time that is found after each of the measurements. */
const found = (...parts: readonly Part[]) => {
  const find = createFindCompleteAsOf()
  return parts.map((part) => find(part)?.at)
}

it('while the projectors keep up, Redis is complete as of the last measurement', () => {
  expect(
    found({ raw: ends(10, 5, 0), progress: positions(5) }, { raw: ends(20, 8, 1), progress: positions(9, 2) }),
  ).toEqual([10, 20])
})

it('after a projector has stopped, Redis is complete as of the last measurement with no lag', () => {
  const stopped = positions(5, 5)
  expect(
    found(
      { raw: ends(10, 5, 5), progress: stopped },
      // No event has arrived, so Redis still has all events.
      { raw: ends(20, 5, 5), progress: stopped },
      { raw: ends(30, 6, 5), progress: stopped },
      { raw: ends(40, 9, 9), progress: stopped },
      { raw: ends(50, 9, 9), progress: positions(6, 7) },
      { raw: ends(60, 9, 9), progress: positions(9, 9) },
    ),
  ).toEqual([10, 20, 20, 20, 30, 60])
})

it.each<[string, Part]>([
  ['a partition has no leader', { raw: ends(20, 5, undefined), progress: positions(5, 5) }],
  ['Kafka does not answer', { raw: undefined, progress: positions(5, 5) }],
  ['Redis does not answer', { raw: ends(20, 5, 5), progress: undefined }],
])('if %s, Redis is complete as of the previous measurement', (_, part) => {
  expect(found({ raw: ends(10, 5, 5), progress: positions(5, 5) }, part)[1]).toBe(10)
  expect(found(part)).toEqual([undefined])
})

it.each<[string, Measurement['progress']]>([
  ['Redis was emptied', 'none'],
  ['Redis is being filled', filling],
  ['a partition with records has no position', positions(5)],
])('if %s, it is not known up to which time Redis is complete', (_, progress) => {
  const all = { raw: ends(10, 5, 5), progress: positions(5, 5) }
  expect(found(all, { raw: ends(20, 5, 5), progress }, { raw: ends(30, 6, 5), progress: positions(5, 5) })).toEqual([
    10,
    undefined,
    20,
  ])
})

it('positions of a deleted topic do not count for a new topic of the same name', () => {
  const old = positions(50, 50)
  expect(
    found(
      { raw: ends(10, 50, 50), progress: old },
      { raw: ends(20, 3, 3), progress: old },
      { raw: ends(30, 4, 4), progress: old },
      { raw: ends(40, 5, 5), progress: positions(0, 0) },
      { raw: ends(50, 6, 6), progress: positions(5, 6) },
    ),
  ).toEqual([10, undefined, undefined, undefined, 40])
})

it('after an hour of lag, Redis is complete as of a known earlier time, and the memory is bounded', () => {
  const find = createFindCompleteAsOf()
  find({ raw: ends(1, 1), progress: positions(1) })
  for (let at = 2; at < 1000; at++) expect(find({ raw: ends(at, at), progress: positions(1) })?.at).toBe(1)
  // The ends of the partitions at this time are no longer stored.
  expect(find({ raw: ends(1000, 1000), progress: positions(300) })?.at).toBe(1)
  expect(find({ raw: ends(1001, 1001), progress: positions(900) })?.at).toBe(900)
})
