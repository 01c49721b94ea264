import { setTimeout as sleep } from 'node:timers/promises'
import { barText, number } from '@customer-stream/cli/layout'
import type { Screen } from '@customer-stream/cli/screen'
import { unlessAborted } from '@customer-stream/runtime'
import { createSimulation, type SimulationProgress } from '@customer-stream/simulator'
import type { Pipeline } from '@customer-stream/testing'
import { lagOf } from './measure.ts'
import { createMeter } from './meter.ts'

const RETRY_BASE_MS = 500
const MEASURE_MS = 200

/**
 * Running sender. It repeats and reorders events, and closes some connections before the answer.
 */
export interface Load {
  readonly events: number
  readonly progress: Readonly<SimulationProgress>
  /** Returns true if the sender has ended. */
  over(): boolean
  /** Resolves when each event has got 202 or was given up. */
  readonly ended: Promise<unknown>
}

export interface LoadOptions {
  readonly url: string
  readonly events: number
  readonly customers: number
  /** 0 means no limit. */
  readonly ratePerSecond: number
  readonly ledgerPath: string
  readonly signal: AbortSignal
}

export const startLoad = ({ secret, token }: Pipeline, options: LoadOptions): Load => {
  const simulation = createSimulation({
    ...options,
    secret,
    token,
    repeats: 0.05,
    disorder: 0.1,
    drops: 0.02,
    other: 0.05,
    // With this pause before the first retry, six attempts take at least 8 s. So an outage of a few
    // seconds loses no event.
    retryBaseMs: RETRY_BASE_MS,
  })
  let isOver = false
  const ended = simulation.run().finally(() => {
    isOver = true
  })
  ended.catch(() => {}) // Ignore the error here, because the caller that awaits `ended` gets it.
  return { events: options.events, progress: simulation.progress, over: () => isOver, ended }
}

/**
 * Shows the progress of a load until three things are true: the sender has ended, `also` has
 * resolved, and Redis has every record.
 */
export const showLoad = async (
  screen: Screen,
  pipeline: Pipeline,
  load: Load,
  signal: AbortSignal,
  also: Promise<unknown> = Promise.resolve(),
): Promise<void> => {
  const meter = createMeter(load.events)
  const settled = Promise.all([load.ended, also])
  let isSettled = false
  settled.then(
    () => {
      isSettled = true
    },
    () => {
      isSettled = true
    },
  )
  let lag = 0
  let sample = meter.sample(performance.now(), 0)
  const hide = screen.show({
    text: (columns) =>
      barText(
        {
          label: 'events',
          done: load.progress.promised,
          total: load.events,
          ...sample,
          tail: `${Number.isFinite(lag) ? number(lag) : '?'} not in Redis yet`,
        },
        columns,
      ),
    share: () => load.progress.promised / load.events,
  })
  try {
    for (;;) {
      await unlessAborted(sleep(MEASURE_MS), signal)
      sample = meter.sample(performance.now(), load.progress.promised)
      const wasSettled = isSettled
      lag = await unlessAborted(lagOf(pipeline), signal)
      if (wasSettled) await settled // Throws the error of a fault that could not be injected.
      if (wasSettled && lag === 0) return
    }
  } finally {
    hide()
  }
}
