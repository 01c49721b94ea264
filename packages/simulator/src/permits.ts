export interface Permits {
  take(): Promise<void> | undefined
  give(): void
}

/** A counting semaphore; permits go out in the order of the requests. */
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
