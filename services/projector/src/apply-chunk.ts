/**
 * Applies one chunk in this order: quarantine, Redis, state topic, position. If a step fails, the
 * position does not move, and the chunk is read again.
 */
import { createThrottledLog, type Logger } from '@customer-stream/runtime'
import type { FetchedBatch, OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { QUARANTINE_HEADERS } from '@customer-stream/schemas'
import type { BlockedPartitions } from './blocked-partitions.ts'
import type { AppliedChunk } from './chunk-store.ts'
import type { ChunkWriter } from './chunk-writer.ts'
import type { Lookahead } from './lookahead.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { Pauses } from './pauses.ts'
import type { Positions } from './positions.ts'
import type { Projected, RawRecord } from './project.ts'
import { sendToQuarantine } from './quarantine.ts'
import type { SenderWatch } from './sender-watch.ts'
import type { StoreOutcome } from './snapshot-calls.ts'

export interface ApplyChunkDependencies {
  readonly positions: Pick<Positions, 'expected' | 'oldest' | 'stateTopicId' | 'moved' | 'reload'>
  readonly lookahead: Pick<Lookahead, 'window'>
  readonly writer: Pick<ChunkWriter, 'write'>
  readonly quarantine: Pick<VerifiedProducer, 'send'>
  readonly pauses: Pick<Pauses, 'sendOrPause' | 'end'>
  readonly blocked: Pick<BlockedPartitions, 'unblock'>
  /** Called after a pause in which the documents of a chunk were stored. */
  readonly onLate: (partition: number, late: AppliedChunk, pause: AbortSignal) => Promise<void>
  readonly metrics: ProjectorMetrics
  readonly senderWatch: Pick<SenderWatch, 'note'>
  readonly logger: Logger
}

/** The records of a chunk after their projection. */
export interface Chunk {
  readonly projected: Projected
  /** Records for the quarantine. */
  readonly quarantined: readonly OutgoingRecord[]
  /** Undefined if the chunk has no record that can be read. */
  readonly last: RawRecord | undefined
}

/** Creates the function that applies a chunk. */
export const createApplyChunk = (deps: ApplyChunkDependencies) => {
  const { positions, lookahead, writer, pauses, metrics, logger } = deps
  const warnMoved = createThrottledLog((fields) =>
    logger.warn(
      { event: 'rewound', ...fields },
      'the position in Redis is not the expected position; going back to the position in Redis',
    ),
  )

  const count = (projected: Projected, stored: readonly StoreOutcome[], last: RawRecord | undefined) => {
    for (const outcome of stored) metrics.events.inc({ outcome })
    if (projected.stale > 0) metrics.events.inc({ outcome: 'stale' }, projected.stale)
    if (projected.duplicate > 0) metrics.events.inc({ outcome: 'duplicate' }, projected.duplicate)
    if (projected.poison.length > 0) metrics.events.inc({ outcome: 'quarantined' }, projected.poison.length)
    for (const { reason } of projected.poison) metrics.quarantined.inc({ reason })
    if (last) metrics.freshnessSeconds.observe(Math.max(0, Date.now() - Number(last.timestamp)) / 1000)
  }

  /**
   * Returns true if the records are in quarantine. If not, pauses the partition until the records
   * are stored.
   */
  const putIntoQuarantine = (batch: FetchedBatch, poison: readonly OutgoingRecord[]): Promise<boolean> =>
    pauses.sendOrPause(batch, {
      what: 'quarantine',
      offsets: poison.map(({ headers }) => headers?.[QUARANTINE_HEADERS.offset] ?? ''),
      send: () => sendToQuarantine(deps.quarantine.send, poison),
    })

  /**
   * Quarantines and stores a chunk, and moves the position from `from` to `next`.
   * @returns true if the chunk is done. False if the partition is paused, the position was not
   *   `from`, or the work was aborted.
   */
  return async (
    batch: FetchedBatch,
    { projected, quarantined, last }: Chunk,
    from: string,
    next: string,
  ): Promise<boolean> => {
    const { partition, signal, highWatermark } = batch
    const expected = positions.expected(partition)
    // The position may have been reloaded since the fetch.
    if (expected !== from) return false
    const measured = metrics.chunkSeconds.startTimer()
    if (quarantined.length > 0 && !(await putIntoQuarantine(batch, quarantined))) return false
    const stateTopicId = positions.stateTopicId(partition)
    const options = { oldest: positions.oldest(partition), window: lookahead.window(partition), stateTopicId }
    const done = await writer.write(batch, projected.newest, expected, next, options, async (late, pause) => {
      if (late.moved) count(projected, late.stored, last)
      await deps.onLate(partition, late, pause)
    })
    if (!done) return false
    // Count the chunk even if this process has lost the partition. The position has moved, so no
    // process will read these records again.
    if (done.moved) {
      count(projected, done.stored, last)
      measured()
    }
    // If a new assignment has begun during the write, this chunk must not overwrite the positions
    // of the new assignment. If the state topic was created again during the write, the documents
    // may be in the deleted topic.
    if (signal.aborted || positions.expected(partition) !== expected) return false
    if (positions.stateTopicId(partition) !== stateTopicId) return false
    if (!done.moved) {
      warnMoved({ partition, expected })
      metrics.rewinds.inc()
      await positions.reload(partition, signal)
      return false
    }
    deps.senderWatch.note(projected.newest)
    pauses.end(partition)
    deps.blocked.unblock(partition)
    positions.moved(partition, next, highWatermark)
    return true
  }
}
