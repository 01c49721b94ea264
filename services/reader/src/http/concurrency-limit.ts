/**
 * Limits how many requests are answered at the same time. Each answer of a list may need 8 MiB, and
 * several times as much while the answer is created. A request counts until its client has the
 * answer.
 */
import { ProblemError } from './problem.ts'

/** Maximum requests of one group that wait. */
const MAX_WAITING = 1000
const MAX_WAIT_MS = 5000

export interface ConcurrencyLimit {
  /**
   * Resolves when the request may start.
   * @param group at most `atOnce` requests of the same group run at the same time.
   * @param gone aborts when the request ends. The next request of the group may then start.
   * @throws ProblemError if too many requests wait, if the request has waited for 5 s, or if the
   *   service stops while it waits.
   */
  acquire(group: string, atOnce: number, gone: AbortSignal): Promise<void>
}

interface Group {
  running: number
  /** Waiting requests, the oldest first. */
  readonly waiting: Set<() => void>
}

/** @param stopping aborts when the process stops. Requests that have started continue. */
export const createConcurrencyLimit = (stopping: AbortSignal, maxWaitMs = MAX_WAIT_MS): ConcurrencyLimit => {
  const groups = new Map<string, Group>()

  const start = (group: Group, gone: AbortSignal): void => {
    group.running += 1
    const end = () => {
      group.running -= 1
      const [next] = group.waiting
      next?.()
    }
    if (gone.aborted) end()
    else gone.addEventListener('abort', end, { once: true })
  }

  const wait = (group: Group, gone: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const ended = AbortSignal.any([gone, stopping])
      const leave = () => {
        clearTimeout(timer)
        ended.removeEventListener('abort', refuse)
        group.waiting.delete(begin)
      }
      const begin = () => {
        leave()
        start(group, gone)
        resolve()
      }
      const refuse = () => {
        leave()
        reject(stopping.aborted ? new ProblemError('unavailable', 'The service stops.') : tooMany())
      }
      const timer = setTimeout(refuse, maxWaitMs)
      ended.addEventListener('abort', refuse, { once: true })
      group.waiting.add(begin)
      if (ended.aborted) refuse()
    })

  const tooMany = () => new ProblemError('too-many-requests', 'The API key has too many lists at the same time.')

  return {
    acquire: async (name, atOnce, gone) => {
      const group = groups.get(name) ?? { running: 0, waiting: new Set() }
      groups.set(name, group)
      if (group.running < atOnce) return start(group, gone)
      if (group.waiting.size >= MAX_WAITING) throw tooMany()
      await wait(group, gone)
    },
  }
}
