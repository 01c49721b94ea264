/**
 * How far the projection has been filled, partition by partition. Redis says so. This process keeps a copy of what it expects
 * there; if the copy proves wrong, it reads Redis again and seeks to what Redis says. So an emptied, restored or failed-over
 * Redis heals itself.
 *
 * Positions count in one topic of one Kafka cluster. They are tied to it before anything is applied.
 */
import { once } from 'node:events'
import type { Logger } from '@customer-stream/runtime'
import type { PartitionConsumer, Watermarks } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import type { Insist } from './outages.ts'
import { OtherClusterError, type Store } from './store.ts'

export interface PositionsDependencies {
  readonly store: Pick<Store, 'positions' | 'movePosition'>
  readonly consumer: Pick<PartitionConsumer, 'seek' | 'commit' | 'watermarks'>
  /**
   * Ties the positions to the topic that the consumer reads. Rejects in an outage, and with OtherClusterError.
   * @returns the number of positions that counted in another topic and were deleted.
   */
  readonly claim: () => Promise<number>
  readonly insist: Insist
  readonly metrics: ProjectorMetrics
  readonly logger: Logger
}

export interface Positions {
  /** A new assignment: expectations are void, and Redis is read again. */
  assign(partitions: readonly number[]): void
  readonly assigned: readonly number[]
  /** Offset expected in Redis, and of the next record to apply. Undefined until Redis was read. */
  expected(partition: number): string | undefined
  /** The oldest offset of the partition that Kafka had when the position was read. */
  oldest(partition: number): string | undefined
  /** Called after the position has been moved in Redis. */
  moved(partition: number, to: string, highWatermark: string): void
  /** Reads Redis, expects what it says, and seeks there. Retries until Redis answers; ignores a partition that is not assigned. */
  reload(partition: number, signal: AbortSignal): Promise<void>
  /** Resolves when the assignment's own reading has ended, or the signal aborts. */
  untilLoaded(signal: AbortSignal): Promise<void>
  /**
   * Compares expectations with Redis, and the topic with the one that the positions belong to. Reads again what differs.
   * Rejects in an outage.
   */
  check(isBusy: (partition: number) => boolean): Promise<void>
  /** Commits the positions to Kafka, for lag monitoring only. */
  commit(): Promise<void>
  /** Loads partitions that had no leader and now have one, and those whose next records Kafka has deleted. */
  loadNewlyLed(watermarks: ReadonlyMap<number, Watermarks>): Promise<void>
  stop(): void
}

const isOffset = (stored: string | undefined): stored is string => stored !== undefined && /^\d+$/.test(stored)

