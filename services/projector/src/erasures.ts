/**
 * Executes the erasures of the erasures topic. A customer's erasures and events are in partitions
 * with the same number.
 *
 * Redis stores the position in the erasures topic together with the position of the raw partition.
 * After Redis was emptied or restored, that position is missing or old. The erasures are then
 * executed again before any event of the partition is applied. The erasures are also executed again
 * after the state topic was switched off or created again. The state topic may then lack the
 * tombstones of these erasures.
 *
 * While a partition is filled from the state topic, an erasure only sets the mark of its customer
 * in Redis. No tombstone is published, because the fill may still bring a newer document of the
 * customer. After the fill all erasures are executed again.
 */
import type { Logger } from '@customer-stream/runtime'
import type { FetchedRecord, UnreadableBatch, Watermarks } from '@customer-stream/runtime/kafka'
import { readErasureRecord } from '@customer-stream/schemas'
import type { ChangelogSource } from './changelog-source.ts'
import type { AppliedChunk } from './chunk-store.ts'
import type { ChunkWriter } from './chunk-writer.ts'
import type { PlacedErasure } from './erasure-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { AttemptOnce, RetryThroughOutage } from './outages.ts'
import type { WithErasure } from './partition-locks.ts'
import type { ErasuresPosition } from './position-store.ts'
import type { Store } from './store.ts'

export interface ErasuresDependencies {
  /** The erasures topic. Undefined if erasures are switched off. */
  readonly erasuresSource: Pick<ChangelogSource, 'topicId' | 'watermarks' | 'fetch'> | undefined
  /** The state topic. Undefined if the state topic is switched off. */
  readonly stateSource: Pick<ChangelogSource, 'topicId'> | undefined
  readonly store: Pick<Store, 'erasuresPositions' | 'forgetErasures' | 'writeErasures'>
  readonly writer: Pick<ChunkWriter, 'erase'>
  readonly retryThroughOutage: RetryThroughOutage
  readonly attemptOnce: AttemptOnce
  /** Called after the erasures of a paused partition were executed. Continues the partition. */
  readonly onLate: (partition: number, done: AppliedChunk, pause: AbortSignal) => Promise<void>
  readonly metrics: Pick<ProjectorMetrics, 'erasures' | 'unusableErasures'>
  readonly logger: Pick<Logger, 'info' | 'error'>
}

/**
 * `done`: all erasures are executed. `moved`: another process has moved the position of the raw
 * partition. `waiting`: the work was aborted, the partition is paused or has no leader, or its
 * erasures cannot be read now.
 */
export type Execution = 'done' | 'moved' | 'waiting'

/** A raw partition whose erasures must be executed. */
export interface ErasuresPartition {
  /** Returns the position of the raw partition. Undefined if the position is not known now. */
  readonly position: () => string | undefined
  /** True if the partition is being filled from the state topic. */
  readonly isFilling: boolean
}

export interface Erasures {
  /**
   * Executes the erasures that are in the topic now. Retries until Kafka and Redis answer. There is
   * one exception: if the erasures of a partition cannot be read, the partition is `waiting`
   * immediately and delays no other partition. The caller tries this partition again later.
   */
  execute(
    partitions: ReadonlyMap<number, ErasuresPartition>,
    signal: AbortSignal,
    withErasure: WithErasure,
  ): Promise<ReadonlyMap<number, Execution>>
  /** Like `execute`, but without retries: the map is empty if Kafka or Redis does not answer. */
  executeNew: Erasures['execute']
}

/**
 * Erasures of one partition that are not executed yet: offsets `next` up to, not including, `end`.
 */
interface Pending {
  readonly partition: number
  readonly next: string
  readonly end: string
  /** Executes these erasures, and stores `offset` as the position in the erasures topic. */
  readonly execute: (erasures: readonly PlacedErasure[], offset: string) => Promise<Execution>
  readonly signal: AbortSignal
}

/** Returns the last erasure of each customer. */
const usableErasures = (
  records: readonly FetchedRecord[],
  partition: number,
  { metrics, logger }: Pick<ErasuresDependencies, 'metrics' | 'logger'>,
): PlacedErasure[] => {
  const last = new Map<string, PlacedErasure>()
  for (const record of records) {
    const read = readErasureRecord(record)
    if (read.ok) {
      last.set(read.value.customerUuid, { ...read.value, offset: record.offset })
      continue
    }
    const { reason, detail } = read
    metrics.unusableErasures.inc()
    logger.error(
      { event: 'erasure-unusable', partition, offset: record.offset, reason, detail },
      'a record of the erasures topic is not an erasure; the record was skipped, and no customer was erased',
    )
  }
  return [...last.values()]
}

/** @throws Error if records cannot be read, because the projector must not miss an erasure. */
const assertReadable = (partition: number, unreadable: UnreadableBatch | undefined): void => {
  if (unreadable === undefined) return
  const { offset, nextOffset, error } = unreadable
  const place = `offsets ${offset} to ${BigInt(nextOffset) - 1n} of partition ${partition} of the erasures topic`
  throw new Error(`${place} cannot be read: ${error.message}`)
}

/**
 * Fetches records, beginning at offset `next`. Rejects if Kafka does not return the next records.
 */
const fetchSome = async (
  source: ErasuresDependencies['erasuresSource'],
  { partition, end }: Pick<Pending, 'partition' | 'end'>,
  next: string,
) => {
  const fetched = await source?.fetch(partition, next, end)
  assertReadable(partition, fetched?.unreadable)
  // An answer without records must not count as the end. Otherwise the projector could miss an
  // erasure.
  if (fetched === undefined || BigInt(fetched.nextOffset) <= BigInt(next))
    throw new Error(`Kafka returns no records of partition ${partition} of the erasures topic from offset ${next}`)
  return fetched
}

