import { type BackOff, type Logger, untilDone } from '@customer-stream/runtime'
import type { ProjectorMetrics } from './metrics.ts'

/** Retries `attempt` until it succeeds. `what` names the resource that it needs. Undefined if the signal aborts. */
export type Insist = <T>(what: string, signal: AbortSignal, attempt: () => Promise<T>) => Promise<{ readonly value: T } | undefined>

export interface Outages {
  readonly insist: Insist
  /** What is being waited for, undefined when all goes well. */
  readonly waitingFor: string | undefined
  /** For how long nothing has been waited for; 0 while something is. */
  undisturbedMs(): number
}

/** The one answer to every outage: skip nothing, log it, and retry with backoff until the work succeeds. */
export const createOutages = ({ metrics, logger, backOff }: { metrics: ProjectorMetrics; logger: Logger; backOff: BackOff }): Outages => {
  // Partitions are handled side by side: one that gets through says nothing of the others.
  const waiting = new Map<symbol, string>()
  let undisturbedSince = performance.now()
  return {
    insist: async (what, signal, attempt) => {
      const wait = Symbol(what)
      const done = await untilDone(attempt, {
        signal,
        backOff,
        onFailure: (error, failures) => {
          waiting.set(wait, `${what}: ${error.message}`)
          metrics.failures.inc({ operation: what })
          if (failures === 1 || failures % 20 === 0) logger.warn({ event: 'retrying', err: error, failures }, `waiting for ${what}`)
        },
      })
      if (waiting.delete(wait)) {
        undisturbedSince = performance.now()
        if (done) logger.info({ event: 'recovered' }, `${what} works again`)
      }
      return done
    },
    get waitingFor() {
      return waiting.values().next().value
    },
    undisturbedMs: () => (waiting.size > 0 ? 0 : performance.now() - undisturbedSince),
  }
}
