/**
 * Manages the positions: the next offset to apply, by partition. They are stored in Redis. This
 * process keeps a copy, the expected positions. If an expected position proves wrong, the process
 * reads Redis again and seeks to the position in Redis. So the projection recovers after Redis was
 * emptied, restored or failed over.
 *
 * Positions are valid for one topic of one Kafka cluster. The ids of topic and cluster are compared
 * before anything is applied.
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
  /** The state topic. Undefined if it is switched off. */
  readonly stateSource: Pick<StateSource, 'topicId' | 'watermarks'> | undefined
  readonly fillStore: Pick<FillStore, 'fills' | 'beginFill' | 'endFill'>
  /** Fills a partition from the state topic. */
  readonly fillPartition: FillPartition
  /** Executes the erasures of these partitions. Retries through outages. */
  readonly executeErasures: (
    partitions: ReadonlyMap<number, ErasuresPartition>,
    signal: AbortSignal,
  ) => Promise<ReadonlyMap<number, Execution>>
  readonly retryThroughOutage: RetryThroughOutage
  /**
   * Called for each partition whose position is loaded, before anything else is fetched from it.
   */
  readonly onLoad: (partition: number) => void
  /** Called if a position was within a window that ends at `end`. */
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
  /** Returns the oldest offset of the partition in Kafka when the position was read. */
  oldest(partition: number): string | undefined
  /**
   * Returns the id of the state topic when the position was read. Undefined if no documents must be
   * published: the state topic is switched off, or the partition is being filled. During a fill an
   * event may be applied although a newer document of its customer is still to come. So these
   * events are applied again after the fill, and then published.
   */
  stateTopicId(partition: number): string | undefined
  /** Records that the position has been moved in Redis. */
  moved(partition: number, to: string, highWatermark: string): void
  /**
   * Reads the position from Redis and seeks to it. Retries until Redis answers. Ignores a partition
   * that is not assigned.
   */
  reload(partition: number, signal: AbortSignal): Promise<void>
  /** Resolves when the assignment's positions are loaded, or when the signal aborts. */
  untilLoaded(signal: AbortSignal): Promise<void>
  /**
   * Compares the expected positions with Redis, and the topic with the one that the positions
   * belong to. Loads again each position that differs. Rejects in an outage.
   */
  check(isBusy: (partition: number) => boolean): Promise<void>
  /**
   * Commits the positions to Kafka, with the ids of the topics for which they count. Lag monitoring
   * reads them, and a projector that finds no positions in Redis.
   */
  commit(): Promise<void>
  /**
   * Loads partitions that had no leader and now have one, and those whose next records Kafka has
   * deleted.
   */
  loadNewlyLed(watermarks: ReadonlyMap<number, Watermarks>): Promise<void>
  stop(): void
}

const isOffset = (stored: string | undefined): stored is string => stored !== undefined && /^\d+$/.test(stored)

