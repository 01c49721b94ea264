/**
 * Applies the raw topic to Redis, partition by partition. Each chunk of records goes through
 * project, quarantine, Redis and the state topic, in this order. The position moves last: a
 * compare-and-set replaces the expected offset with the offset after the chunk.
 *
 * A projector may lose its partition and not notice. Such a projector cannot undo newer writes: the
 * store compares versions, and the position moves only from the expected offset. In an outage no
 * position moves, and the work is retried until the outage ends.
 */
import type { IndexOptions } from '@customer-stream/indexes'
import { answerOf, type Backoff, type Logger, type Obstacles, type Tracer } from '@customer-stream/runtime'
import type { FetchedBatch, PartitionConsumer, UnreadableBatch, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS } from '@customer-stream/schemas'
import { createApplyChunk } from './apply-chunk.ts'
import { createBlockedPartitions } from './blocked-partitions.ts'
import type { ChangelogSource } from './changelog-source.ts'
import { createChunkSpans } from './chunk-spans.ts'
import type { AppliedChunk } from './chunk-store.ts'
import { createChunkWriter } from './chunk-writer.ts'
import { createErasures } from './erasures.ts'
import { createFiller } from './fill.ts'
import { createFillProgress } from './fill-progress.ts'
import type { FillStore } from './fill-store.ts'
import { termsOf } from './indexes.ts'
import { createLookahead } from './lookahead.ts'
import type { ProjectorMetrics } from './metrics.ts'
import { createOutages } from './outages.ts'
import { createPartitionLocks } from './partition-locks.ts'
import { createPauses } from './pauses.ts'
import { createPositions, type Positions } from './positions.ts'
import {
  customerOf,
  isNamed,
  type Poison,
  type Projected,
  type ProjectOptions,
  peek,
  project,
  type RawRecord,
} from './project.ts'
import { quarantineRecord, unreadableRecord } from './quarantine.ts'
import type { SenderWatch } from './sender-watch.ts'
import type { Store } from './store.ts'
import { createStoredPositions, type StoredPositionsDependencies } from './stored-positions.ts'

export interface ProjectionDependencies {
  readonly store: Store
  readonly fillStore: FillStore
  readonly quarantine: Pick<VerifiedProducer, 'send'>
  /** Sends to the state topic. Undefined if the state topic is switched off. */
  readonly state: Pick<VerifiedProducer, 'send'> | undefined
  readonly readIdentity: StoredPositionsDependencies['readIdentity']
  /** Undefined if the state topic is switched off. */
  readonly stateSource: ChangelogSource | undefined
  /** Undefined if erasures are switched off. */
  readonly erasuresSource: ChangelogSource | undefined
  readonly consumer: Pick<PartitionConsumer, 'seek' | 'commit' | 'committed' | 'watermarks' | 'pause' | 'stop'>
  readonly obstacles: Pick<Obstacles, 'report'>
  /** Returns the cause of an error such as "connection is closed", which gives no reason itself. */
  readonly causeOf: (error: Error) => Error
  readonly metrics: ProjectorMetrics
  readonly senderWatch: Pick<SenderWatch, 'sample' | 'note'>
  readonly logger: Logger
  /** Undefined if traces are off. */
  readonly tracer: Tracer | undefined
}

export interface ProjectionOptions extends Pick<ProjectOptions, 'topic' | 'projection' | 'maxFutureMs' | 'named'> {
  readonly quarantineTopic: string
  /** Undefined if the state topic is switched off. */
  readonly stateTopic: string | undefined
  /** True if the positions of another cluster may be deleted. */
  readonly startOver: boolean
  readonly chunkRecords: number
  readonly chunkBytes: number
  /** Maximum records that are read ahead while a position is far behind. 0 switches this off. */
  readonly lookaheadRecords: number
  /** Undefined if indexes are switched off. */
  readonly indexes: IndexOptions | undefined
  readonly backoff: Backoff
}

