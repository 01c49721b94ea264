import { expect, it, onTestFinished, vi } from 'vitest'
import { periodically } from './periodically.ts'

const start = (task: () => Promise<void>) => {
  vi.useFakeTimers()
  const failures: string[] = []
  const stop = periodically(100, task, ({ message }) => failures.push(message))
  onTestFinished(() => {
    stop()
    vi.useRealTimers()
  })
  return { failures, stop }
}

it('runs of a periodic task do not overlap, and each failure is reported once', async () => {
  const runs: PromiseWithResolvers<void>[] = []
  const { failures } = start(() => {
    const run = Promise.withResolvers<void>()
    runs.push(run)
    return run.promise
  })
  await vi.advanceTimersByTimeAsync(1000)
  expect(runs.length).toBe(1)
  runs[0]?.reject(new Error('away'))
  await vi.advanceTimersByTimeAsync(100)
  expect([runs.length, failures]).toEqual([2, ['away']])
})

it('a periodic task does not run again after stop', async () => {
  let runs = 0
  const { stop } = start(async () => {
    runs += 1
  })
  await vi.advanceTimersByTimeAsync(250)
  stop()
  await vi.advanceTimersByTimeAsync(250)
  expect(runs).toBe(2)
})
