/** Reports the progress of a fill from the state topic: in metrics, in the log and for /readyz. */
import { createThrottledLog, type Logger } from '@customer-stream/runtime'
import type { Fill } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'

/**
 * One fill of one partition. Its methods do nothing after another fill of the partition has begun.
 */
export interface FillPart {
  advance(fill: Fill): void
  /** Forgets the fill, because another projector fills the partition, or the fill begins again. */
  abandon(): void
}

export interface FillProgress {
  /** Replaces an earlier fill of the partition. */
  begin(partition: number, fill: Fill): FillPart
  /**
   * A sentence about the progress and the remaining time. Undefined if no partition is being
   * filled.
   */
  readonly sentence: string | undefined
}

const leftOf = ({ next, end }: Fill): number => Math.max(0, Number(BigInt(end) - BigInt(next)))

export const createFillProgress = ({
  metrics,
  logger,
}: {
  readonly metrics: Pick<ProjectorMetrics, 'fillRecords' | 'fillRemaining' | 'fillSecondsLeft'>
  readonly logger: Pick<Logger, 'info'>
}): FillProgress => {
  /**
   * Numbers of records, by partition. A filled partition stays in this map until all partitions are
   * filled.
   */
  const parts = new Map<number, { readonly total: number; left: number }>()
  let startedAt = 0
  let doneSinceStart = 0

  const sum = () => {
    const values = [...parts.values()]
    const total = values.reduce((all, part) => all + part.total, 0)
    const left = values.reduce((all, part) => all + part.left, 0)
    const seconds = (performance.now() - startedAt) / 1000
    return { total, left, secondsLeft: doneSinceStart > 0 ? Math.round((left * seconds) / doneSinceStart) : undefined }
  }
  const log = createThrottledLog((fields) =>
    logger.info({ event: 'filling', ...fields }, 'filling Redis from the state topic'),
  )
  const observe = () => {
    const progress = sum()
    if (progress.left === 0) parts.clear()
    metrics.fillRecords.set(progress.total)
    metrics.fillRemaining.set(progress.left)
    metrics.fillSecondsLeft.set(progress.secondsLeft ?? 0)
    return progress
  }

  return {
    begin: (partition, fill) => {
      if (parts.size === 0) {
        startedAt = performance.now()
        doneSinceStart = 0
      }
      const part = { total: Number(fill.end), left: leftOf(fill) }
      parts.set(partition, part)
      observe()
      return {
        advance: (reached) => {
          if (parts.get(partition) !== part) return
          const left = leftOf(reached)
          doneSinceStart += part.left - left
          part.left = left
          // Log nothing when a partition begins, because the other partitions are not counted yet.
          const progress = observe()
          if (progress.left > 0) log(progress)
        },
        abandon: () => {
          if (parts.get(partition) !== part) return
          parts.delete(partition)
          observe()
        },
      }
    },
    get sentence() {
      if (parts.size === 0) return undefined
      const { total, left, secondsLeft } = sum()
      const done = total - left
      const rest = secondsLeft === undefined ? '' : `, about ${secondsLeft} s left`
      return (
        `Redis is being filled from the state topic: ${done} of ${total} records ` +
        `(${Math.floor((100 * done) / total)} %)${rest}. New events are applied meanwhile.`
      )
    },
  }
}
