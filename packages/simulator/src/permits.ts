export interface Permits {
  take(): Promise<void> | undefined
  give(): void
}

/** Creates a counting semaphore. Callers get permits in the order of their requests. */
export function createPermits(count: number): Permits {
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
