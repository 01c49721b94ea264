import type { EachBatchPayload } from 'kafkajs'
import { expect, it, onTestFinished, vi } from 'vitest'
import { HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, startHeartbeats } from './heartbeats.ts'

const startWith = (heartbeat: () => Promise<void>) => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  return startHeartbeats({ heartbeat } as EachBatchPayload)
}
const errorOf = (type: string) => Object.assign(new Error(type), { type })

it('during a batch, several heartbeats are sent per session timeout, and after the batch none is sent', async () => {
  const heartbeat = vi.fn(async () => {})
  const beats = startWith(heartbeat)
  await vi.advanceTimersByTimeAsync(SESSION_TIMEOUT_MS)
  expect(heartbeat.mock.calls.length).toBeGreaterThanOrEqual(3)
  expect([beats.mustEnd, beats.lost.signal.aborted]).toEqual([false, false])
  beats.stop()
  heartbeat.mockClear()
  await vi.advanceTimersByTimeAsync(SESSION_TIMEOUT_MS)
  expect(heartbeat).not.toHaveBeenCalled()
})

it('a heartbeat is sent within half a second after the interval of kafkajs', async () => {
  const sentAt: number[] = []
  let answeredAt = 0
  const beats = startWith(async () => {
    // Send nothing before the interval has passed, as kafkajs does.
    if (Date.now() < answeredAt + HEARTBEAT_INTERVAL_MS) return
    sentAt.push(Date.now())
    await new Promise((resolve) => setTimeout(resolve, 5))
    answeredAt = Date.now()
  })
  await vi.advanceTimersByTimeAsync(30_000)
  beats.stop()
  const pauses = sentAt.slice(1).map((at, i) => at - (sentAt[i] ?? 0))
  expect(pauses.length).toBeGreaterThan(0)
  expect(Math.max(...pauses)).toBeLessThanOrEqual(HEARTBEAT_INTERVAL_MS + 505)
})

it.each([
  ['REBALANCE_IN_PROGRESS', { mustEnd: true, isLost: false }],
  ['UNKNOWN_MEMBER_ID', { mustEnd: true, isLost: true }],
  ['ILLEGAL_GENERATION', { mustEnd: true, isLost: true }],
  ['NOT_COORDINATOR_FOR_GROUP', { mustEnd: false, isLost: false }],
])('if a heartbeat fails with %s, the effect is %j', async (type, expected) => {
  const beats = startWith(() => Promise.reject(errorOf(type)))
  await vi.advanceTimersByTimeAsync(HEARTBEAT_INTERVAL_MS)
  expect({ mustEnd: beats.mustEnd, isLost: beats.lost.signal.aborted }).toEqual(expected)
  beats.stop()
})
