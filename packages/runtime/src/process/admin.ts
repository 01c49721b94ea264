/** Condition that the process needs. `detail` has the problem, or the progress. */
export interface ReadinessCheck {
  readonly name: string
  readonly ready: boolean
  readonly detail?: string
}

const MAX_DETAIL_CHARACTERS = 800

/**
 * Asks a server that the process needs. Rejects with the server's error, or with code ETIMEDOUT if
 * the server does not answer in time.
 */
export const answerOf = async (ask: () => Promise<unknown>, timeoutMs: number): Promise<void> => {
  const { promise: expired, reject } = Promise.withResolvers<never>()
  const error = () => Object.assign(new Error(`no answer within ${timeoutMs} ms`), { code: 'ETIMEDOUT' })
  const timer = setTimeout(() => reject(error()), timeoutMs)
  try {
    await Promise.race([ask(), expired])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Creates a readiness check. Shortens `problem` to 800 characters.
 * @param problem the reason why the check fails. Undefined if the check passes.
 */
export const readinessCheck = (name: string, problem: string | undefined): ReadinessCheck =>
  problem === undefined
    ? { name, ready: true }
    : { name, ready: false, detail: problem.slice(0, MAX_DETAIL_CHARACTERS) }
