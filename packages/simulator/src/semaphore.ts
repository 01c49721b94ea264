export interface Semaphore {
  take(): Promise<void> | undefined
  give(): void
}

/** Creates a counting semaphore. Callers get permits in the order of their requests. */
export function createSemaphore(count: number): Semaphore {
  let free = count
  const waiting: (() => void)[] = []
  return {
    take() {
      if (free === 0) return new Promise((resolve) => waiting.push(resolve))
      free--
      return undefined
    },
    give() {
      const next = waiting.shift()
      if (next) next()
      else free++
    },
  }
}