export interface Projection {
  readonly positions: Pick<Positions, 'assign' | 'assigned' | 'commit' | 'loadNewlyLed'>
  /**
   * Applies a batch.
   * @returns the next offset to fetch, or undefined if a seek was made or the batch's signal
   *   aborted.
   */
  onBatch(batch: FetchedBatch): Promise<string | undefined>
  /** Compares the expected positions of idle partitions with Redis. Rejects in an outage. */
  checkPositions(): Promise<void>
  /** A sentence about a fill from the state topic. Undefined if no partition is being filled. */
  readonly fillProgress: string | undefined
  /**
   * Executes new erasures. Does not wait if Kafka or Redis does not answer, because the next call
   * tries again.
   */
  executeErasures(): Promise<void>
  /** The resource that does not answer, and the error. Undefined if there is no outage. */
  readonly waitingFor: string | undefined
  /**
   * Milliseconds since the last outage ended. 0 during an outage, and while a person must look at a
   * record.
   */
  undisturbedMs(): number
  /** Commits the positions a last time, then stops the consumer after its current chunk. */
  stop(): Promise<void>
}

const endOfChunk = (records: readonly RawRecord[], start: number, maxRecords: number, maxBytes: number): number => {
  let end = start
  let bytes = 0
  while (end < records.length && end - start < maxRecords) {
    bytes += records[end]?.value?.byteLength ?? 0
    if (bytes > maxBytes && end > start) break
    end += 1
  }
  return end
}

/**
 * Maximum time that a shutdown waits for the last commit. Applied events do not depend on this
 * commit, so a silent Kafka must not delay the shutdown.
 */
const LAST_COMMIT_MS = 2000
const after = (offset: string): string => String(BigInt(offset) + 1n)

