import { expect, it, onTestFinished, vi } from 'vitest'
import { periodically } from './periodically.ts'

const start = (duty: () => Promise<void>) => {
  vi.useFakeTimers()
  const failures: string[] = []
  const stop = periodically(100, duty, ({ message }) => failures.push(message))
  onTestFinished(() => {
    stop()
    vi.useRealTimers()
  })
  return { failures, stop }
}

it('runs of a periodic task do not overlap, and each failure is reported once', async () => {
  const turns: PromiseWithResolvers<void>[] = []
  const { failures } = start(() => {
    const turn = Promise.withResolvers<void>()
    turns.push(turn)
    return turn.promise
  })
  await vi.advanceTimersByTimeAsync(1000)
  expect(turns.length).toBe(1)
  turns[0]?.reject(new Error('away'))
  await vi.advanceTimersByTimeAsync(100)
  expect([turns.length, failures]).toEqual([2, ['away']])
})

it('a periodic task does not run again after stop', async () => {
  let turns = 0
  const { stop } = start(async () => {
    turns += 1
  })
  await vi.advanceTimersByTimeAsync(250)
  stop()
  await vi.advanceTimersByTimeAsync(250)
  expect(turns).toBe(2)
})
