import { expect, it, onTestFinished, vi } from 'vitest'
import { noteQuotaDelay, quotaDelay } from './quota.ts'

it('a delay by a quota of Kafka is reported until a minute after its end', () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  // Other test files of this worker may have noted delays, which end within an hour.
  vi.advanceTimersByTime(60 * 60_000)
  expect(quotaDelay()).toBeUndefined()
  noteQuotaDelay({ broker: 'kafka:9092', clientId: 'projector', throttleMs: 30_000 })
  vi.advanceTimersByTime(89_000)
  expect(quotaDelay()).toBe(
    'kafka:9092 has delayed requests of the client id projector by 30.0 s, because they exceed a quota of Kafka. ' +
      'Raise the quota of the user or the client id.',
  )
  vi.advanceTimersByTime(2000)
  expect(quotaDelay()).toBeUndefined()
})
