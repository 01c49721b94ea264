/** Compares the positions in Redis with the ends of the raw topic. Pure functions. */
import type { Measurement } from './measurement.ts'

export interface PartitionLag {
  readonly partition: number
  readonly position: bigint | undefined
  /** Undefined if the partition has no leader. */
  readonly end: bigint | undefined
  /**
   * Records that are not handled yet. Undefined if the end, or the progress in Redis, is not known.
   */
  readonly records: number | undefined
}

/** Returns the lag of each partition, empty if the topic is not known. */
export const lagOf = ({ raw, progress }: Measurement): readonly PartitionLag[] =>
  Array.from({ length: raw?.partitions ?? 0 }, (_, partition) => {
    const marks = raw?.watermarks.get(partition)
    const position = typeof progress === 'object' ? progress.positions.get(partition) : undefined
    const end = marks && BigInt(marks.high)
    // A partition without a position is applied from its oldest record.
    const from = position ?? (progress === undefined || marks === undefined ? undefined : BigInt(marks.low))
    const records = end === undefined || from === undefined ? undefined : Math.max(0, Number(end - from))
    return { partition, position, end, records }
  })

/** Returns the lag of all partitions. Undefined if the lag of one partition is not known. */
export const totalLag = (measurement: Measurement): number | undefined => {
  const lags = lagOf(measurement).map(({ records }) => records)
  if (lags.length === 0 || lags.includes(undefined)) return undefined
  return lags.reduce<number>((sum, records) => sum + (records ?? 0), 0)
}

/**
 * Returns the partitions that had records in all measurements, and whose position did not move.
 * @param measurements the oldest first.
 */
export const standingStill = (measurements: readonly Measurement[]): readonly number[] => {
  const [first, ...later] = measurements
  if (first === undefined || later.length === 0) return []
  const byPartition = later.map((each) => new Map(lagOf(each).map((lag) => [lag.partition, lag])))
  return lagOf(first).flatMap(({ partition, position, records }) => {
    const stands = byPartition.every((lags) => {
      const lag = lags.get(partition)
      return lag !== undefined && lag.position === position && (lag.records ?? 0) > 0
    })
    const isFilling = typeof first.progress === 'object' && first.progress.fill !== undefined
    return stands && (records ?? 0) > 0 && !isFilling ? [partition] : []
  })
}