/** Counts executed erasures. The outcome `stale` means that the customer was kept. */
const count = (
  partition: number,
  { moved, stored }: AppliedChunk,
  offset: string,
  { metrics, logger }: Pick<ErasuresDependencies, 'metrics' | 'logger'>,
): void => {
  if (!moved || stored.length === 0) return
  const kept = stored.filter((outcome) => outcome === 'stale').length
  metrics.erasures.inc(stored.length)
  logger.info(
    { event: 'erased', partition, customers: stored.length - kept, kept, offset },
    'erasures executed; `kept` customers were not erased: they have an event after `erasedAt`, or a later erasure',
  )
}

const warnReplaced = (logger: ErasuresDependencies['logger'], partition: number, before: string, now: string) =>
  logger.error(
    { event: 'erasures-topic-replaced', partition, before, now },
    'the erasures topic was deleted and created again; Redis has the marks of the earlier erasures, but after a ' +
      'loss of Redis the erased customers would come back; write these erasures again',
  )

export const createErasures = (deps: ErasuresDependencies): Erasures => {
  const { erasuresSource: source, stateSource, store, writer, retryThroughOutage, attemptOnce, onLate } = deps
  const { logger } = deps

  const executeAll = async (pending: Pending): Promise<Execution> => {
    const { partition, end, execute, signal } = pending
    for (let { next } = pending; BigInt(next) < BigInt(end); ) {
      const fetched = await attemptOnce('erasures', partition, signal, () => fetchSome(source, pending, next))
      if (!fetched) return 'waiting'
      const erasures = usableErasures(fetched.value.records, partition, deps)
      next = fetched.value.nextOffset
      const execution = await execute(erasures, next)
      if (execution !== 'done') return execution
    }
    return 'done'
  }

  /** Sets the marks of the customers. Publishes no tombstone and stores no position. */
  const markAll = async (partition: number, topicId: string, { low, stable }: Watermarks, signal: AbortSignal) => {
    const execute = async (erasures: readonly PlacedErasure[]) => {
      const done = await retryThroughOutage('Redis', signal, () =>
        store.writeErasures(erasures, partition, low, topicId),
      )
      return done ? 'done' : 'waiting'
    }
    const forgotten = await retryThroughOutage('Redis', signal, () => store.forgetErasures(partition))
    return forgotten ? executeAll({ partition, next: low, end: stable, execute, signal }) : 'waiting'
  }

  const executeBy =
    (retry: RetryThroughOutage): Erasures['execute'] =>
    async (partitions, signal, withErasure) => {
      const numbers = [...partitions.keys()]
      if (source === undefined) return new Map(numbers.map((partition) => [partition, 'done']))
      const positions = await retry('Redis', signal, () => store.erasuresPositions(numbers))
      const found =
        positions &&
        (await retry('erasures', signal, async () => {
          const [topicId, stateTopicId] = [await source.topicId(), await stateSource?.topicId()]
          return { topicId, stateTopicId, stored: positions.value, watermarks: await source.watermarks() }
        }))
      if (!found) return new Map()
      const { topicId, stateTopicId, stored, watermarks } = found.value

      const write =
        (partition: number, positionOf: ErasuresPartition['position']) =>
        (erasures: readonly PlacedErasure[], offset: string) =>
          withErasure(partition, async (): Promise<Execution> => {
            const position = positionOf()
            if (position === undefined) return 'moved'
            const chunk = { erasures, position, executed: { topicId, offset, stateTopicId } }
            const done = await writer.erase({ partition, signal }, chunk, (late, pause) => {
              count(partition, late, offset, deps)
              return onLate(partition, late, pause)
            })
            if (done) count(partition, done, offset, deps)
            return done === undefined ? 'waiting' : done.moved ? 'done' : 'moved'
          })

      const executeOf = async (partition: number, { position, isFilling }: ErasuresPartition): Promise<Execution> => {
        const known = stored.get(partition)
        const marked: ErasuresPosition | undefined = known?.topicId === topicId ? known : undefined
        if (known && marked === undefined) warnReplaced(logger, partition, known.topicId, topicId)
        const hasTombstones = stateTopicId === undefined || marked?.stateTopicId === stateTopicId
        const marks = watermarks.get(partition)
        // The partition of the erasures topic has no leader. If the position in this topic is
        // stored, Redis has the marks of all earlier erasures, so events may be applied.
        if (marks === undefined) return marked && !isFilling ? 'done' : 'waiting'
        if (isFilling) return markAll(partition, topicId, marks, signal)
        const { low, stable: end } = marks
        const executed = hasTombstones ? marked : undefined
        const isWithin = executed && BigInt(executed.offset) >= BigInt(low) && BigInt(executed.offset) <= BigInt(end)
        const execute = write(partition, position)
        // Store the position for an empty topic too, because a stored position means that no mark
        // is missing.
        if (!isWithin && low === end) return execute([], low)
        return executeAll({ partition, next: isWithin ? executed.offset : low, end, execute, signal })
      }

      const executions = [...partitions].map(
        async ([partition, each]) => [partition, await executeOf(partition, each)] as const,
      )
      return new Map(await Promise.all(executions))
    }

  return {
    execute: executeBy(retryThroughOutage),
    // Tolerate one failure, because no event waits for new erasures. One failure is normal when a
    // partition gets another leader.
    executeNew: executeBy((what, signal, attempt) => attemptOnce(what, 'topic', signal, attempt, 1)),
  }
}