export const createPositions = (
  { store, consumer, claim: claimPositions, insist, metrics, logger }: PositionsDependencies,
  topic: string,
): Positions => {
  let assignment = new AbortController()
  let assigned: readonly number[] = []
  let loading: Promise<void> = Promise.resolve()
  const positions = new Map<number, string>()
  /** Partitions whose leader did not answer when they were to be loaded. */
  const leaderless = new Set<number>()
  const committed = new Map<number, string>()
  const oldest = new Map<number, string>()

  const claim = async () => {
    const deleted = await claimPositions()
    if (deleted > 0)
      logger.error(
        { topic, deleted },
        'the positions in Redis belonged to another topic of this name, or to another cluster; they were deleted and the topic is applied from its start',
      )
    return deleted
  }

  /** Replaces a position that Kafka cannot serve by the oldest offset that it can serve. */
  const repair = async (partition: number, stored: string | undefined, { low, high }: Watermarks) => {
    const tooLow = isOffset(stored) && BigInt(stored) < BigInt(low)
    const tooHigh = isOffset(stored) && BigInt(stored) > BigInt(high)
    if (isOffset(stored) && !tooLow && !tooHigh) return
    // A partition without a position gets one before anything is applied. Otherwise a Redis emptied in between could not be
    // told from one that has just begun.
    if (!(await store.movePosition(partition, stored, low)) || stored === undefined) return
    const seen = { topic, partition, stored, low, high }
    if (tooLow) {
      metrics.lostRecords.inc(Number(BigInt(low) - BigInt(stored)))
      logger.error(
        { event: 'records-lost', ...seen },
        'Kafka deleted records before they were applied; going on at the oldest record that is left',
      )
    } else {
      metrics.rewinds.inc()
      logger.error(
        { event: 'rewound', ...seen },
        'the position in Redis is none of this partition; the partition is applied from its oldest record',
      )
    }
  }

  const read = async (partitions: readonly number[]) => {
    metrics.rewinds.inc(await claim())
    // Watermarks after positions: one moved meanwhile by the partition's last owner must not seem to lie beyond the end.
    const found = await store.positions(partitions)
    const watermarks = await consumer.watermarks()
    for (const [partition, stored] of found) {
      const marks = watermarks.get(partition)
      if (marks) await repair(partition, stored, marks)
    }
    return { stored: await store.positions(partitions), watermarks }
  }

  const load = async (partitions: readonly number[], signal: AbortSignal): Promise<void> => {
    const done = await insist('positions', signal, () => read(partitions))
    if (!done || signal.aborted) return
    for (const partition of partitions) {
      const watermarks = done.value.watermarks.get(partition)
      const stored = done.value.stored.get(partition)
      // No leader: nothing can be fetched yet. The partition is loaded with its first batch or after the next lag measurement.
      // The latter is needed because kafkajs starts at the group's committed offset, where no batch may ever arrive.
      if (!watermarks || stored === undefined) {
        leaderless.add(partition)
        continue
      }
      leaderless.delete(partition)
      positions.set(partition, stored)
      oldest.set(partition, watermarks.low)
      consumer.seek(partition, stored)
      metrics.observeLag(partition, Number(BigInt(watermarks.high) - BigInt(stored)))
    }
  }

  return {
    assign: (partitions) => {
      assignment.abort()
      assignment = new AbortController()
      assigned = partitions
      positions.clear()
      leaderless.clear()
      committed.clear()
      metrics.assignedPartitions.set(partitions.length)
      loading = partitions.length === 0 ? Promise.resolve() : load(partitions, assignment.signal)
    },
    get assigned() {
      return assigned
    },
    expected: (partition) => positions.get(partition),
    oldest: (partition) => oldest.get(partition),
    moved: (partition, to, highWatermark) => {
      positions.set(partition, to)
      metrics.observeLag(partition, Math.max(0, Number(BigInt(highWatermark) - BigInt(to))))
    },
    // The expectation stays until the new one is there: an aborted reading must leave something that proves wrong again.
    reload: async (partition, signal) => {
      // While kafkajs joins again it still hands over batches that a fetch under way has brought, of any partition.
      if (!assigned.includes(partition)) return
      await load([partition], AbortSignal.any([signal, assignment.signal]))
    },
    untilLoaded: async (signal) => {
      await Promise.race([loading, once(signal, 'abort')])
    },
    check: async (isBusy) => {
      const { signal } = assignment
      try {
        await claim()
      } catch (error) {
        // Redis was restored from a dump of another installation. Without expectations nothing is applied; the loading waits.
        if (error instanceof OtherClusterError && positions.size > 0) {
          positions.clear()
          loading = load(assigned, signal)
        }
        throw error
      }
      const idle = [...positions].filter(([partition]) => !isBusy(partition))
      const stored = await store.positions(idle.map(([partition]) => partition))
      const wrong = idle.flatMap(([partition, position]) => {
        const meanwhileUsed = isBusy(partition) || positions.get(partition) !== position
        return meanwhileUsed || stored.get(partition) === position ? [] : [partition]
      })
      if (wrong.length === 0 || signal.aborted) return
      logger.warn({ event: 'rewound', partitions: wrong }, 'Redis was emptied, restored or filled by another; going back to what it says')
      metrics.rewinds.inc(wrong.length)
      await load(wrong, signal)
    },
    commit: async () => {
      const progress = new Map<number, string>()
      for (const [partition, position] of positions) if (committed.get(partition) !== position) progress.set(partition, position)
      if (progress.size === 0) return
      if (await consumer.commit(progress)) for (const [partition, offset] of progress) committed.set(partition, offset)
    },
    loadNewlyLed: async (watermarks) => {
      const led = [...leaderless].filter((partition) => watermarks.has(partition))
      // On a quiet partition no batch would ever show that its next records are gone.
      const overtaken = [...positions].flatMap(([partition, position]) => {
        const low = watermarks.get(partition)?.low
        return low !== undefined && BigInt(position) < BigInt(low) ? [partition] : []
      })
      if (led.length + overtaken.length > 0) await load([...led, ...overtaken], assignment.signal)
    },
    stop: () => assignment.abort(),
  }
}
