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
import type { Logger, Obstacles } from '@customer-stream/runtime'
import type { CommittedOffset, PartitionConsumer, TopicIdentity, Watermarks } from '@customer-stream/runtime/kafka'
import { type ClaimOptions, createClaim } from './claim-positions.ts'
import type { ErasuresPartition, Execution } from './erasures.ts'
import type { FillPartition } from './fill.ts'
import type { Fill, FillStore } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import { NO_ID, type StateSource } from './state-source.ts'
import { OtherClusterError, type Store } from './store.ts'

export interface PositionsDependencies {
  readonly store: Pick<
    Store,
    'positions' | 'publishedPositions' | 'unfinishedWindows' | 'forgetWindow' | 'movePosition' | 'claimPositions'
  >
  readonly consumer: Pick<PartitionConsumer, 'seek' | 'commit' | 'committed' | 'watermarks'>
  /** Reads the ids of the cluster and of the topic from Kafka. Rejects in an outage. */
  readonly readIdentity: () => Promise<TopicIdentity>
  /** Undefined if the state topic is switched off. */
  readonly stateSource: Pick<StateSource, 'topicId' | 'watermarks'> | undefined
  readonly fillStore: Pick<FillStore, 'fills' | 'beginFill' | 'endFill'>
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
  /**
   * Called if a stored position was within a lookahead's window. `end` is the end of the window.
   */
  readonly onLeave: (partition: number, end: string) => void
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly metrics: ProjectorMetrics
  readonly logger: Logger
}

