import { expect, it, onTestFinished, vi } from 'vitest'
import { createWatchdog } from './watchdog.ts'

const SESSION_MS = 1000

const setUp = () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const state = { kafkaAnswers: true, quietMs: 0, undisturbedMs: 1e6, standstillMs: 0 }
  const ends: string[] = []
  const watch = createWatchdog(
    {
      admin: {
        describeTopics: async () => {
          if (!state.kafkaAnswers) throw new Error('Kafka is away')
          return new Map()
        },
      },
      consumer: { quietMs: () => state.quietMs },
      projection: { undisturbedMs: () => state.undisturbedMs, positions: { assigned: [0] } as never },
      progress: { standstillMs: () => state.standstillMs },
      lifecycle: { fail: ({ message }) => ends.push(message) },
    },
    { topic: 't', sessionTimeoutMs: SESSION_MS },
  )
  /** Lets session timeouts pass and calls the watchdog once in each session timeout. */
  const pass = async (sessions: number) => {
    for (let passed = 0; passed < sessions; passed++) {
      await watch()
      vi.advanceTimersByTime(SESSION_MS)
    }
  }
  return { state, ends, pass }
}

it('the watchdog ends a process that made no progress for more than four session timeouts', async () => {
  const { state, ends, pass } = setUp()
  state.standstillMs = 4 * SESSION_MS + 1
  await pass(1)
  expect(ends).toEqual([])
  await pass(1)
  expect(ends).toEqual([expect.stringContaining('no position of this process has moved for 4 s')])
})

it('the watchdog does not end a process right after an outage', async () => {
  const { state, ends, pass } = setUp()
  Object.assign(state, { standstillMs: 60 * SESSION_MS, undisturbedMs: SESSION_MS })
  await pass(3)
  expect(ends).toEqual([])
})

it('the watchdog ends a process whose consumer is quiet for two session timeouts while Kafka answers', async () => {
  const { state, ends, pass } = setUp()
  state.quietMs = 60 * SESSION_MS
  await pass(2)
  expect(ends).toEqual([])
  await pass(1)
  expect(ends).toEqual(['the consumer has been silent for 2 s although Kafka answers'])
})

it('the watchdog does not end a process whose consumer is quiet during and after an outage', async () => {
  const { state, ends, pass } = setUp()
  Object.assign(state, { quietMs: 60 * SESSION_MS, kafkaAnswers: false })
  await pass(5)
  state.kafkaAnswers = true
  await pass(2)
  expect(ends).toEqual([])
})
