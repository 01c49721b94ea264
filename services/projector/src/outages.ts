/**
 * Outages of Kafka and Redis after the start of a projector. The obstacles of the start and of the
 * checks are in `packages/runtime/src/process/blocked.ts`.
 */
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

/**
 * Attempts once, for work that the caller attempts again later. After a failure, an outage of
 * `what` is reported. The outage ends when a later attempt with the same `place` succeeds, or when
 * the signal aborts. Returns undefined after a failure.
 * @param tolerated number of failures in a row that do not count as an outage. Default: 0.
 */
export type AttemptOnce = <T>(
  what: string,
  place: string | number,
  signal: AbortSignal,
  attempt: () => Promise<T>,
  tolerated?: number,
) => Promise<{ readonly value: T } | undefined>

export interface Outages {
  readonly retryThroughOutage: RetryThroughOutage
  readonly attemptOnce: AttemptOnce
  /** The resource that does not answer, and the error. Undefined if there is no outage. */
  readonly waitingFor: string | undefined
  /** Milliseconds since the last outage ended. 0 during an outage. */
  undisturbedMs(): number
}

/** Time between two log lines about one outage. */
const LOG_INTERVAL_MS = 60_000

interface OutagesDependencies {
  /** Returns the cause of an error such as "connection is closed", which gives no reason itself. */
  readonly causeOf: (error: Error) => Error
  readonly metrics: ProjectorMetrics
  readonly logger: Logger
  readonly backoff: Backoff
}

/** Reports and logs the waits of a projector. Each wait has a key. */
const createWaits = ({ causeOf, metrics, logger }: Omit<OutagesDependencies, 'backoff'>) => {
  // Partitions are handled in parallel, so the success of one partition does not end the outage of
  // another partition.
  const waiting = new Map<symbol | string, { readonly message: string; readonly loggedAt: number }>()
  let undisturbedSince = performance.now()
  const begin = (wait: symbol | string, what: string, failure: Error, failures: number) => {
    const error = causeOf(failure)
    const known = waiting.get(wait)
    // The message of a lost connection has less information than an earlier message, so keep the
    // earlier message.
    const message = known && isConnectionLoss(error) ? known.message : `${what}: ${error.message}`
    const now = performance.now()
    const isDue = !known || now - known.loggedAt >= LOG_INTERVAL_MS
    waiting.set(wait, { message, loggedAt: isDue ? now : known.loggedAt })
    metrics.failures.inc({ operation: what })
    if (isDue) logger.warn({ event: 'retrying', err: error, failures }, `waiting for ${what}`)
  }
  const end = (wait: symbol | string, what: string, isRecovered: boolean) => {
    if (!waiting.delete(wait)) return
    undisturbedSince = performance.now()
    if (isRecovered) logger.info({ event: 'recovered' }, `${what} works again`)
  }
  return {
    begin,
    end,
    /**
     * Message of the last wait that has begun and not ended. A wait may be a part of an earlier
     * wait: before documents are sent again, their customers are written to Redis again.
     */
    get message() {
      return [...waiting.values()].at(-1)?.message
    },
    undisturbedMs: () => (waiting.size > 0 ? 0 : performance.now() - undisturbedSince),
  }
}

export const createOutages = ({ causeOf, metrics, logger, backoff }: OutagesDependencies): Outages => {
  const waits = createWaits({ causeOf, metrics, logger })
  /** Failures of `attemptOnce` since its last success, by the key of the wait. */
  const failing = new Map<string, { failures: number; readonly forgetSignal: () => void }>()
  const timed = async <T>(what: string, attempt: () => Promise<T>): Promise<T> => {
    const stop = metrics.operationSeconds.startTimer({ operation: what })
    try {
      return await attempt()
    } finally {
      stop()
    }
  }
  return {
    retryThroughOutage: async (what, signal, attempt) => {
      const wait = Symbol(what)
      const onFailure = (failure: Error, failures: number) => waits.begin(wait, what, failure, failures)
      const done = await retryWithBackoff(() => timed(what, attempt), { signal, backoff, onFailure })
      waits.end(wait, what, done !== undefined)
      return done
    },
    attemptOnce: async (what, place, signal, attempt, tolerated = 0) => {
      const wait = `${what} ${place}`
      const settle = (isRecovered: boolean) => {
        failing.get(wait)?.forgetSignal()
        failing.delete(wait)
        waits.end(wait, what, isRecovered)
      }
      try {
        const value = await timed(what, attempt)
        settle(true)
        return { value }
      } catch (error) {
        if (signal.aborted) return undefined
        const onAbort = () => settle(false)
        const known = failing.get(wait) ?? {
          failures: 0,
          forgetSignal: () => signal.removeEventListener('abort', onAbort),
        }
        if (known.failures === 0) signal.addEventListener('abort', onAbort)
        known.failures += 1
        failing.set(wait, known)
        const failures = known.failures - tolerated
        if (failures > 0) waits.begin(wait, what, error as Error, failures)
        return undefined
      }
    },
    get waitingFor() {
      return waits.message
    },
    undisturbedMs: waits.undisturbedMs,
  }
}
