/**
 * Pauses partitions one by one. kafkajs fetches again only when all partitions of the last fetch are
 * done. So a partition that waits would delay all others. A paused partition is not fetched.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FetchedBatch, PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'

/** A pause of one partition. */
export interface Hold {
  /** Aborts when the pause ends. */
  readonly signal: AbortSignal
  end(): void
}

/** Records for another topic that a partition must not pass before they are stored. */
export interface Output {
  /** Name of the resource in logs and metrics. */
  readonly what: 'quarantine' | 'state'
  /** Offsets of the records that they were made from. */
  readonly offsets: readonly string[]
  readonly send: () => Promise<void>
  /** Called if they are stored after `sendOrHold` returned false. */
  readonly onLate?: () => void
}

export interface Holds {
  has(partition: number): boolean
  /** Pauses a partition. A pause that it had ends. */
  begin(partition: number): Hold
  end(partition: number): void
  endAll(): void
  /** Returns true if the output of this record was stored during a pause of the partition. */
  isSent(what: Output['what'], partition: number, offset: string): boolean
  /** Returns true if any output of this kind was stored during a pause of the partition. */
  hasSent(what: Output['what'], partition: number): boolean
  /**
   * Sends records and waits for a moment. If it takes longer, pauses the partition until they are
   * stored. The partition is then fetched again, and `isSent` says what is done.
   * @returns true if they are stored.
   */
  sendOrHold(batch: Pick<FetchedBatch, 'partition' | 'signal'>, output: Output): Promise<boolean>
}

/** Maximum time that a fetch waits for the records. After this time only the partition waits. */
const PATIENCE_MS = 500

export const createHolds = ({
  consumer,
  retryThroughOutage,
  metrics,
  wait = (signal) => sleep(PATIENCE_MS, undefined, { signal }),
}: {
  readonly consumer: Pick<PartitionConsumer, 'hold'>
  readonly retryThroughOutage: RetryThroughOutage
  readonly metrics: Pick<ProjectorMetrics, 'heldPartitions'>
  /** Returns the time that a fetch waits for records. Rejects if the signal aborts. */
  readonly wait?: (signal: AbortSignal) => Promise<void>
}): Holds => {
  const holds = new Map<number, Hold & { readonly sent: Set<string> }>()
  const nameOf = (what: Output['what'], offset: string) => `${what}/${offset}`

  const end = (partition: number) => {
    holds.get(partition)?.end()
    holds.delete(partition)
    metrics.heldPartitions.set(holds.size)
  }
  const begin = (partition: number) => {
    const sent = holds.get(partition)?.sent ?? new Set<string>()
    end(partition)
    const goOn = consumer.hold(partition)
    const ended = new AbortController()
    const held = {
      signal: ended.signal,
      sent,
      end: () => {
        ended.abort()
        goOn()
      },
    }
    holds.set(partition, held)
    metrics.heldPartitions.set(holds.size)
    return held
  }

  return {
    has: (partition) => holds.has(partition),
    begin,
    end,
    endAll: () => {
      for (const partition of holds.keys()) end(partition)
    },
    isSent: (what, partition, offset) => holds.get(partition)?.sent.has(nameOf(what, offset)) ?? false,
    hasSent: (what, partition) =>
      holds
        .get(partition)
        ?.sent.values()
        .some((name) => name.startsWith(`${what}/`)) ?? false,
    sendOrHold: async ({ partition, signal }, { what, offsets, send, onLate }) => {
      const ended = new AbortController()
      const patience = new AbortController()
      const sent = retryThroughOutage(what, AbortSignal.any([signal, ended.signal]), send)
      const done = await Promise.race([sent, wait(patience.signal).catch(() => undefined)])
      patience.abort()
      if (done) return true
      const held = signal.aborted ? undefined : begin(partition)
      held?.signal.addEventListener('abort', () => ended.abort())
      void sent.then((late) => {
        if (!late) return
        onLate?.()
        if (held === undefined || held.signal.aborted) return
        for (const offset of offsets) held.sent.add(nameOf(what, offset))
        held.end()
      })
      return false
    },
  }
}
