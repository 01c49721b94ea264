import { createRegistry } from '@customer-stream/runtime/service'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createProjectorMetrics } from './metrics.ts'
import { startTasks } from './tasks.ts'

const setUp = () => {
  vi.useFakeTimers()
  const startup: { phase: 'starting' | 'running' | 'stopping'; topicsChecked: boolean } = {
    phase: 'running',
    topicsChecked: true,
  }
  const runs: Record<string, number> = {}
  const failing = new Set<string>()
  const failures: string[] = []
  const reports: unknown[] = []
  const task = (name: string) => async () => {
    runs[name] = (runs[name] ?? 0) + 1
    if (failing.has(name)) throw new Error(name)
  }
  const outage = { blocked: false, reason: 'outage', message: 'no answer' } as const
  const stop = startTasks(
    {
      startup,
      projection: {
        positions: { commit: task('commit') },
        checkPositions: task('checkPositions'),
        executeErasures: task('executeErasures'),
      },
      store: {
        announce: (instance) => task(`announce ${instance}`)(),
        saveReport: (instance) => task(`report of ${instance}`)(),
      },
      metrics: createProjectorMetrics(createRegistry('test'), { groupId: 'g', topic: 't' }),
      watchdog: task('watchdog'),
      topicWatch: { check: task('topicWatch') },
      redisCheck: { watch: task('redisCheck') },
      senderWatch: { save: task('save'), countSilent: task('countSilent') },
      kafkaOutage: async () => {
        await task('kafkaOutage')()
        return outage
      },
      measure: task('measure'),
      obstacles: { report: (...report) => reports.push(report) },
      logger: {
        debug: ({ err }: { err: Error }, message: string) => failures.push(`${message}: ${err.message}`),
      } as never,
    },
    { instance: 'me', positionCheckMs: 4000, topicCheckMs: 20_000, sessionTimeoutMs: 15_000 },
  )
  onTestFinished(() => {
    stop()
    vi.useRealTimers()
  })
  return { startup, runs, failing, failures, reports, outage, stop }
}

it('each background task runs at its own interval', async () => {
  const { runs } = setUp()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toEqual({
    commit: 60,
    'announce me': 12,
    'report of me': 12,
    checkPositions: 15,
    executeErasures: 15,
    watchdog: 4,
    topicWatch: 3,
    redisCheck: 6,
    save: 6,
    kafkaOutage: 30,
    measure: 12,
  })
})

it('an outage of Kafka is reported even without a request to /readyz', async () => {
  const { reports, outage } = setUp()
  await vi.advanceTimersByTimeAsync(2000)
  expect(reports).toEqual([['kafka', outage]])
})

it.each(['starting', 'stopping'] as const)(
  'the measurement of the lag is the only background task while the process is %s',
  async (phase) => {
    const { startup, runs } = setUp()
    startup.phase = phase
    await vi.advanceTimersByTimeAsync(60_000)
    expect(runs).toEqual({ measure: 12 })
  },
)

it('the lag is not measured before the first topic check has ended', async () => {
  const { startup, runs } = setUp()
  Object.assign(startup, { phase: 'starting', topicsChecked: false })
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toEqual({})
  startup.topicsChecked = true
  await vi.advanceTimersByTimeAsync(5000)
  expect(runs).toEqual({ measure: 1 })
})

it('a background task that fails is logged and runs again', async () => {
  const { failing, failures, runs } = setUp()
  failing.add('commit').add('measure')
  await vi.advanceTimersByTimeAsync(5000)
  expect(runs).toMatchObject({ commit: 5, measure: 1 })
  expect(new Set(failures)).toEqual(new Set(['a periodic check failed: commit', 'the lag cannot be measured: measure']))
})

it('no background task runs after a shutdown', async () => {
  const { runs, stop } = setUp()
  stop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(runs).toEqual({})
})
