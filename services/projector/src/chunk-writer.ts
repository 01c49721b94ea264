/**
 * Writes a chunk in this order: customers to Redis, their documents to the state topic, then the
 * position. If there are no documents to publish, Redis gets customers and position in one call.
 *
 * The outcome of an event decides what is published. `applied` and `duplicate`: the document.
 * `erased`: a tombstone. `stale`: nothing. After a crash between Redis and the state topic, the
 * chunk is applied again. Its events are then duplicates, so their documents are still published.
 *
 * An erasure is written as a chunk without records, in the same order.
 *
 * A projector may lose its partition and not notice. Such a late projector may publish an old
 * document after the new owner has published a newer one. But a chunk of the new owner has replaced
 * the token in Redis, so the late projector cannot move the position forward. Instead, it moves the
 * position back to the start of its chunk. The new owner then applies these records again and
 * publishes current documents.
 */
import { answerOf, type Logger } from '@customer-stream/runtime'
import type { FetchedBatch, OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { traceContextOf } from '@customer-stream/schemas'
import type { AppliedChunk, ChunkOptions, WrittenChunk } from './chunk-store.ts'
import type { PlacedErasure } from './erasure-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import type { Pauses } from './pauses.ts'
import { type ErasuresPosition, LostChunkError } from './position-store.ts'
import type { NewestCustomer } from './project.ts'
import type { StoreOutcome } from './snapshot-calls.ts'
import type { Store } from './store.ts'

export interface ChunkWriterDependencies {
  readonly store: Pick<Store, 'applyChunk' | 'writeChunk' | 'writeErasures' | 'moveAfter' | 'lowerPosition'>
  /** Sends to the state topic. Undefined if the state topic is switched off. */
  readonly state: Pick<VerifiedProducer, 'send'> | undefined
  readonly pauses: Pick<Pauses, 'sendOrPause'>
  readonly retryThroughOutage: RetryThroughOutage
  readonly metrics: Pick<ProjectorMetrics, 'stateRecords' | 'stateRepairs'>
  readonly logger: Pick<Logger, 'warn'>
}

/** Erasures of the customers of one raw partition. */
export interface ErasuresChunk {
  /** The last erasure of each customer. */
  readonly erasures: readonly PlacedErasure[]
  /** Position of the raw partition. The erasures do not move this position. */
  readonly position: string
  /** Position in the erasures topic after these erasures. */
  readonly executed: ErasuresPosition
}

/**
 * Called at the end of a pause. `moved` is false if the position in Redis is not the expected
 * position. The partition continues when the promise settles.
 */
type OnLate = (done: AppliedChunk, pause: AbortSignal) => Promise<void>

export interface ChunkWriter {
  /**
   * Writes a chunk and moves the position from `from` to `to`. Retries during outages.
   * @returns undefined if the work was aborted, or if the partition is paused.
   */
  write(
    batch: Pick<FetchedBatch, 'partition' | 'signal'>,
    newest: readonly NewestCustomer[],
    from: string,
    to: string,
    options: ChunkOptions,
    onLate: OnLate,
  ): Promise<AppliedChunk | undefined>
  /**
   * Erases customers. Retries during outages.
   * @returns undefined if the work was aborted, or if the partition is paused. `moved` is false if
   *   the position in Redis is not the position of the chunk.
   */
  erase(
    batch: Pick<FetchedBatch, 'partition' | 'signal'>,
    chunk: ErasuresChunk,
    onLate: OnLate,
  ): Promise<AppliedChunk | undefined>
  /** Returns true while the position of a partition is being moved at the end of a pause. */
  isFinishing(partition: number): boolean
  /**
   * Waits a moment for documents that are not stored yet, and for positions that are being moved
   * back.
   */
  stop(): Promise<void>
}

const MAX_STOP_MS = 2000

const stateRecord = ({ customerUuid, document = '', record }: NewestCustomer, topic: string): OutgoingRecord => {
  const trace = traceContextOf(record.headers)
  return {
    topic,
    key: Buffer.from(customerUuid),
    value: Buffer.from(document),
    timestamp: Number(record.timestamp),
    ...(trace && { headers: { ...trace } }),
  }
}

const tombstone = (customerUuid: string, topic: string, timestamp: number): OutgoingRecord => ({
  topic,
  key: Buffer.from(customerUuid),
  value: null,
  timestamp,
})

/** Returns the records that a chunk publishes, given the outcome of each customer. */
const recordsOfChunk = (
  newest: readonly NewestCustomer[],
  stored: readonly StoreOutcome[],
  topic: string,
): OutgoingRecord[] =>
  newest.flatMap((customer, i) => {
    if (stored[i] === 'stale') return []
    return stored[i] === 'erased'
      ? [tombstone(customer.customerUuid, topic, Number(customer.record.timestamp))]
      : [stateRecord(customer, topic)]
  })

const recordsOfErasures = (
  erasures: readonly PlacedErasure[],
  stored: readonly StoreOutcome[],
  topic: string,
): OutgoingRecord[] =>
  erasures.flatMap(({ customerUuid, erasure }, i) =>
    // Use a timestamp that is not in the future. Kafka may refuse a future timestamp, or compact
    // the segment of the record too late.
    stored[i] === 'erased' ? [tombstone(customerUuid, topic, Math.min(erasure.erasedAt, Date.now()))] : [],
  )

const lostIsFalse = (error: unknown): false => {
  if (error instanceof LostChunkError) return false
  throw error
}

/**
 * The steps that differ between a chunk of records and a chunk of erasures, in the order in which
 * they run.
 */
interface Steps {
  /** Writes to Redis, and stores a token. */
  readonly write: () => Promise<WrittenChunk>
  /** Returns the records for the state topic. */
  readonly recordsOf: (stored: readonly StoreOutcome[]) => readonly OutgoingRecord[]
  /** Moves the position. Rejects with LostChunkError if the token is no longer stored. */
  readonly move: (token: string) => Promise<boolean>
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share the running work
export const createChunkWriter = (deps: ChunkWriterDependencies, stateTopic: string | undefined): ChunkWriter => {
  const { store, state, pauses, retryThroughOutage, metrics, logger } = deps
  const stopping = new AbortController()
  const running = new Set<Promise<unknown>>()
  const finishing = new Set<number>()
  const track = <T>(work: Promise<T>): Promise<T> => {
    running.add(work)
    void work.finally(() => running.delete(work))
    return work
  }

  const moveBack = (partition: number, from: string): void => {
    const repair = async () => {
      if (!(await store.lowerPosition(partition, from))) return
      metrics.stateRepairs.inc()
      logger.warn(
        { event: 'state-repaired', partition, offset: from },
        'this projector published documents of a partition that another projector owns; ' +
          'the owner applies the records again from this offset',
      )
    }
    void track(retryThroughOutage('Redis', stopping.signal, repair))
  }

  const writeAndPublish = async (
    batch: Pick<FetchedBatch, 'partition' | 'signal'>,
    from: string,
    { write, recordsOf, move }: Steps,
    onLate: OnLate,
  ): Promise<AppliedChunk | undefined> => {
    const { partition, signal } = batch
    /** True if the state topic may have documents of this chunk. */
    let mayBePublished = false
    let isLate = false
    const attempt = async (): Promise<AppliedChunk | undefined> => {
      const written = await write()
      if (!written.isInPlace) return { moved: false, stored: [] }
      const { stored } = written
      let { token } = written
      let records = recordsOf(stored)
      const late = Promise.withResolvers<void>()
      /** Moves the position at the end of a pause, if no other chunk has replaced the token. */
      const finish = async (pause: AbortSignal | undefined) => {
        finishing.add(partition)
        const moved = pause && (await retryThroughOutage('Redis', pause, () => move(token).catch(lostIsFalse)))
        if (!moved?.value && mayBePublished) moveBack(partition, from)
        if (pause && moved) await onLate({ moved: moved.value, stored }, pause)
        finishing.delete(partition)
        late.resolve()
      }
      const isStored =
        records.length === 0 ||
        (await pauses.sendOrPause(batch, {
          what: 'state',
          send: async (attempts) => {
            // Kafka may have refused the documents because another projector has the partition now.
            // Kafka would accept the documents in a further attempt, because each attempt gets a
            // new epoch. So first write the chunk again, which shows whether another projector has
            // moved the position.
            if (mayBePublished) {
              const again = await retryThroughOutage('Redis', attempts, write)
              if (!again) return attempts.throwIfAborted()
              if (again.value.isInPlace) token = again.value.token
              records = again.value.isInPlace ? recordsOf(again.value.stored) : []
            }
            mayBePublished = true
            await state?.send(records)
            metrics.stateRecords.inc(records.length)
          },
          onLate: finish,
        }))
      if (!isStored) {
        isLate = true
        void track(late.promise)
        return undefined
      }
      return { moved: await move(token), stored }
    }
    const done = await retryThroughOutage('Redis', signal, attempt)
    if (mayBePublished && !isLate && !done?.value?.moved) moveBack(partition, from)
    return done?.value
  }

  return {
    write: async (batch, newest, from, to, options, onLate) => {
      const { partition, signal } = batch
      const isPublished = options.stateTopicId !== undefined && newest.length > 0
      if (state === undefined || stateTopic === undefined || !isPublished) {
        const done = await retryThroughOutage('Redis', signal, () =>
          store.applyChunk(newest, partition, from, to, options),
        )
        return done?.value
      }
      const steps: Steps = {
        write: () => store.writeChunk(newest, partition, from, to, options),
        recordsOf: (stored) => recordsOfChunk(newest, stored, stateTopic),
        move: (token) => store.moveAfter(partition, from, to, token, options),
      }
      return writeAndPublish(batch, from, steps, onLate)
    },
    erase: (batch, { erasures, position, executed }, onLate) => {
      const { partition } = batch
      const steps: Steps = {
        write: () => store.writeErasures(erasures, partition, position, executed.topicId),
        recordsOf: (stored) => (stateTopic === undefined ? [] : recordsOfErasures(erasures, stored, stateTopic)),
        move: (token) => store.moveAfter(partition, position, position, token, { erasures: executed }),
      }
      return writeAndPublish(batch, position, steps, onLate)
    },
    isFinishing: (partition) => finishing.has(partition),
    stop: async () => {
      const untilDone = async () => {
        while (running.size > 0) await Promise.all(running)
      }
      await answerOf(untilDone, MAX_STOP_MS).catch(() => undefined)
      stopping.abort()
    },
  }
}
