/**
 * Manages the positions: the next offset to apply, by partition. The positions are stored in Redis.
 * This process keeps a copy: the expected positions. If an expected position proves wrong, the
 * process reads Redis again and seeks to the position in Redis. So the projection recovers after
 * Redis was emptied, restored or failed over.
 *
 * Positions are valid for one topic of one Kafka cluster. The ids of topic and cluster are compared
 * before any event is applied.
 */
import { once } from 'node:events'
import type { Logger } from '@customer-stream/runtime'
import type { CommittedOffset, PartitionConsumer, Watermarks } from '@customer-stream/runtime/kafka'
import type { ChangelogSource } from './changelog-source.ts'
import type { ErasuresPartition, Execution } from './erasures.ts'
import type { FillPartition } from './fill.ts'
import type { Fill, FillStore } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import { type PositionStore, RefusedPositionsError } from './position-store.ts'
import { isBelow, isOffset } from './repair-positions.ts'
import type { StoredPositions } from './stored-positions.ts'

export interface PositionsDependencies {
  readonly storedPositions: StoredPositions
  readonly store: Pick<PositionStore, 'positions'>
  readonly consumer: Pick<PartitionConsumer, 'seek' | 'commit'>
  /** Undefined if the state topic is switched off. */
  readonly stateSource: Pick<ChangelogSource, 'topicId'> | undefined
  readonly fillStore: Pick<FillStore, 'fills' | 'endFill'>
  /** Fills a partition from the state topic. */
  readonly fillPartition: FillPartition
  /** Executes the erasures of these partitions. Retries during outages. */
  readonly executeErasures: (
    partitions: ReadonlyMap<number, ErasuresPartition>,
    signal: AbortSignal,
  ) => Promise<ReadonlyMap<number, Execution>>
  readonly retryThroughOutage: RetryThroughOutage
  /** Called when the position of a partition is loaded, before the next fetch of this partition. */
  readonly onLoad: (partition: number) => void
  readonly metrics: ProjectorMetrics
  readonly logger: Logger
}

