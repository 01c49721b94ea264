import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { percentile } from '../report/measure.ts'

export interface Pace {
  readonly perSecond: number
  readonly seconds: number
}

/**
 * Returns the time of the machine's monotonic clock in milliseconds. All threads share this clock.
 */
export const clockMs = (): number => Number(process.hrtime.bigint()) / 1e6

/**
 * Starts each request at its time, even if earlier requests have not ended. The caller must measure
 * each latency from `dueAt`. Otherwise the latency would not include a delay of the start.
 * @param start starts request `i`. `dueAt` is its intended start on {@link clockMs}.
 * @returns the delay in milliseconds with which the load generator started requests (99th
 *   percentile). Resolves when all requests have ended. Rejects as soon as a request fails.
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
