/**
 * How far the projection has been filled, partition by partition. Redis says so; what is believed here is a copy, and wherever the copy proves wrong it is
 * read anew and the consumer seeks to what Redis says. So an emptied, restored or failed-over Redis heals itself.
 */
import { once } from 'node:events'
import type { Logger } from '@customer-stream/runtime'
import type { PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import type { Insist } from './outages.ts'
import type { Store } from './store.ts'

/** Where a partition stands: what Redis holds, and where the next fetch must begin. They differ only where Kafka does not have what Redis asks for. */
export interface Position {
  readonly stored: string
  readonly fetchFrom: string
}

export interface PositionsDependencies {
  readonly store: Pick<Store, 'positions' | 'movePosition'>
  readonly consumer: Pick<PartitionConsumer, 'seek' | 'commit' | 'watermarks'>
  readonly insist: Insist
  readonly metrics: ProjectorMetrics
  readonly logger: Logger
}

export interface Positions {
  /** A new assignment: what was believed is void, and is read anew. */
  assign(partitions: readonly number[]): void
  believed(partition: number): Position | undefined
  /** After the position has been moved in Redis. */
  moved(partition: number, to: string, highWatermark: string): void
  /** Reads what Redis holds, believes it, and seeks there. Waits as long as it takes, but does nothing for a partition that is not assigned. */
  reload(partition: number, signal: AbortSignal): Promise<void>
  /** Resolves when the assignment's own reading has ended, or the signal aborts. */
  untilLoaded(signal: AbortSignal): Promise<void>
  /** Compares what is believed with what Redis holds; where they differ, goes back to what Redis says. Rejects in an outage. */
  check(isBusy: (partition: number) => boolean): Promise<void>
  /** Tells Kafka how far we are, for lag monitoring only. */
  commit(): Promise<void>
  /** Measures the lag also of partitions on which nothing happens, or nothing can happen, and loads those that had no leader. Rejects while Kafka does not answer. */
  measureLag(): Promise<void>
  /**
   * How long the partition that has waited longest has had records to apply and not moved; 0 when none waits. Counts only the time in which
   * {@link measureLag} has succeeded without a break: in an outage of Kafka nothing can move.
   */
  stalledMs(): number
  stop(): void
}

export const createPositions = ({ store, consumer, insist, metrics, logger }: PositionsDependencies, topic: string): Positions => {
  let assignment = new AbortController()
  let assigned: readonly number[] = []
  let loading: Promise<void> = Promise.resolve()
  const positions = new Map<number, Position>()
  /** Without a leader that answered when they were to be loaded. */
  const leaderless = new Set<number>()
  const committed = new Map<number, string>()
  let measuredSince: number | undefined
  const waitingSince = new Map<number, { readonly at: string; readonly since: number }>()

  const countLag = (partition: number, next: string, highWatermark: string) => {
    const lag = Math.max(0, Number(BigInt(highWatermark) - BigInt(next)))
    if (lag === 0) waitingSince.delete(partition)
    else if (waitingSince.get(partition)?.at !== next) waitingSince.set(partition, { at: next, since: performance.now() })
    metrics.lag.set({ consumergroup: metrics.group, topic, partition: String(partition) }, lag)
  }

  /** Turns what Redis holds into a place to fetch from; one that Kafka does not have means the start of what it has. */
  const resolve = (partition: number, stored: string, low: string, high: string): Position => {
    if (/^\d+$/.test(stored) && BigInt(stored) >= BigInt(low) && BigInt(stored) <= BigInt(high)) return { stored, fetchFrom: stored }
    logger.error({ partition, stored, low, high }, 'Kafka does not hold the offset that Redis asks for; starting from the oldest record')
    return { stored, fetchFrom: low }
  }

  const read = async (partitions: readonly number[]) => {
    const watermarks = await consumer.watermarks()
    for (const [partition, offset] of await store.positions(partitions)) {
      // Before anything is applied: were there no position yet, a Redis emptied in between could not be told from one just begun.
      const low = watermarks.get(partition)?.low
      if (offset === undefined && low !== undefined) await store.movePosition(partition, undefined, low)
    }
    // Watermarks after positions: one moved meanwhile by the partition's last owner must not seem to lie beyond the end.
    return { stored: await store.positions(partitions), watermarks: await consumer.watermarks() }
  }

  const load = async (partitions: readonly number[], signal: AbortSignal): Promise<void> => {
    const done = await insist('positions', signal, () => read(partitions))
    if (!done || signal.aborted) return
    for (const partition of partitions) {
      const watermarks = done.value.watermarks.get(partition)
      // Nothing can be fetched by now. It is loaded with its first batch, or, since none need come from where kafkajs begins, when the lag is measured.
      const stored = done.value.stored.get(partition)
      if (!watermarks || stored === undefined) {
        leaderless.add(partition)
        waitingSince.delete(partition)
        continue
      }
      leaderless.delete(partition)
      const { low, stable, high } = watermarks
      const position = resolve(partition, stored, low, high)
      positions.set(partition, position)
      consumer.seek(partition, position.fetchFrom)
      countLag(partition, position.fetchFrom, stable)
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
      // A partition that stays does not wait anew: a consumer that crashes and joins without end, as over a damaged batch, would never be noticed.
      for (const partition of waitingSince.keys()) if (!partitions.includes(partition)) waitingSince.delete(partition)
      metrics.lag.reset()
      metrics.assignedPartitions.set(partitions.length)
      loading = load(partitions, assignment.signal)
    },
    believed: (partition) => positions.get(partition),
    moved: (partition, to, highWatermark) => {
      positions.set(partition, { stored: to, fetchFrom: to })
      countLag(partition, to, highWatermark)
    },
    // What was believed stays until the new is there: a reading that is aborted must leave something that proves wrong again.
    reload: async (partition, signal) => {
      // kafkajs joins anew while a fetch from another broker is under way, and then hands over what it brought, of whatever partition.
      if (!assigned.includes(partition)) return
      await load([partition], AbortSignal.any([signal, assignment.signal]))
    },
    untilLoaded: async (signal) => {
      await Promise.race([loading, once(signal, 'abort')])
    },
    check: async (isBusy) => {
      const { signal } = assignment
      const idle = [...positions].filter(([partition]) => !isBusy(partition))
      const stored = await store.positions(idle.map(([partition]) => partition))
      const wrong = idle.flatMap(([partition, position]) => {
        const meanwhileUsed = isBusy(partition) || positions.get(partition) !== position
        return meanwhileUsed || stored.get(partition) === position.stored ? [] : [partition]
      })
      if (wrong.length === 0 || signal.aborted) return
      logger.warn({ partitions: wrong }, 'Redis was emptied, restored or filled by another; going back to what it says')
      metrics.rewinds.inc(wrong.length)
      await load(wrong, signal)
    },
    commit: async () => {
      const progress = new Map<number, string>()
      for (const [partition, { stored }] of positions) if (committed.get(partition) !== stored) progress.set(partition, stored)
      if (progress.size === 0) return
      if (await consumer.commit(progress)) for (const [partition, offset] of progress) committed.set(partition, offset)
    },
    measureLag: async () => {
      const measuredSoFar = measuredSince
      measuredSince = undefined
      const watermarks = await consumer.watermarks()
      measuredSince = measuredSoFar ?? performance.now()
      for (const [partition, { fetchFrom }] of positions) {
        const stable = watermarks.get(partition)?.stable
        if (stable !== undefined) countLag(partition, fetchFrom, stable)
        // Without a leader it cannot move.
        else waitingSince.delete(partition)
      }
      const led = [...leaderless].filter((partition) => watermarks.has(partition))
      if (led.length > 0) await load(led, assignment.signal)
    },
    stalledMs: () => {
      const now = performance.now()
      const measured = measuredSince
      if (measured === undefined) return 0
      return waitingSince.values().reduce((longest, { since }) => Math.max(longest, now - Math.max(since, measured)), 0)
    },
    stop: () => assignment.abort(),
  }
}
