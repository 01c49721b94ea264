/**
 * Replaces a position in Redis that Kafka cannot serve: the position is missing, below the oldest
 * record, or above the newest record. If the state topic has the documents of earlier events, the
 * partition is filled from the state topic.
 */
import type { Logger } from '@customer-stream/runtime'
import type { PartitionConsumer, TopicIdentity, Watermarks } from '@customer-stream/runtime/kafka'
import { type ChangelogSource, NO_ID } from './changelog-source.ts'
import type { FillStore } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { PositionStore } from './position-store.ts'

export interface RepairDependencies {
  readonly store: Pick<PositionStore, 'movePosition'>
  readonly consumer: Pick<PartitionConsumer, 'committed'>
  /** Undefined if the state topic is switched off. */
  readonly stateSource: Pick<ChangelogSource, 'watermarks'> | undefined
  readonly fillStore: Pick<FillStore, 'beginFill'>
  readonly metrics: Pick<ProjectorMetrics, 'lostRecords' | 'rewinds'>
  readonly logger: Logger
}

/** A position that Kafka cannot serve, and the watermarks of its partition. */
interface BadPosition {
  readonly partition: number
  readonly stored: string | undefined
  readonly marks: Watermarks
}

export const isOffset = (stored: string | undefined): stored is string => stored !== undefined && /^\d+$/.test(stored)

export const isBelow = (stored: string | undefined, low: string): boolean =>
  isOffset(stored) && BigInt(stored) < BigInt(low)

/**
 * Returns the metadata of a committed offset: `raw topic id/state topic id`. The commit means that
 * this state topic has the documents of all events before the offset in this raw topic. Empty if an
 * id is unknown. Without both ids, a topic that was deleted and created again could not be
 * recognised.
 */
export const proofOf = (topicId: string | undefined, stateTopicId: string | undefined): string =>
  topicId === undefined || stateTopicId === undefined || stateTopicId === NO_ID ? '' : `${topicId}/${stateTopicId}`

/** Creates the function that replaces positions. The function rejects in an outage. */
export const createRepair = (
  { store, consumer, stateSource, fillStore, metrics, logger }: RepairDependencies,
  topic: string,
) => {
  /** Reads the watermarks of the state topic and the committed offsets, for `beginFill`. */
  const readState = async ({ topicId }: TopicIdentity, stateTopicId: string | undefined) => {
    if (stateSource === undefined || stateTopicId === undefined) return undefined
    const [ends, published] = await Promise.all([stateSource.watermarks(), consumer.committed()])
    return { stateTopicId, proof: proofOf(topicId, stateTopicId), ends, published }
  }

  /**
   * Begins to fill a partition from the state topic, in two cases:
   * - The state topic has the documents of all events before a committed offset.
   * - Kafka has deleted raw records.
   * Otherwise does nothing, because the raw topic has all events.
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
      stateTopicId: state.stateTopicId,
      next: ends.low,
      end: ends.high,
      ...start,
    })
    return start
  }

  /** Replaces a position that Kafka cannot serve. */
  const repair = async (
    { partition, stored, marks }: BadPosition,
    state: Awaited<ReturnType<typeof readState>>,
  ): Promise<void> => {
    const { low, high } = marks
    const tooLow = isBelow(stored, low)
    const tooHigh = isOffset(stored) && BigInt(stored) > BigInt(high)
    const start = tooHigh ? { rawFrom: low, isComplete: false } : await beginFill(partition, marks, state)
    if (start === undefined) return
    // Store a first position before any event is applied. Without a stored position, a Redis that
    // was emptied later would look like a new Redis.
    if (!(await store.movePosition(partition, stored, start.rawFrom))) return
    if (stored === undefined) {
      if (!start.isComplete && low !== '0')
        logger.warn(
          { event: 'oldest-records-gone', topic, partition, low },
          'Redis has no position, and Kafka no longer has the oldest records of this partition; ' +
            'a customer whose events were all deleted is in Redis only if the state topic has its document',
        )
      return
    }
    if (tooLow && start.isComplete) return
    const seen = { topic, partition, stored, low, high }
    if (tooLow) {
      metrics.lostRecords.inc(Number(BigInt(low) - BigInt(stored)))
      logger.error(
        { event: 'records-lost', ...seen },
        'Kafka deleted records before they were applied; the partition continues at its oldest record',
      )
    } else {
      metrics.rewinds.inc()
      logger.error(
        { event: 'rewound', ...seen },
        'the position in Redis is not a valid offset of the partition; applying the partition from its oldest record',
      )
    }
  }

  return async (
    found: ReadonlyMap<number, string | undefined>,
    watermarks: ReadonlyMap<number, Watermarks>,
    identity: TopicIdentity,
    stateTopicId: string | undefined,
  ): Promise<void> => {
    const bad = [...found].flatMap(([partition, stored]): BadPosition[] => {
      const marks = watermarks.get(partition)
      const isGood = marks && isOffset(stored) && !isBelow(stored, marks.low) && BigInt(stored) <= BigInt(marks.high)
      return marks === undefined || isGood ? [] : [{ partition, stored, marks }]
    })
    if (bad.length === 0) return
    const state = await readState(identity, stateTopicId)
    for (const each of bad) await repair(each, state)
  }
}
