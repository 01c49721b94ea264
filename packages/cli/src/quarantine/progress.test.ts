import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createProgress } from './progress.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const TOTAL = 100_000

const start = () => {
  const counts = { done: 0, doneBefore: 0 }
  const progress = createProgress('redriven', () => counts)
  let read = 0
  /** Simulates a run that reads records at a constant rate for some seconds. */
  const run = (seconds: number, perSecond: Partial<typeof counts> & { readonly read: number }) => {
    for (let tenth = 0; tenth < 10 * seconds; tenth++) {
      vi.advanceTimersByTime(100)
      read += perSecond.read / 10
      counts.done += (perSecond.done ?? 0) / 10
      counts.doneBefore += (perSecond.doneBefore ?? 0) / 10
      progress.onProgress(read, TOTAL)
    }
  }
  return { run, text: () => progress.line.text(100).replaceAll(/[█░]/g, '').replaceAll(/ +/g, ' ').trim() }
}

it('the time left is unknown while a run skips records that an earlier run has handled', () => {
  const { run, text } = start()
  run(2, { read: 25_000, doneBefore: 20_000 })
  expect(text()).toBe('redriven 50 % 0/s ? s left')
  // The remaining 50,000 records are 100 s of work, although the first 50,000 took 2 s.
  run(2, { read: 500, done: 500 })
  expect(text()).toBe('redriven 51 % 500/s 98 s left')
})

it('the pace and the time left depend on the last ten seconds only', () => {
  const { run, text } = start()
  run(20, { read: 1000, done: 1000 })
  expect(text()).toBe('redriven 20 % 1,000/s 80 s left')
  run(11, { read: 100, done: 100 })
  expect(text()).toBe('redriven 21 % 100/s 789 s left')
})

it('the time left is known if the run reads many records and selects few', () => {
  const { run, text } = start()
  run(5, { read: 10_000 })
  expect(text()).toBe('redriven 50 % 0/s 5 s left')
})