const NOTHING: Projected = { newest: [], poison: [], stale: 0, duplicate: 0 }

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share all parts
export const createProjection = (deps: ProjectionDependencies, options: ProjectionOptions): Projection => {
  const { store, causeOf, metrics, logger } = deps
  const { topic, projection, maxFutureMs, named, quarantineTopic } = options
  const outages = createOutages({ causeOf, metrics, logger, backoff: options.backoff })
  const { retryThroughOutage, attemptOnce } = outages
  const lookahead = createLookahead({
    maxRecords: options.lookaheadRecords,
    peek: (record, partition) => (isNamed(record, partition, options) ? undefined : peek(record, maxFutureMs)),
    customerOf,
  })
  const fillProgress = createFillProgress({ metrics, logger })
  const fillPartition = createFiller({ ...deps, progress: fillProgress, retryThroughOutage }, options)
  const startChunkSpan = createChunkSpans(deps.tracer, topic)
  const busy = new Set<number>()
  const pauses = createPauses({ consumer: deps.consumer, retryThroughOutage, metrics })
  const writer = createChunkWriter({ ...deps, pauses, retryThroughOutage }, options.stateTopic)
  /** Continues a partition after a pause for its documents or tombstones. */
  const continueAfterPause = async (partition: number, { moved }: AppliedChunk, pause: AbortSignal) => {
    await positions.reload(partition, pause)
    if (moved && !pause.aborted) pauses.end(partition)
  }
  const erasures = createErasures({ ...deps, writer, retryThroughOutage, attemptOnce, onLate: continueAfterPause })
  const locks = createPartitionLocks()
  const storedPositions = createStoredPositions({ ...deps, onLeave: lookahead.skipTo }, options)
  const positions = createPositions({
    ...deps,
    storedPositions,
    retryThroughOutage,
    fillPartition,
    onLoad: lookahead.drop,
    // Do not wait for the lock here. A chunk keeps the lock while it loads the position again. So
    // these erasures would wait for the chunk, and the chunk would wait for the erasures.
    executeErasures: (found, signal) => erasures.execute(found, signal, (_, work) => work()),
  })
  const blocked = createBlockedPartitions(
    { ...deps, pauses, expected: (partition) => positions.expected(partition) },
    topic,
  )
  const applyChunk = createApplyChunk({
    ...deps,
    positions,
    lookahead,
    writer,
    pauses,
    blocked,
    onLate: continueAfterPause,
  })

  /**
   * Projects the records. If a record cannot be projected because of a bug, projects some records
   * before this record.
   * @returns undefined if the first record cannot be projected. The partition is then paused.
   */
  const projectUpTo = (
    records: readonly RawRecord[],
    partition: number,
  ): { readonly done: readonly RawRecord[]; readonly projected: Projected } | undefined => {
    try {
      return {
        done: records,
        projected: project(records, {
          topic,
          partition,
          projection,
          maxFutureMs,
          named,
          now: Date.now(),
          withDocuments: options.stateTopic !== undefined,
          termsOf: termsOf(options.indexes),
        }),
      }
    } catch (error) {
      const [first] = records
      if (records.length > 1) return projectUpTo(records.slice(0, records.length >> 1), partition)
      const place = `${topic}/${partition}/${first?.offset}`
      logger.error({ err: error, place }, 'a record cannot be applied')
      blocked.block(
        partition,
        `The record at ${place} cannot be applied: ${(error as Error).message}. Its partition waits, the other ` +
          `partitions continue. Report this as a bug, and send the record to quarantine with ` +
          `QUARANTINE_RECORDS=${place}.`,
      )
      return undefined
    }
  }

  /** @returns true if the fetch began at the expected position. If not, seeks to that position. */
  const beganInPlace = async ({ partition, fetchedFrom, signal }: FetchedBatch): Promise<boolean> => {
    const expected = positions.expected(partition)
    if (expected === fetchedFrom) return true
    // After an assignment the positions are still being loaded. The load ends with a seek to the
    // positions. A new rebalance aborts the signal, which ends the wait.
    if (expected === undefined) await positions.untilLoaded(signal)
    // Either the fetch began before a seek, or kafkajs has chosen another offset because the
    // requested offset was out of range.
    if (!signal.aborted && positions.expected(partition) === expected) await positions.reload(partition, signal)
    return false
  }

  /**
   * Skips a batch that cannot be decoded, if QUARANTINE_RECORDS names the batch. If not, pauses the
   * partition.
   */
  const handleUnreadable = async (batch: FetchedBatch, unreadable: UnreadableBatch): Promise<string | undefined> => {
    const { partition } = batch
    const { offset, nextOffset, error } = unreadable
    const place = `${topic}/${partition}/${offset}`
    if (!named.has(place)) {
      blocked.block(
        partition,
        `The batch of records at ${place} (offsets ${offset} to ${BigInt(nextOffset) - 1n}) cannot be read: ` +
          `${error.message}. Its partition waits, the other partitions continue. Repair the batch from another ` +
          `replica, or skip these offsets with QUARANTINE_RECORDS=${place}.`,
      )
      return undefined
    }
    const pointer = unreadableRecord(unreadable, { topic, partition }, quarantineTopic)
    const pointed = { projected: NOTHING, quarantined: [pointer], last: undefined }
    const done = await applyChunk(batch, pointed, batch.fetchedFrom, nextOffset)
    if (done) metrics.quarantined.inc({ reason: pointer.headers?.[QUARANTINE_HEADERS.reason] ?? '' })
    return done ? nextOffset : undefined
  }

  /** @returns the records that are not in quarantine yet, or undefined if the work was aborted. */
  const notQuarantined = async (
    poison: readonly Poison[],
    partition: number,
    signal: AbortSignal,
  ): Promise<readonly Poison[] | undefined> => {
    const left = poison.filter(({ record }) => !pauses.isSent(partition, record.offset))
    if (left.length === 0) return left
    // During a rebuild, skip records before the position of the previous projection, because that
    // projection has quarantined them. Never skip records that QUARANTINE_RECORDS names, because
    // the setting may have been different for the previous projection.
    const found = await retryThroughOutage('Redis', signal, () => store.previousPosition(partition))
    const before = /^\d+$/.test(found?.value ?? '') ? BigInt(found?.value ?? 0) : 0n
    return (
      found && left.filter(({ record, reason }) => reason === 'named-by-setting' || BigInt(record.offset) >= before)
    )
  }

  /**
   * Goes back to the start of the lookahead's window if one of these unusable records supersedes an
   * event of the window. That event was left out because of the unusable record, and must now be
   * applied instead.
   * @returns true if the batch must not be applied now.
   */
  const wentBack = async ({ partition, signal }: FetchedBatch, unusable: readonly RawRecord[]): Promise<boolean> => {
    if (!lookahead.supersedes(partition, unusable)) return false
    lookahead.skipTo(partition, lookahead.window(partition)?.end ?? '0')
    await positions.reload(partition, signal)
    return true
  }

  const handle = async (batch: FetchedBatch): Promise<string | undefined> => {
    const { partition, nextOffset, unreadable, signal } = batch
    const position = positions.expected(partition)
    const step = lookahead.step(batch, position)
    if (step === 'read') return nextOffset
    if (step === 'seek') {
      if (position !== undefined) deps.consumer.seek(partition, position)
      return undefined
    }
    if (!(await beganInPlace(batch))) return undefined
    if (unreadable) return handleUnreadable(batch, unreadable)
    const records = lookahead.withoutSuperseded(partition, batch.records)
    let from = batch.fetchedFrom
    // The loop runs at least once, so that the position moves past a batch without records.
    for (let start = 0; from !== nextOffset; ) {
      if (signal.aborted) return undefined
      const chunk = records.slice(start, endOfChunk(records, start, options.chunkRecords, options.chunkBytes))
      const startedAt = performance.now()
      const projectable = projectUpTo(chunk, partition)
      if (!projectable) return (await wentBack(batch, chunk.slice(0, 1))) ? undefined : from
      const { done, projected } = projectable
      if (
        await wentBack(
          batch,
          projected.poison.map(({ record }) => record),
        )
      )
        return undefined
      start += done.length
      const last = done.at(-1)
      const next = start === records.length || last === undefined ? nextOffset : after(last.offset)
      const poison = await notQuarantined(projected.poison, partition, signal)
      if (poison === undefined) return undefined
      const quarantined = poison.map((each) => quarantineRecord(each, { topic, partition }, quarantineTopic))
      const { stale, duplicate } = lookahead.supersededBetween(partition, from, next)
      const counted = { ...projected, stale: projected.stale + stale, duplicate: projected.duplicate + duplicate }
      const span = startChunkSpan(done, partition, startedAt)
      const isDone = await applyChunk(batch, { projected: counted, quarantined, last }, from, next)
      span?.end(counted, isDone)
      if (!isDone) return !signal.aborted && pauses.has(partition) ? from : undefined
      from = next
    }
    return nextOffset
  }

  return {
    positions: {
      get assigned() {
        return positions.assigned
      },
      commit: positions.commit,
      assign: (partitions) => {
        pauses.endAll()
        lookahead.clear()
        blocked.keepOnly(partitions)
        positions.assign(partitions)
      },
      loadNewlyLed: async (watermarks) => {
        await positions.loadNewlyLed(watermarks)
        blocked.unblockMoved()
      },
    },
    onBatch: async (batch) => {
      const { partition } = batch
      deps.senderWatch.sample(batch.records)
      busy.add(partition)
      try {
        // An erasure may have paused the partition while the chunk waited.
        return await locks.withChunk(partition, async (hasWaited) => {
          if (hasWaited && batch.signal.aborted) return undefined
          return hasWaited && pauses.isPaused(partition) ? batch.fetchedFrom : handle(batch)
        })
      } finally {
        busy.delete(partition)
      }
    },
    checkPositions: () => positions.check((partition) => busy.has(partition) || writer.isFinishing(partition)),
    executeErasures: async () => {
      const { signal } = positions
      // If a partition is paused until records are stored, its erasures wait until the pause ends.
      // If a person must look at a record, the pause may last for days, so erasures are executed
      // during the pause.
      const ready = [...positions.filled].filter(([partition]) => blocked.has(partition) || !pauses.isPaused(partition))
      const partitions = ready.map(
        ([partition]) => [partition, { position: () => positions.expected(partition), isFilling: false }] as const,
      )
      // Ignore the results. If another process has moved a position, `checkPositions` notices it.
      await erasures.executeNew(new Map(partitions), signal, locks.withErasure)
    },
    get fillProgress() {
      return fillProgress.sentence
    },
    get waitingFor() {
      return outages.waitingFor
    },
    // The watchdog must not end the process because of a partition that waits for a person.
    undisturbedMs: () => (blocked.size > 0 ? 0 : outages.undisturbedMs()),
    stop: async () => {
      await answerOf(positions.commit, LAST_COMMIT_MS).catch(() => undefined)
      pauses.endAll()
      positions.stop()
      await deps.consumer.stop()
      await Promise.allSettled([deps.stateSource?.disconnect(), deps.erasuresSource?.disconnect()])
      await writer.stop()
    },
  }
}
