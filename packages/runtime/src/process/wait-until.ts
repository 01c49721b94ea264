import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Calls `ask` again and again until `satisfied` accepts the answer. At the deadline, rejects with
 * an error that contains the last answer.
 * @param what the expected fact, for the error message, e.g. "the customer is in Redis".
 */
export const waitUntil = async <T>(
  what: string,
  ask: () => Promise<T> | T,
  satisfied: (answer: T) => boolean,
  { timeoutMs = 30_000, pauseMs = 20 }: { timeoutMs?: number; pauseMs?: number } = {},
): Promise<T> => {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (satisfied(answer)) return answer
    if (performance.now() > deadline)
      throw new Error(`waited ${timeoutMs} ms without success until ${what}; last seen: ${JSON.stringify(answer)}`)
    await sleep(pauseMs)
  }
}
