/**
 * A readers-writer lock for each partition: its chunks may run at the same time, and an erasure
 * runs alone. If an erasure ran beside a chunk, each would replace the token of the other. The
 * result would still be right, but only after retries.
 */
export interface PartitionLocks {
  /** Runs a chunk after the erasures of the partition that are running or waiting. */
  withChunk<T>(partition: number, work: (hasWaited: boolean) => Promise<T>): Promise<T>
  /** Runs an erasure after the running chunks and the earlier erasures of the partition. */
  withErasure: WithErasure
}

export type WithErasure = <T>(partition: number, work: () => Promise<T>) => Promise<T>

export const createPartitionLocks = (): PartitionLocks => {
  const chunks = new Map<number, Set<Promise<unknown>>>()
  const erasures = new Map<number, Promise<unknown>>()
  return {
    withChunk: async (partition, work) => {
      const erasure = erasures.get(partition)
      if (erasure) await erasure
      const running = chunks.get(partition) ?? new Set()
      chunks.set(partition, running)
      const run = work(erasure !== undefined)
      running.add(run)
      try {
        return await run
      } finally {
        running.delete(run)
      }
    },
    withErasure: (partition, work) => {
      const before = [erasures.get(partition), ...(chunks.get(partition) ?? [])]
      const run = Promise.allSettled(before).then(work)
      const settled = run.then(
        () => undefined,
        () => undefined,
      )
      erasures.set(partition, settled)
      void settled.then(() => erasures.get(partition) === settled && erasures.delete(partition))
      return run
    },
  }
}
