/**
 * Thread of {@link openLoop}: posts the intended start of each request at that time. Timers of Node
 * are exact to a millisecond only. This thread sleeps on a lock instead, and is late by
 * microseconds.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { Pace } from './open-loop.ts'

const LEAD_MS = 20
const { perSecond, seconds } = workerData as Pace
const sleeper = new Int32Array(new SharedArrayBuffer(4))
/** The monotonic clock of the machine, which all threads share. */
const now = () => Number(process.hrtime.bigint()) / 1e6
const startedAt = now() + LEAD_MS
for (let i = 0; i < perSecond * seconds; i++) {
  const dueAt = startedAt + (i * 1000) / perSecond
  const aheadMs = dueAt - now()
  if (aheadMs > 0) Atomics.wait(sleeper, 0, 0, aheadMs)
  parentPort?.postMessage(dueAt)
}
