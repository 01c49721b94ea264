/** End offset of each partition. */
export type Ends = ReadonlyMap<number, bigint>

/**
 * Creates the progress: the next offset of each partition, and the callers that wait for an offset.
 */
export const createProgress = () => {
  const positions = new Map<number, bigint>()
  const waiting = new Set<{ readonly ends: Ends; readonly resolve: () => void; readonly reject: (e: Error) => void }>()
  let ended: Error | undefined
  const isReached = (ends: Ends) => [...ends].every(([partition, end]) => (positions.get(partition) ?? 0n) >= end)
  return {
    positions,
    move: (partition: number, next: bigint): void => {
      positions.set(partition, next)
      for (const waiter of waiting) {
        if (!isReached(waiter.ends)) continue
        waiting.delete(waiter)
        waiter.resolve()
      }
    },
    reached: (ends: Ends): Promise<void> =>
      new Promise((resolve, reject) => {
        if (ended) reject(ended)
        else if (isReached(ends)) resolve()
        else waiting.add({ ends, resolve, reject })
      }),
    end: (error: Error): void => {
      ended = error
      for (const { reject } of waiting) reject(error)
    },
  }
}

export type TableProgress = ReturnType<typeof createProgress>
