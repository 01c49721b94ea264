import { createLogger, type Logger } from '@customer-stream/runtime'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { ProjectorMetrics } from './metrics.ts'
import { createOutages } from './outages.ts'

afterEach(() => {
  vi.useRealTimers()
})

it('an outage is logged immediately, and then once a minute', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const logged: number[] = []
  const { attemptOnce } = createOutages({
    causeOf: (error) => error,
    metrics: { failures: { inc: () => undefined } } as unknown as ProjectorMetrics,
    logger: { warn: ({ failures }: { failures: number }) => logged.push(failures) } as unknown as Logger,
    backoff: { initialMs: 1, maxMs: 1 },
  })
  const { signal } = new AbortController()
  for (let second = 0; second < 130; second++) {
    await attemptOnce('Redis', 'topic', signal, () => Promise.reject(new Error('x')))
    vi.advanceTimersByTime(1000)
  }
  expect(logged).toEqual([1, 61, 121])
})

describe('attemptOnce', () => {
  const setUp = () => {
    const counted: unknown[] = []
    const timed: unknown[] = []
    const outages = createOutages({
      causeOf: (error) => error,
      metrics: {
        failures: { inc: (labels: unknown) => counted.push(labels) },
        operationSeconds: { startTimer: (labels: unknown) => () => timed.push(labels) },
      } as unknown as ProjectorMetrics,
      logger: createLogger('test', 'silent'),
      backoff: { initialMs: 1, maxMs: 1 },
    })
    const controller = new AbortController()
    const { signal } = controller
    const fail = (place = 'topic', tolerated = 1) =>
      outages.attemptOnce('erasures', place, signal, () => Promise.reject(new Error('x')), tolerated)
    const succeed = () => outages.attemptOnce('erasures', 'topic', signal, async () => 7)
    return { outages, counted, timed, controller, fail, succeed }
  }

  it('a tolerated failure is not reported as an outage', async () => {
    const { outages, counted, fail, succeed } = setUp()
    expect(await fail()).toBeUndefined()
    expect([outages.waitingFor, counted]).toEqual([undefined, []])
    expect(await succeed()).toEqual({ value: 7 })
    await fail()
    expect(outages.waitingFor).toBeUndefined()
  })

  it('one failure above the tolerated count is an outage until an attempt succeeds', async () => {
    const { outages, counted, fail, succeed } = setUp()
    await fail()
    await fail('another place')
    expect(outages.waitingFor).toBeUndefined()
    await fail()
    expect([outages.waitingFor, outages.undisturbedMs()]).toEqual(['erasures: x', 0])
    expect(counted).toEqual([{ operation: 'erasures' }])
    await succeed()
    expect(outages.waitingFor).toBeUndefined()
  })

  it('the duration of each attempt is measured, even of a failed attempt', async () => {
    const { outages, timed, controller, fail, succeed } = setUp()
    await fail()
    await succeed()
    let attempts = 0
    await outages.retryThroughOutage('Redis', controller.signal, async () => {
      attempts += 1
      if (attempts === 1) throw new Error('x')
    })
    expect(timed).toEqual(['erasures', 'erasures', 'Redis', 'Redis'].map((operation) => ({ operation })))
  })

  it('an outage ends when its attempts are aborted', async () => {
    const { outages, controller, fail } = setUp()
    await fail('topic', 0)
    expect(outages.waitingFor).toBe('erasures: x')
    controller.abort()
    expect(outages.waitingFor).toBeUndefined()
  })
})
