/**
 * Pauses single partitions. kafkajs fetches again only after all partitions of the last fetch are
 * done. Without a pause, a partition that waits would therefore delay all other partitions.
 */
import type { FetchedBatch, PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'

/** A pause of one partition. */
export interface Pause {
  /** Aborts when the pause ends. */
  readonly signal: AbortSignal
  end(): void
}

/** Records that another topic must store before the position of the partition moves. */
export interface Output {
  /** Name of the resource in logs and metrics. */
  readonly what: 'quarantine' | 'state'
  /** Offsets of the raw records for which `isSent` returns true after the pause. Default: none. */
  readonly offsets?: readonly string[]
  /** @param signal aborts when no further attempt is made. */
  readonly send: (signal: AbortSignal) => Promise<void>
  /**
   * If `sendOrPause` has returned false, it calls this function at the end of its attempts. The
   * partition continues when the promise settles.
   * @param pause aborts when the pause ends. Undefined if the pause has ended, or if the attempts
   *   were aborted. It is then unknown whether the records are stored.
   */
  readonly onLate?: (pause: AbortSignal | undefined) => Promise<void>
}

export interface Pauses {
  has(partition: number): boolean
  isPaused(partition: number): boolean
  /** Pauses a partition. Ends an earlier pause of this partition. */
  begin(partition: number): Pause
  end(partition: number): void
  endAll(): void
  /** Returns true if the output of this record was stored during a pause of the partition. */
  isSent(partition: number, offset: string): boolean
  /**
   * Sends records and waits PATIENCE_MS for the result. If the send takes longer, pauses the
   * partition until the records are stored. The partition is then fetched again.
   * @returns true if the records are stored. False if the partition is paused or the signal
   *   aborted.
   */
  sendOrPause(batch: Pick<FetchedBatch, 'partition' | 'signal'>, output: Output): Promise<boolean>
}

/**
 * A fetch waits at most this time until the records are stored. After this time the partition is
 * paused, and the fetch continues with the other partitions.
 */
const PATIENCE_MS = 500

export const createPauses = ({
  consumer,
  retryThroughOutage,
  metrics,
  startPatience = () => {
    const { promise: over, resolve } = Promise.withResolvers<undefined>()
    const timer = setTimeout(resolve, PATIENCE_MS, undefined)
    return { over, end: () => clearTimeout(timer) }
  },
}: {
  readonly consumer: Pick<PartitionConsumer, 'pause'>
  readonly retryThroughOutage: RetryThroughOutage
  readonly metrics: Pick<ProjectorMetrics, 'pausedPartitions'>
  /**
   * Starts the time for which a fetch waits for records. `end` aborts no signal, because an abort
   * takes 40 µs: it creates two errors with stack traces.
   */
  readonly startPatience?: () => { readonly over: Promise<undefined>; end(): void }
}): Pauses => {
  const pauses = new Map<number, Pause & { readonly sent: Set<string> }>()

  const end = (partition: number) => {
    pauses.get(partition)?.end()
    pauses.delete(partition)
    metrics.pausedPartitions.set(pauses.size)
  }
  const begin = (partition: number) => {
    const sent = pauses.get(partition)?.sent ?? new Set<string>()
    end(partition)
    const resume = consumer.pause(partition)
    const ended = new AbortController()
    const pause = {
      signal: ended.signal,
      sent,
      end: () => {
        ended.abort()
        resume()
      },
    }
    pauses.set(partition, pause)
    metrics.pausedPartitions.set(pauses.size)
    return pause
  }

  return {
    has: (partition) => pauses.has(partition),
    isPaused: (partition) => pauses.get(partition)?.signal.aborted === false,
    begin,
    end,
    endAll: () => {
      for (const partition of pauses.keys()) end(partition)
    },
    isSent: (partition, offset) => pauses.get(partition)?.sent.has(offset) ?? false,
    sendOrPause: async ({ partition, signal }, { what, offsets = [], send, onLate }) => {
      const ended = new AbortController()
      const patience = startPatience()
      const attempts = AbortSignal.any([signal, ended.signal])
      const sent = retryThroughOutage(what, attempts, () => send(attempts))
      const done = await Promise.race([sent, patience.over])
      patience.end()
      if (done) return true
      const pause = signal.aborted ? undefined : begin(partition)
      pause?.signal.addEventListener('abort', () => ended.abort())
      void sent.then(async (late) => {
        const isOver = () => !late || pause === undefined || pause.signal.aborted
        await onLate?.(isOver() ? undefined : pause?.signal)
        if (isOver()) return
        for (const offset of offsets) pause?.sent.add(offset)
        pause?.end()
      })
      return false
    },
  }
}
