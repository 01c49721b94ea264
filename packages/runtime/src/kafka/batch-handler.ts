/**
 * Hands the batches of kafkajs to the caller. During a batch, sends heartbeats and watches whether
 * the partition is lost.
 */
import type { Batch, EachBatchPayload } from 'kafkajs'
import { unreadableOf } from './patches/fetch.ts'
import type { UnreadableBatch } from './record-batches.ts'

/** Record as Kafka stores it. */
export interface FetchedRecord {
  readonly offset: string
  /** Unix milliseconds, as a decimal number. */
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** If a header's name occurs more than once, the values are in an array. */
  readonly headers?: Readonly<Record<string, Buffer | string | (Buffer | string)[] | undefined>>
}

/** Records of one partition from one fetch. */
export interface FetchedBatch {
  readonly partition: number
  /**
   * Offset that this fetch requested. The caller compares this offset with the expected position.
   */
  readonly fetchedFrom: string
  readonly records: readonly FetchedRecord[]
  /**
   * Offset of the next fetch. This offset can be greater than the last record's offset + 1, because
   * `records` has no control records and no records of aborted transactions.
   */
  readonly nextOffset: string
  /**
   * Batch at `fetchedFrom` that cannot be decoded. If this batch is defined, `records` is empty.
   */
  readonly unreadable?: UnreadableBatch
  readonly highWatermark: string
  /**
   * Aborts if another member may have the partition now, if a seek has made this batch stale, or if
   * the consumer stops. Work that continues after the abort must be harmless.
   */
  readonly signal: AbortSignal
}

export interface BatchHandlerOptions {
  readonly topic: string
  readonly heartbeatIntervalMs: number
  /**
   * Handles a batch. The batches of one partition are handled in order. Must not throw: an error
   * counts as a bug and ends the process.
   * @returns the next offset to fetch, or undefined if the batch was aborted or a seek was made.
   */
  readonly onBatch: (batch: FetchedBatch) => Promise<string | undefined>
  /**
   * Called if the consumer has ended and cannot be restarted. The process must then exit, so that
   * its supervisor starts a new process.
   */
  readonly onDead: (error: Error) => void
}

/**
 * Heartbeat errors after which a member must join again. After any other error kafkajs continues,
 * e.g. after a lost connection, or while a coordinator loads the group.
 */
const lostBy: ReadonlySet<string | undefined> = new Set([
  'REBALANCE_IN_PROGRESS',
  'UNKNOWN_MEMBER_ID',
  'ILLEGAL_GENERATION',
  'NOT_COORDINATOR_FOR_GROUP',
])
const saysPartitionIsLost = (error: unknown): boolean => lostBy.has((error as { type?: string }).type)

/** Returns the offset that the fetch requested. kafkajs does not declare this property. */
const fetchedFrom = (batch: Batch): string => (batch as Batch & { readonly fetchedOffset: string }).fetchedOffset

const after = (offset: string): string => String(BigInt(offset) + 1n)

/** @param onAlive called for each activity of the consumer. */
export const createBatchHandler = (options: BatchHandlerOptions, onAlive: () => void) => {
  const { topic } = options
  const underWay = new Set<AbortController>()
  const eachBatch = async ({
    batch,
    heartbeat,
    resolveOffset,
    isRunning,
    isStale,
  }: EachBatchPayload): Promise<void> => {
    if (!isRunning() || isStale()) return
    const lost = new AbortController()
    underWay.add(lost)
    // kafkajs sends heartbeats only between batches. During a long wait for Redis the group would
    // remove this member.
    const beat = setInterval(() => {
      if (!isRunning() || isStale()) return lost.abort()
      heartbeat().then(onAlive, (error: unknown) => saysPartitionIsLost(error) && lost.abort())
    }, options.heartbeatIntervalMs / 3)
    const unreadable = unreadableOf(batch)
    try {
      const next = await options.onBatch({
        partition: batch.partition,
        fetchedFrom: fetchedFrom(batch),
        records: batch.messages,
        nextOffset: after(batch.lastOffset()),
        ...(unreadable && { unreadable }),
        highWatermark: batch.highWatermark,
        signal: lost.signal,
      })
      if (next !== undefined) resolveOffset(String(BigInt(next) - 1n))
    } catch (error) {
      // Do not rethrow the error. After a TypeError kafkajs would end the consumer but not the
      // process. After any other error kafkajs would retry forever.
      const place = `${topic}/${batch.partition} from offset ${fetchedFrom(batch)}`
      options.onDead(new Error(`${place}: ${(error as Error).message}`, { cause: error }))
    } finally {
      clearInterval(beat)
      underWay.delete(lost)
      onAlive()
    }
  }

  return {
    eachBatch,
    /** Aborts the signal of each batch that is being handled. */
    abortAll: () => {
      for (const batch of underWay) batch.abort()
    },
  }
}
