/**
 * Repeats a task. If a run lasts longer than the interval, e.g. in an outage, the next runs are
 * skipped. So at most one run is active.
 * @returns a function that ends the repetition. This function does not wait for a running task.
 */
export const periodically = (
  intervalMs: number,
  task: () => Promise<unknown>,
  onFailure: (error: Error) => void,
): (() => void) => {
  let isRunning = false
  const timer = setInterval(async () => {
    if (isRunning) return
    isRunning = true
    await task().catch(onFailure)
    isRunning = false
  }, intervalMs)
  return () => clearInterval(timer)
}
