import { setTimeout as sleep } from 'node:timers/promises'

/** Limits of the pause between two calls of `ask`. */
const PAUSE_MS = { first: 20, longest: 100 }

/**
 * Calls `ask` again and again until `satisfied` accepts the answer. At the deadline, rejects with
 * an error that contains the last answer.
 * @param what the expected fact, for the error message, e.g. "the customer is in Redis".
 * @param pauseMs pause between two calls. Default: a tenth of the time waited so far, because each
 *   call costs CPU time of the server that answers.
 */
export const waitUntil = async <T>(
  what: string,
  ask: () => Promise<T> | T,
  satisfied: (answer: T) => boolean,
  { timeoutMs = 30_000, pauseMs }: { timeoutMs?: number; pauseMs?: number } = {},
): Promise<T> => {
  const startedAt = performance.now()
  for (;;) {
    const answer = await ask()
    if (satisfied(answer)) return answer
    const waitedMs = performance.now() - startedAt
    if (waitedMs > timeoutMs)
      throw new Error(`not true after ${timeoutMs} ms: ${what}; last seen: ${JSON.stringify(answer)}`)
    await sleep(pauseMs ?? Math.min(Math.max(waitedMs / 10, PAUSE_MS.first), PAUSE_MS.longest))
  }
}
