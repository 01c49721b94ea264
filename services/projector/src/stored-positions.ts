/**
 * Replaces positions in Redis from which the projector cannot continue. A position may be missing,
 * below the oldest record, above the newest record, or within a lookahead's window. The state topic
 * may also lack documents of events before the position.
 */
import type { Logger, Obstacles } from '@customer-stream/runtime'
import type { PartitionConsumer, TopicIdentity, Watermarks } from '@customer-stream/runtime/kafka'
import type { ChangelogSource } from './changelog-source.ts'
import { type ClaimOptions, createClaim } from './claim-positions.ts'
import type { Fill, FillStore } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { PositionStore } from './position-store.ts'
import { createRepair, isOffset, proofOf } from './repair-positions.ts'

export interface StoredPositionsDependencies {
  readonly store: Pick<
    PositionStore,
    'positions' | 'publishedPositions' | 'unfinishedWindows' | 'forgetWindow' | 'movePosition' | 'claimPositions'
  >
  readonly consumer: Pick<PartitionConsumer, 'committed' | 'watermarks'>
  /** Reads the ids of the cluster and of the topic from Kafka. Rejects in an outage. */
  readonly readIdentity: () => Promise<TopicIdentity>
  /** Undefined if the state topic is switched off. */
  readonly stateSource: Pick<ChangelogSource, 'topicId' | 'watermarks'> | undefined
  readonly fillStore: Pick<FillStore, 'fills' | 'beginFill' | 'endFill'>
  /**
   * Called if a stored position was within a lookahead's window. `end` is the end of the window.
   */
  readonly onLeave: (partition: number, end: string) => void
  readonly obstacles: Pick<Obstacles, 'report'>
  readonly metrics: Pick<ProjectorMetrics, 'lostRecords' | 'rewinds'>
  readonly logger: Logger
}

/**
 * Positions, watermarks and fills of some partitions. A partition without a leader has no
 * watermarks.
 */
export interface FoundPositions {
  /** Undefined if the state topic is switched off. */
  readonly stateTopicId: string | undefined
  /** Metadata for the offsets that are committed. */
  readonly proof: string
  readonly stored: ReadonlyMap<number, string | undefined>
  readonly watermarks: ReadonlyMap<number, Watermarks>
  /** The partitions that are being filled from the state topic. */
  readonly fills: ReadonlyMap<number, Fill>
}

export interface StoredPositions {
  /** Compares the ids of cluster and topic with the stored ids. See {@link createClaim}. */
  readonly claim: ReturnType<typeof createClaim>
  /**
   * Replaces the positions that are not usable, then returns all positions. Rejects in an outage.
   */
  read(partitions: readonly number[]): Promise<FoundPositions>
}

export const createStoredPositions = (deps: StoredPositionsDependencies, options: ClaimOptions): StoredPositions => {
  const { store, consumer, stateSource, fillStore, onLeave, metrics, logger } = deps
  const claim = createClaim(deps, options)
  const repair = createRepair(deps, options.topic)

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
      if (BigInt(to) < BigInt(position) && !(await store.movePosition(partition, position, to))) continue
      await store.forgetWindow(partition)
      onLeave(partition, end)
    }
    return windows.size > 0
  }

  /**
   * Moves each position back to the offset up to which the state topic has all documents. This
   * offset is lower than the position in two cases: the state topic is new, or a projector without
   * a state topic has moved the position.
   * @returns true if a position was moved, here or by a chunk that was written at the same time.
   *   The documents of that chunk may be in the earlier state topic, so the position goes back,
   *   too.
   */
  const goBackToPublished = async (
    stateTopicId: string | undefined,
    stored: ReadonlyMap<number, string | undefined>,
    watermarks: ReadonlyMap<number, Watermarks>,
  ) => {
    if (stateTopicId === undefined) return false
    const published = await store.publishedPositions([...stored.keys()])
    const seen: object[] = []
    let areRecordsGone = false
    let isMovedMeanwhile = false
    for (const [partition, position] of stored) {
      const low = watermarks.get(partition)?.low
      if (!isOffset(position) || low === undefined) continue
      const known = published.get(partition)
      const complete = known?.stateTopicId === stateTopicId ? known.offset : '0'
      const isGone = BigInt(complete) < BigInt(low)
      const to = isGone ? low : complete
      if (BigInt(to) >= BigInt(position)) continue
      if (!(await store.movePosition(partition, position, to))) {
        isMovedMeanwhile = true
        continue
      }
      seen.push({ partition, position, to })
      areRecordsGone ||= isGone
    }
    if (seen.length > 0)
      logger.warn(
        { event: 'state-incomplete', topic: options.topic, seen },
        'the state topic lacks documents of applied events; the events that Kafka still has are applied again' +
          (areRecordsGone
            ? '. Kafka has deleted older events, so the state topic lacks each customer without a later event'
            : ''),
      )
    return seen.length > 0 || isMovedMeanwhile
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

  const read: StoredPositions['read'] = async (partitions) => {
    const { deleted, identity } = await claim()
    metrics.rewinds.inc(deleted)
    const stateTopicId = await stateSource?.topicId()
    // Read the watermarks after the positions. In the other order, the previous owner of a
    // partition could move its position past the end that was read.
    const found = await store.positions(partitions)
    const watermarks = await consumer.watermarks()
    await repair(found, watermarks, identity, stateTopicId)
    for (;;) {
      const stored = await store.positions(partitions)
      // The previous owner may still enter a window after this check. The previous owner then also
      // moves the position. So the next chunk of this process finds a wrong position and reads the
      // position again.
      if (await leaveWindows(partitions, watermarks)) continue
      if (await goBackToPublished(stateTopicId, stored, watermarks)) continue
      const fills = await fillStore.fills(partitions)
      if (await dropFills(stateTopicId, fills, watermarks)) continue
      return { stateTopicId, proof: proofOf(identity.topicId, stateTopicId), stored, watermarks, fills }
    }
  }

  return { claim, read }
}
