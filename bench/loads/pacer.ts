/**
 * Thread of {@link openLoop}. Posts a message at the intended start of each request. The thread
 * sleeps on a lock, which is exact to microseconds. Node's timers are exact only to a millisecond.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { Pace } from './open-loop.ts'

const LEAD_MS = 20
const { perSecond, seconds } = workerData as Pace
const sleeper = new Int32Array(new SharedArrayBuffer(4))
/** Returns milliseconds of the machine's monotonic clock, which all threads share. */
const now = () => Number(process.hrtime.bigint()) / 1e6
const startedAt = now() + LEAD_MS
for (let i = 0; i < perSecond * seconds; i++) {
  const dueAt = startedAt + (i * 1000) / perSecond
  const aheadMs = dueAt - now()
  if (aheadMs > 0) Atomics.wait(sleeper, 0, 0, aheadMs)
  parentPort?.postMessage(dueAt)
}
