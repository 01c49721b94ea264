/** Calculates the progress of the projections in Redis. Pure functions. */
import type { PartitionEnds } from '@customer-stream/runtime/kafka'
import type { StoredProgress } from '@customer-stream/verify'

/**
 * Progress of one partition of the raw topic, up to the end that the partition had when the command
 * began.
 */
export interface PartitionRebuild {
  readonly partition: number
  /** Next offset to apply. Null if Redis has no position. */
  readonly position: string | null
  readonly end: string
  /** Raw records that are not applied yet, and documents that a fill has not read yet. */
  readonly left: number
  readonly done: number
  readonly isFilling: boolean
  readonly isComplete: boolean
}

export interface ProjectionState {
  readonly projection: number
  readonly partitions: readonly PartitionRebuild[]
  readonly left: number
  readonly done: number
  readonly isFilling: boolean
  /** True if the hash of each record before the ends has been written again. */
  readonly isComplete: boolean
}

const count = (from: bigint, to: bigint): number => Math.max(0, Number(to - from))

const partitionProgress = (
  { partition, low, high }: PartitionEnds,
  stored: StoredProgress | undefined,
): PartitionRebuild => {
  const { position, fill, windowEnd } = stored ?? {}
  const [start, end] = [BigInt(low), BigInt(high)]
  const next = position === undefined || position < start ? start : position
  // If the position is inside a lookahead's window, count up to the end of the window. Customers
  // whose newest event is later in the window are not applied yet.
  const applyTo = windowEnd !== undefined && windowEnd > end ? windowEnd : end
  const left = count(next, applyTo) + (fill ? count(fill.next, fill.end) : 0)
  return {
    partition,
    position: position === undefined ? null : String(position),
    end: high,
    left,
    done: count(start, next) + (fill ? Number(fill.next) : 0),
    isFilling: fill !== undefined,
    isComplete: left === 0 && fill === undefined && (position !== undefined || low === high),
  }
}

/** @param progress undefined if Redis has no positions of the projection. */
export const stateOfProjection = (
  projection: number,
  ends: readonly PartitionEnds[],
  progress: readonly StoredProgress[] | undefined,
): ProjectionState => {
  // Kafka returns the ends in any order.
  const inOrder = ends.toSorted((a, b) => a.partition - b.partition)
  const partitions = inOrder.map((end) =>
    partitionProgress(
      end,
      progress?.find(({ partition }) => partition === end.partition),
    ),
  )
  const sum = (value: (partition: PartitionRebuild) => number) => partitions.reduce((all, one) => all + value(one), 0)
  return {
    projection,
    partitions,
    left: sum(({ left }) => left),
    done: sum(({ done }) => done),
    isFilling: partitions.some(({ isFilling }) => isFilling),
    isComplete: progress !== undefined && partitions.every(({ isComplete }) => isComplete),
  }
}

/**
 * Returns the projections whose positions may be deleted. The positions of the projection before
 * the current projection stay, because they show which records are already in quarantine.
 */
export const deletable = (found: readonly number[], current: ProjectionState): number[] =>
  current.isComplete ? found.filter((projection) => projection <= current.projection - 2) : []
