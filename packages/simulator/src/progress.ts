import type { AttemptResult } from './sender.ts'

export interface SimulationProgress {
  /**
   * Number of distinct events. At the end of a run each event has one of three results: promised
   * (answered with 2xx), lost or stopped.
   */
  made: number
  attempts: number
  /** Distinct events answered with 2xx at least once. */
  promised: number
  /**
   * Number of 2xx answers, answers to repeats included. Equals the number of lines in the ledger.
   */
  promises: number
  /** Answers that were not 2xx. */
  refused: number
  dropped: number
  timedOut: number
  failedConnections: number
  /** Number of connections that ended before the request was sent, by error code. */
  connectionErrors: Record<string, number>
  /** Complete requests whose connection the server closed without an answer. */
  cutOff: number
  /** Events whose six attempts all failed. */
  lost: number
  /** Events whose retries were ended by the signal. */
  stopped: number
  /** Repeated deliveries of events that had already got a 2xx. */
  repeats: number
  statuses: Record<number, number>
}

export const emptyProgress = (): SimulationProgress => ({
  made: 0,
  attempts: 0,
  promised: 0,
  promises: 0,
  refused: 0,
  dropped: 0,
  timedOut: 0,
  failedConnections: 0,
  connectionErrors: {},
  cutOff: 0,
  lost: 0,
  stopped: 0,
  repeats: 0,
  statuses: {},
})

/** Counts an attempt. */
export const countAttempt = (
  progress: SimulationProgress,
  result: AttemptResult,
  onFirstFailedConnection?: (reason: string) => void,
): void => {
  progress.attempts++
  if (result.outcome === 'answered') {
    progress.statuses[result.status] = (progress.statuses[result.status] ?? 0) + 1
    if (result.status < 200 || result.status > 299) progress.refused++
  } else if (result.outcome === 'connectionFailed') {
    if (progress.failedConnections++ === 0) onFirstFailedConnection?.(result.reason)
    progress.connectionErrors[result.reason] = (progress.connectionErrors[result.reason] ?? 0) + 1
  } else progress[result.outcome]++
}
