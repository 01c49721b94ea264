import { setTimeout as sleep } from 'node:timers/promises'

export interface Backoff {
  readonly initialMs: number
  readonly maxMs: number
}

/**
 * Repeats an attempt until the attempt succeeds or the signal aborts. The pauses double up to
 * `maxMs`, with jitter.
 * @param backoff the pauses, or a function that returns the pauses after each failed attempt.
 * @param onFailure called after each failed attempt, with its error and the number of failed
 *   attempts. If `onFailure` throws, the attempts end with that error.
 * @returns the result, or undefined if the signal aborted.
 */
export const retryWithBackoff = async <T>(
  attempt: () => Promise<T>,
  {
    signal,
    backoff,
    onFailure,
  }: { signal: AbortSignal; backoff: Backoff | (() => Backoff); onFailure: (error: Error, failures: number) => void },
): Promise<{ readonly value: T } | undefined> => {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      return { value: await attempt() }
    } catch (error) {
      onFailure(error as Error, failures)
    }
    const { initialMs, maxMs } = typeof backoff === 'function' ? backoff() : backoff
    const pauseMs = Math.min(initialMs * 2 ** Math.min(failures - 1, 20), maxMs) * (0.5 + Math.random() / 2)
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined)
  }
  return undefined
}
