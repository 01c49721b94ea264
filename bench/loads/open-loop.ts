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
 *   all requests have ended.
 */
export const openLoop = async (pace: Pace, start: (i: number, dueAt: number) => Promise<void>): Promise<number> => {
  const pacer = new Worker(new URL('./pacer.ts', import.meta.url), { workerData: pace })
  const lateMs: number[] = []
  const requests: Promise<void>[] = []
  pacer.on('message', (dueAt: number) => {
    requests.push(start(lateMs.length, dueAt))
    lateMs.push(clockMs() - dueAt)
  })
  await once(pacer, 'exit')
  await Promise.all(requests)
  return percentile(lateMs, 0.99)
}