export interface Positions {
  /** Starts a new assignment: drops all expected positions and reads Redis again. */
  assign(partitions: readonly number[]): void
  readonly assigned: readonly number[]
  /** Aborts when the assignment ends. */
  readonly signal: AbortSignal
  /** The expected positions of the partitions that are not being filled. */
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
   * must be published: the state topic is switched off, or the partition is being filled. A fill
   * may still bring a newer document of a customer. So the documents of events that are applied
   * during a fill are published after the fill, when these events are applied again.
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
   * Compares the expected positions with Redis, and the id of the topic with the id stored beside
   * the positions. Loads each position that differs. Rejects in an outage.
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

const isOffset = (stored: string | undefined): stored is string => stored !== undefined && /^\d+$/.test(stored)

/**
 * Returns the metadata of a committed offset: `raw topic id/state topic id`. The metadata says that
 * this state topic has the documents of all events before the offset in this raw topic. Empty if an
 * id is unknown, because a topic that was created again could then not be recognised.
 */
const proofOf = (topicId: string | undefined, stateTopicId: string | undefined): string =>
  topicId === undefined || stateTopicId === undefined || stateTopicId === NO_ID ? '' : `${topicId}/${stateTopicId}`
const isBelow = (stored: string | undefined, low: string): boolean => isOffset(stored) && BigInt(stored) < BigInt(low)

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share the positions
export const createPositions = (
  {
    store,
    consumer,
    readIdentity,
    stateSource,
    fillStore,
    fillPartition,
    executeErasures,
    retryThroughOutage,
    onLoad,
    onLeave,
    obstacles,
    metrics,
    logger,
  }: PositionsDependencies,
  { topic, startOver }: ClaimOptions,
): Positions => {
  const claim = createClaim({ store, readIdentity, obstacles, logger }, { topic, startOver })
  let assignment = new AbortController()
  let assigned: readonly number[] = []
  let loading: Promise<void> = Promise.resolve()
  const positions = new Map<number, string>()
  /**
   * Partitions whose leader did not answer during the last load, or whose erasures could not be
   * executed.
   */
  const leaderless = new Set<number>()
  /** Offset and metadata that were committed, by partition. */
  const committed = new Map<number, string>()
  const oldest = new Map<number, string>()
  /** Id of the state topic with which the position of each partition was compared. */
  const stateTopicIds = new Map<number, string | undefined>()
  const proofs = new Map<number, string>()
  /** Ends the fill of each partition. */
  const fillings = new Map<number, AbortController>()

  /** Reads the watermarks of the state topic and the committed offsets, for `beginFill`. */
  const readState = async ({ topicId }: TopicIdentity, stateTopicId: string | undefined) => {
    if (stateSource === undefined || stateTopicId === undefined) return undefined
    const [ends, published] = await Promise.all([stateSource.watermarks(), consumer.committed()])
    return { stateTopicId, proof: proofOf(topicId, stateTopicId), ends, published }
  }

  /**
   * Begins to fill a partition from the state topic, if the state topic has more customers than the
   * remaining records of the raw topic, or the same customers in fewer records.
   * @returns the raw offset from which events are applied, and whether the state topic has all
   *   documents of earlier events. Undefined if the partition of the state topic has no leader.
   */
  const beginFill = async (
    partition: number,
    { low, high }: Watermarks,
    state: Awaited<ReturnType<typeof readState>>,
  ): Promise<{ readonly rawFrom: string; readonly isComplete: boolean } | undefined> => {
    const fromRaw = { rawFrom: low, isComplete: false }
    if (state === undefined) return fromRaw
    const ends = state.ends.get(partition)
    if (ends === undefined) return undefined
    if (ends.low === ends.high) return fromRaw
    const { offset, metadata } = state.published.get(partition) ?? { offset: '-1' }
    const isWithin = BigInt(offset) >= BigInt(low) && BigInt(offset) <= BigInt(high)
    // Compaction does not raise the low watermark. A low watermark above 0 means that a person or a
    // retention time has deleted documents.
    const isKnown = state.proof !== '' && metadata === state.proof && ends.low === '0'
    const isComplete = isWithin && isKnown
    if (!isComplete && low === '0') return fromRaw
    const start = { rawFrom: isComplete ? offset : low, isComplete }
    await fillStore.beginFill(partition, {
      ...{ stateTopicId: state.stateTopicId, next: ends.low, end: ends.high },
      ...start,
    })
    return start
  }

  /** Replaces a position that Kafka cannot serve. */
  const repair = async (
    partition: number,
    stored: string | undefined,
    marks: Watermarks,
    state: Awaited<ReturnType<typeof readState>>,
  ) => {
    const { low, high } = marks
    const tooLow = isBelow(stored, low)
    const tooHigh = isOffset(stored) && BigInt(stored) > BigInt(high)
    const start = tooHigh ? { rawFrom: low, isComplete: false } : await beginFill(partition, marks, state)
    if (start === undefined) return
    // Store a first position before any event is applied. Without a stored position, a Redis that
    // was emptied later would look like a new Redis.
    if (!(await store.movePosition(partition, stored, start.rawFrom)) || stored === undefined) return
    if (tooLow && start.isComplete) return
    const seen = { topic, partition, stored, low, high }
    if (tooLow) {
      metrics.lostRecords.inc(Number(BigInt(low) - BigInt(stored ?? low)))
      logger.error(
        { event: 'records-lost', ...seen },
        'Kafka deleted records before they were applied; the partition continues at its oldest record',
      )
    } else {
      metrics.rewinds.inc()
      logger.error(
        { event: 'rewound', ...seen },
        'the position in Redis is no offset of this partition; the partition is applied from its oldest record',
      )
    }
  }

  /**
   * Moves each position that is within a lookahead's window back to the start of the window. Within
   * the window some events were left out. Only the memory of the process that read the window has
   * the list of these events.
   * @returns true if a position was within a window.
   */
  const leaveWindows = async (partitions: readonly number[], watermarks: ReadonlyMap<number, Watermarks>) => {
    const windows = await store.unfinishedWindows(partitions)
    for (const [partition, { position, start, end }] of windows) {
      const low = watermarks.get(partition)?.low ?? position
      const to = BigInt(start) < BigInt(low) ? low : start
      const isMoved = BigInt(to) >= BigInt(position) || (await store.movePosition(partition, position, to))
      if (!isMoved) continue
      await store.forgetWindow(partition)
      onLeave(partition, end)
    }
    return windows.size > 0
  }

  /**
   * Moves each position back to the offset up to which the state topic has all documents. This
   * offset is lower than the position if the state topic is new, or if a projector without a state
   * topic has moved the position.
   * @returns true if a position was moved.
   */
  const goBackToPublished = async (
    stateTopicId: string | undefined,
    stored: ReadonlyMap<number, string | undefined>,
    watermarks: ReadonlyMap<number, Watermarks>,
  ) => {
    if (stateTopicId === undefined) return false
    const published = await store.publishedPositions([...stored.keys()])
    const seen: object[] = []
    for (const [partition, position] of stored) {
      const low = watermarks.get(partition)?.low
      if (!isOffset(position) || low === undefined) continue
      const known = published.get(partition)
      const complete = known?.stateTopicId === stateTopicId ? known.offset : low
      const to = BigInt(complete) < BigInt(low) ? low : complete
      if (BigInt(to) < BigInt(position) && (await store.movePosition(partition, position, to)))
        seen.push({ partition, position, to })
    }
    if (seen.length > 0)
      logger.warn(
        { event: 'state-incomplete', topic, seen },
        'the state topic lacks documents of events that were applied; the events that Kafka still has are applied again',
      )
    return seen.length > 0
  }

  /**
   * Ends each fill whose state topic was deleted or switched off. The partition of the fill is then
   * applied from its oldest record.
   * @returns true if a fill was ended.
   */
  const dropFills = async (
    stateTopicId: string | undefined,
    fills: ReadonlyMap<number, Fill>,
    watermarks: ReadonlyMap<number, Watermarks>,
  ) => {
    let isDropped = false
    for (const [partition, fill] of fills) {
      const low = watermarks.get(partition)?.low
      if (low === undefined || fill.stateTopicId === stateTopicId) continue
      await fillStore.endFill(partition, fill, low)
      isDropped = true
    }
    return isDropped
  }

  const read = async (partitions: readonly number[]) => {
    const { deleted, identity } = await claim()
    metrics.rewinds.inc(deleted)
    const stateTopicId = await stateSource?.topicId()
    // Read the watermarks after the positions. In the other order, the previous owner of a
    // partition could move its position past the end that was read.
    const found = await store.positions(partitions)
    const watermarks = await consumer.watermarks()
    const bad = [...found].flatMap(([partition, stored]) => {
      const marks = watermarks.get(partition)
      const isGood = marks && isOffset(stored) && !isBelow(stored, marks.low) && BigInt(stored) <= BigInt(marks.high)
      return marks === undefined || isGood ? [] : [{ partition, stored, marks }]
    })
    if (bad.length > 0) {
      const state = await readState(identity, stateTopicId)
      for (const { partition, stored, marks } of bad) await repair(partition, stored, marks, state)
    }
    for (;;) {
      const stored = await store.positions(partitions)
      // The previous owner may still enter a window after this check. Then that owner also moves
      // the position, so the next chunk of this process finds a position that differs.
      if (await leaveWindows(partitions, watermarks)) continue
      if (await goBackToPublished(stateTopicId, stored, watermarks)) continue
      const fills = await fillStore.fills(partitions)
      if (await dropFills(stateTopicId, fills, watermarks)) continue
      return { stateTopicId, proof: proofOf(identity.topicId, stateTopicId), stored, watermarks, fills }
    }
  }

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
      // The end of the fill moves the position back. Apply nothing until this position is loaded.
      positions.delete(partition)
      // If documents are missing, only the raw topic may have their events.
      const to = filled?.isComplete ? filled.rawFrom : low
      if (filled) await retryThroughOutage('Redis', signal, () => fillStore.endFill(partition, filled, to))
      if (!signal.aborted) await load([partition], assignment.signal)
    }
    void run()
  }

  const load = async (partitions: readonly number[], signal: AbortSignal): Promise<void> => {
    const done = await retryThroughOutage('positions', signal, () => read(partitions))
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
        leaderless.add(partition)
        continue
      }
      leaderless.delete(partition)
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
      leaderless.clear()
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
    // chunk finds that the position in Redis differs, and loads it again.
    reload: async (partition, signal) => {
      // While kafkajs joins the group again, it still delivers batches of a running fetch. The
      // partition of such a batch may no longer be assigned.
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
        // Redis was restored from a dump of another installation. Remove the expected positions, so
        // that nothing is applied. The load retries until a person acts.
        if (error instanceof OtherClusterError && positions.size > 0) {
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
        'Redis was emptied, restored or filled by another projector; going back to the positions in Redis',
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
      const led = [...leaderless].filter((partition) => watermarks.has(partition))
      // Kafka has deleted the next records of these partitions. Without new records, no batch would
      // ever show this deletion.
      const overtaken = [...positions].flatMap(([partition, position]) => {
        const low = watermarks.get(partition)?.low
        return low !== undefined && BigInt(position) < BigInt(low) ? [partition] : []
      })
      if (led.length + overtaken.length > 0) await load([...led, ...overtaken], assignment.signal)
    },
    stop: () => assignment.abort(),
  }
}