/**
 * The metadata of a committed offset. It says that this state topic has the documents of all events
 * before the offset in this raw topic. Empty if an id is unknown: a topic that was created again
 * would then look like the earlier one.
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
  // By partition: only a position that was compared with a topic may say what the topic has.
  const stateTopicIds = new Map<number, string | undefined>()
  const proofs = new Map<number, string>()
  /** Ends the fill of each partition. */
  const fillings = new Map<number, AbortController>()

  /** Reads what a fill needs to know: the ends of the state topic, and what it is known to have. */
  const readState = async ({ topicId }: TopicIdentity, stateTopicId: string | undefined) => {
    if (stateSource === undefined || stateTopicId === undefined) return undefined
    const [ends, published] = await Promise.all([stateSource.watermarks(), consumer.committed()])
    return { stateTopicId, proof: proofOf(topicId, stateTopicId), ends, published }
  }

  /**
   * Begins to fill a partition from the state topic, if that gives more than the records that Kafka
   * still has, or the same in less time.
   * @returns the offset from which these records are applied, and whether the state topic has all
   *   documents before it.
   *   Undefined if the partition of the state topic has no leader.
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
    // Compaction never removes the beginning of a topic, but a person or a retention time does.
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
    // A partition without a position gets one before anything is applied. Otherwise a Redis that
    // was emptied later would look like a new one.
    if (!(await store.movePosition(partition, stored, start.rawFrom)) || stored === undefined) return
    if (tooLow && start.isComplete) return
    const seen = { topic, partition, stored, low, high }
    if (tooLow) {
      metrics.lostRecords.inc(Number(BigInt(low) - BigInt(stored ?? low)))
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

  /**
   * Moves each position within a window of a lookahead back to the start of the window. Events were
   * left out there, and only the memory of the process that has read the window says which.
   * @returns true if there was one.
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
   * Moves each position back to where the state topic has all documents. It is behind if the state
   * topic is new, or if a projector without it has moved the position.
   * @returns true if one was moved.
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
        'the state topic lacks documents of events that were applied; those that Kafka still has are applied again',
      )
    return seen.length > 0
  }

  /**
   * Ends the fills from a state topic that exists no more, or that is switched off. Their partitions
   * are applied from the oldest record.
   * @returns true if there was one.
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
    // The watermarks are read last. Otherwise the partition's last owner could move a position past
    // the end that was read.
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
      // The last owner may still enter a window. If it does so after this, it moves the position,
      // and the next chunk finds that the position differs.
      if (await leaveWindows(partitions, watermarks)) continue
      if (await goBackToPublished(stateTopicId, stored, watermarks)) continue
      const fills = await fillStore.fills(partitions)
      if (await dropFills(stateTopicId, fills, watermarks)) continue
      return { stateTopicId, proof: proofOf(identity.topicId, stateTopicId), stored, watermarks, fills }
    }
  }

  /**
   * Fills Redis for a partition in the background, and then loads the partition’s position again.
   * Ends an earlier fill.
   */
  const startFill = (partition: number, fill: Fill | undefined): void => {
    fillings.get(partition)?.abort()
    fillings.delete(partition)
    if (fill === undefined) return
    const filling = new AbortController()
    fillings.set(partition, filling)
    const signal = AbortSignal.any([assignment.signal, filling.signal])
    const run = async () => {
      const filled = await fillPartition(partition, fill, signal)
      if (signal.aborted) return
      // The end of the fill moves the position. Until it is loaded, nothing is applied.
      positions.delete(partition)
      if (filled) await retryThroughOutage('Redis', signal, () => fillStore.endFill(partition, filled))
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
    // Redis may have lost the marks of erased customers, so erasures come before events.
    const executions = await executeErasures(found, signal)
    if (signal.aborted) return
    const moved = partitions.filter((partition) => executions.get(partition) === 'moved')
    for (const partition of partitions) {
      const watermarks = done.value.watermarks.get(partition)
      const stored = done.value.stored.get(partition)
      // The partition, or its partition of the state topic or of the erasures topic, has no leader.
      // Its position is loaded with its first batch or after the next lag measurement. The latter is
      // needed because kafkajs starts at the group's committed offset, where possibly no batch ever
      // arrives.
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
      // A rebuild does not replace a hash whose record is before this offset. It does not read that
      // record again; the document of the customer comes later.
      oldest.set(partition, fill?.rawFrom ?? watermarks.low)
      onLoad(partition)
      startFill(partition, fill)
      consumer.seek(partition, stored)
      metrics.observeLag(partition, Number(BigInt(watermarks.high) - BigInt(stored)))
    }
    // Another projector has moved the position meanwhile.
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
    // The old expected position stays until the load has ended. If the load is aborted, the next
    // chunk finds that the position differs, and it is loaded again.
    reload: async (partition, signal) => {
      // While kafkajs joins the group again, it still passes on batches of a running fetch. Their
      // partition may no longer be assigned.
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
        // Redis was restored from a dump of another installation. Without expected positions
        // nothing is applied, and the load retries until a person acts.
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
        'Redis was emptied, restored or filled by another; going back to what it says',
      )
      metrics.rewinds.inc(wrong.length)
      await load(wrong, signal)
    },
    commit: async () => {
      const progress = new Map<number, CommittedOffset>()
      for (const [partition, offset] of positions) {
        // A partition that is being filled goes back to the offset that is committed.
        if (fillings.has(partition)) continue
        const metadata = proofs.get(partition) ?? ''
        if (committed.get(partition) !== `${offset} ${metadata}`) progress.set(partition, { offset, metadata })
      }
      if (progress.size === 0 || !(await consumer.commit(progress))) return
      for (const [partition, { offset, metadata }] of progress) committed.set(partition, `${offset} ${metadata}`)
    },
    loadNewlyLed: async (watermarks) => {
      const led = [...leaderless].filter((partition) => watermarks.has(partition))
      // On a partition without new records, no batch would ever show that Kafka has deleted its
      // next records.
      const overtaken = [...positions].flatMap(([partition, position]) => {
        const low = watermarks.get(partition)?.low
        return low !== undefined && BigInt(position) < BigInt(low) ? [partition] : []
      })
      if (led.length + overtaken.length > 0) await load([...led, ...overtaken], assignment.signal)
    },
    stop: () => assignment.abort(),
  }
}
