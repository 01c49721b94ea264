import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { percentile } from '../report/measure.ts'

export interface Pace {
  readonly perSecond: number
  readonly seconds: number
}

/** The monotonic clock of the machine in milliseconds, which all threads share. */
export const clockMs = (): number => Number(process.hrtime.bigint()) / 1e6

/**
 * Starts requests by the clock, whether or not earlier ones have ended. A latency must count from
 * `dueAt`. Otherwise a stall of the server would delay the next start and hide itself.
 * @param start starts request `i`. `dueAt` is its intended start on {@link clockMs}.
 * @returns how late the load generator itself started its requests (99th percentile, in ms), when
 *   all requests have ended. Rejects as soon as one fails.
 */
export const openLoop = async (pace: Pace, start: (i: number, dueAt: number) => Promise<void>): Promise<number> => {
  const pacer = new Worker(new URL('./pacer.ts', import.meta.url), { workerData: pace })
  const { promise: failure, reject } = Promise.withResolvers<never>()
  const lateMs: number[] = []
  const requests: Promise<void>[] = []
  pacer.on('message', (dueAt: number) => {
    const request = start(lateMs.length, dueAt)
    request.catch(reject)
    requests.push(request)
    lateMs.push(clockMs() - dueAt)
  })
  try {
    await Promise.race([once(pacer, 'exit'), failure])
    await Promise.all(requests)
  } finally {
    await pacer.terminate()
  }
  return percentile(lateMs, 0.99)
}
