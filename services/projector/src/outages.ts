import { type Backoff, type Logger, retryWithBackoff } from '@customer-stream/runtime'
import { isConnectionLoss } from '@customer-stream/runtime/redis'
import type { ProjectorMetrics } from './metrics.ts'

/**
 * Retries `attempt` until `attempt` succeeds. `what` names the resource that `attempt` needs.
 * Returns undefined if the signal aborts.
 */
export type RetryThroughOutage = <T>(
  what: string,
  signal: AbortSignal,
  attempt: () => Promise<T>,
) => Promise<{ readonly value: T } | undefined>

export interface Outages {
  readonly retryThroughOutage: RetryThroughOutage
  /** The resource that does not answer, and the error. Undefined if there is no outage. */
  readonly waitingFor: string | undefined
  /** Milliseconds since the last outage ended. 0 during an outage. */
  undisturbedMs(): number
}

export const createOutages = ({
  causeOf,
  metrics,
  logger,
  backoff,
}: {
  /** Replaces an error without a reason by the error that has the reason. */
  causeOf: (error: Error) => Error
  metrics: ProjectorMetrics
  logger: Logger
  backoff: Backoff
}): Outages => {
  // Partitions are handled in parallel, so the success of one does not end the outage of another.
  const waiting = new Map<symbol, string>()
  let undisturbedSince = performance.now()
  return {
    retryThroughOutage: async (what, signal, attempt) => {
      const wait = Symbol(what)
      const done = await retryWithBackoff(attempt, {
        signal,
        backoff,
        onFailure: (failure, failures) => {
          const error = causeOf(failure)
          // A lost connection says less than the failure before it, so keep the earlier message.
          if (!waiting.has(wait) || !isConnectionLoss(error)) waiting.set(wait, `${what}: ${error.message}`)
          metrics.failures.inc({ operation: what })
          if (failures === 1 || failures % 20 === 0)
            logger.warn({ event: 'retrying', err: error, failures }, `waiting for ${what}`)
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