export interface Positions {
  /** Starts a new assignment: drops all expected positions and reads Redis again. */
  assign(partitions: readonly number[]): void
  readonly assigned: readonly number[]
  /** Aborts when the assignment ends. */
  readonly signal: AbortSignal
  /** The expected positions of the partitions that need no fill or whose fill has ended. */
  readonly filled: ReadonlyMap<number, string>
  /**
   * Returns the expected position: the offset of the next record to apply. Undefined until Redis
   * was read.
   */
  expected(partition: number): string | undefined
  /** Returns the oldest offset that Kafka had when the position was read. */
  oldest(partition: number): string | undefined
  /**
   * Returns the id that the state topic had when the position was read. Undefined if no documents
   * must be published: the state topic is switched off, or the partition is being filled. During a
   * fill, Redis may not have the newest state of a customer yet. So events that are applied during
   * a fill are applied again after the fill, and their documents are published then.
   */
  stateTopicId(partition: number): string | undefined
  /** Sets the expected position after the position in Redis has moved. */
  moved(partition: number, to: string, highWatermark: string): void
  /**
   * Reads the position from Redis and seeks to that position. Retries until Redis answers. Ignores
   * a partition that is not assigned.
   */
  reload(partition: number, signal: AbortSignal): Promise<void>
  /** Resolves when the assignment's positions are loaded, or when the signal aborts. */
  untilLoaded(signal: AbortSignal): Promise<void>
  /**
   * Compares the expected positions with Redis, and the id of the topic with the id that is stored
   * in Redis. Loads each position that differs. Rejects in an outage.
   */
  check(isBusy: (partition: number) => boolean): Promise<void>
  /**
   * Commits the positions to Kafka, together with the ids of the topics. Lag monitoring reads the
   * committed offsets. A projector that finds no positions in Redis also reads these offsets.
   */
  commit(): Promise<void>
  /**
   * Loads partitions that had no leader and now have one. Also loads partitions whose next records
   * Kafka has deleted.
   */
  loadNewlyLed(watermarks: ReadonlyMap<number, Watermarks>): Promise<void>
  stop(): void
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share the positions
export const createPositions = ({
  storedPositions,
  store,
  consumer,
  stateSource,
  fillStore,
  fillPartition,
  executeErasures,
  retryThroughOutage,
  onLoad,
  metrics,
  logger,
}: PositionsDependencies): Positions => {
  let assignment = new AbortController()
  let assigned: readonly number[] = []
  let loading: Promise<void> = Promise.resolve()
  const positions = new Map<number, string>()
  /**
   * Partitions whose leader did not answer during the last load, or whose erasures could not be
   * executed.
   */
  const notLoaded = new Set<number>()
  /** By partition: the offset and the metadata that were committed. */
  const committed = new Map<number, string>()
  const oldest = new Map<number, string>()
  /** By partition: the id of the state topic with which the position was compared. */
  const stateTopicIds = new Map<number, string | undefined>()
  const proofs = new Map<number, string>()
  /** By partition: controller that ends the fill of the partition. */
  const fillings = new Map<number, AbortController>()

  /** Ends an earlier fill. Fills the partition in the background, then loads its position again. */
  const startFill = (partition: number, fill: Fill | undefined, low: string): void => {
    fillings.get(partition)?.abort()
    fillings.delete(partition)
    if (fill === undefined) return
    const filling = new AbortController()
    fillings.set(partition, filling)
    const signal = AbortSignal.any([assignment.signal, filling.signal])
    const run = async () => {
      const filled = await fillPartition(partition, fill, signal)
      if (signal.aborted) return
      // At its end, the fill moves the position in Redis back. Apply nothing until the new position
      // is loaded.
      positions.delete(partition)
      // If the fill lacked documents, apply all raw records, because they may have the missing
      // events.
      const to = filled?.isComplete ? filled.rawFrom : low
      if (filled) await retryThroughOutage('Redis', signal, () => fillStore.endFill(partition, filled, to))
      if (!signal.aborted) await load([partition], assignment.signal)
    }
    void run()
  }

  const load = async (partitions: readonly number[], signal: AbortSignal): Promise<void> => {
    const done = await retryThroughOutage('positions', signal, () => storedPositions.read(partitions))
    if (!done || signal.aborted) return
    const found = new Map<number, ErasuresPartition>()
    for (const [partition, position] of done.value.stored)
      if (isOffset(position) && done.value.watermarks.has(partition))
        found.set(partition, { position: () => position, isFilling: done.value.fills.has(partition) })
    // Redis may have lost the marks of erased customers, so execute erasures before events.
    const executions = await executeErasures(found, signal)
    if (signal.aborted) return
    const moved = partitions.filter((partition) => executions.get(partition) === 'moved')
    for (const partition of partitions) {
      const watermarks = done.value.watermarks.get(partition)
      const stored = done.value.stored.get(partition)
      // The partition of the raw topic, the state topic or the erasures topic has no leader. The
      // position is loaded with the first batch or after the next lag measurement. The measurement
      // is needed because kafkajs starts at the group's committed offset. If that offset is the
      // end, no batch arrives.
      const isReady = executions.get(partition) === 'done'
      if (!watermarks || stored === undefined || isBelow(stored, watermarks.low) || !isReady) {
        notLoaded.add(partition)
        continue
      }
      notLoaded.delete(partition)
      positions.set(partition, stored)
      stateTopicIds.set(partition, done.value.stateTopicId)
      proofs.set(partition, done.value.proof)
      const fill = done.value.fills.get(partition)
      // Records before this offset are not read again. So a rebuild keeps the hashes of these
      // records, until the fill brings the documents of their customers.
      oldest.set(partition, fill?.rawFrom ?? watermarks.low)
      onLoad(partition)
      startFill(partition, fill, watermarks.low)
      consumer.seek(partition, stored)
      metrics.observeLag(partition, Number(BigInt(watermarks.high) - BigInt(stored)))
    }
    // Another projector has moved these positions during the erasures.
    if (moved.length > 0) await load(moved, signal)
  }

  return {
    assign: (partitions) => {
      assignment.abort()
      assignment = new AbortController()
      assigned = partitions
      positions.clear()
      notLoaded.clear()
      committed.clear()
      fillings.clear()
      metrics.assignedPartitions.set(partitions.length)
      loading = partitions.length === 0 ? Promise.resolve() : load(partitions, assignment.signal)
    },
    get assigned() {
      return assigned
    },
    get signal() {
      return assignment.signal
    },
    get filled() {
      return new Map([...positions].filter(([partition]) => !fillings.has(partition)))
    },
    expected: (partition) => positions.get(partition),
    oldest: (partition) => oldest.get(partition),
    stateTopicId: (partition) => (fillings.has(partition) ? undefined : stateTopicIds.get(partition)),
    moved: (partition, to, highWatermark) => {
      positions.set(partition, to)
      metrics.observeLag(partition, Math.max(0, Number(BigInt(highWatermark) - BigInt(to))))
    },
    // Keep the old expected position until the load has ended. If the load is aborted, the next
    // chunk finds that the position in Redis differs, and loads the position again.
    reload: async (partition, signal) => {
      // While kafkajs joins the group again, it still delivers batches of a running fetch. The
      // partition of this batch may no longer be assigned.
      if (!assigned.includes(partition)) return
      await load([partition], AbortSignal.any([signal, assignment.signal]))
    },
    untilLoaded: async (signal) => {
      await Promise.race([loading, once(signal, 'abort')])
    },
    check: async (isBusy) => {
      const { signal } = assignment
      try {
        await storedPositions.claim()
      } catch (error) {
        // If Redis was restored from a dump of another installation, remove the expected positions,
        // so that nothing is applied. The load then retries until a person acts.
        if (error instanceof RefusedPositionsError && positions.size > 0) {
          positions.clear()
          loading = load(assigned, signal)
        }
        throw error
      }
      const stateTopicId = await stateSource?.topicId()
      const outdated = [...positions.keys()].filter((partition) => stateTopicIds.get(partition) !== stateTopicId)
      if (outdated.length > 0) return load(outdated, signal)
      const idle = [...positions].filter(([partition]) => !isBusy(partition))
      const stored = await store.positions(idle.map(([partition]) => partition))
      const fills = await fillStore.fills(idle.map(([partition]) => partition))
      const wrong = idle.flatMap(([partition, position]) => {
        const meanwhileUsed = isBusy(partition) || positions.get(partition) !== position
        const isRight = stored.get(partition) === position && fills.has(partition) === fillings.has(partition)
        return meanwhileUsed || isRight ? [] : [partition]
      })
      if (wrong.length === 0 || signal.aborted) return
      logger.warn(
        { event: 'rewound', partitions: wrong },
        'Redis was emptied or restored, or another projector has filled Redis; going back to the positions in Redis',
      )
      metrics.rewinds.inc(wrong.length)
      await load(wrong, signal)
    },
    commit: async () => {
      const progress = new Map<number, CommittedOffset>()
      for (const [partition, offset] of positions) {
        // If Redis is lost during a fill, the new fill needs the offset that was committed before.
        if (fillings.has(partition)) continue
        const metadata = proofs.get(partition) ?? ''
        if (committed.get(partition) !== `${offset} ${metadata}`) progress.set(partition, { offset, metadata })
      }
      if (progress.size === 0 || !(await consumer.commit(progress))) return
      for (const [partition, { offset, metadata }] of progress) committed.set(partition, `${offset} ${metadata}`)
    },
    loadNewlyLed: async (watermarks) => {
      const led = [...notLoaded].filter((partition) => watermarks.has(partition))
      // Kafka has deleted the next records of these partitions. Without new records, no batch shows
      // this deletion.
      const overtaken = [...positions].flatMap(([partition, position]) => {
        const low = watermarks.get(partition)?.low
        return low !== undefined && BigInt(position) < BigInt(low) ? [partition] : []
      })
      if (led.length + overtaken.length > 0) await load([...led, ...overtaken], assignment.signal)
    },
    stop: () => assignment.abort(),
  }
}
