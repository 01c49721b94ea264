/**
 * Partitions with a record that a person must look at. Each of these partitions is paused. At the
 * end of the pause, the projector tries the record again.
 */
import type { Obstacles } from '@customer-stream/runtime'
import type { Pauses } from './pauses.ts'

export interface BlockedPartitions {
  has(partition: number): boolean
  readonly size: number
  /** Pauses a partition, and reports the message as an obstacle. */
  block(partition: number, message: string): void
  unblock(partition: number): void
  /** Forgets all other partitions, because they are no longer assigned. */
  keepOnly(partitions: readonly number[]): void
  /**
   * Unblocks each partition whose position has changed. The blocked record is then no longer the
   * next record: Kafka has deleted it, or a person has moved the position past it.
   */
  unblockMoved(): void
}

/**
 * Length of the pause. After the pause, the projector tries again to apply the record whose
 * projection failed because of a bug, or to read the unreadable batch.
 */
const RETRY_BLOCKED_MS = 10_000

export const createBlockedPartitions = (
  {
    pauses,
    obstacles,
    expected,
  }: {
    readonly pauses: Pick<Pauses, 'begin'>
    readonly obstacles: Pick<Obstacles, 'report'>
    /** Returns the expected position. */
    readonly expected: (partition: number) => string | undefined
  },
  topic: string,
): BlockedPartitions => {
  /** By partition: the expected position at the time when the record was found. */
  const blocked = new Map<number, string | undefined>()
  const unblock = (partition: number) => {
    if (blocked.delete(partition)) obstacles.report(`${topic}/${partition}`, undefined)
  }
  return {
    has: (partition) => blocked.has(partition),
    get size() {
      return blocked.size
    },
    block: (partition, message) => {
      blocked.set(partition, expected(partition))
      obstacles.report(`${topic}/${partition}`, { blocked: true, reason: 'record', message })
      const pause = pauses.begin(partition)
      const timer = setTimeout(pause.end, RETRY_BLOCKED_MS)
      pause.signal.addEventListener('abort', () => clearTimeout(timer))
    },
    unblock,
    keepOnly: (partitions) => {
      for (const partition of blocked.keys()) if (!partitions.includes(partition)) unblock(partition)
    },
    unblockMoved: () => {
      for (const [partition, position] of blocked) if (expected(partition) !== position) unblock(partition)
    },
  }
}
