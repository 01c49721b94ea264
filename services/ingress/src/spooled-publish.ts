/**
 * Kafka first, and the disk where Kafka does not answer: what is on disk may be promised, and is sent when Kafka is back. Only for a disk that outlives
 * the process; without a spool such a request is answered with 503.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { Outcome } from './publisher.ts'
import type { DrainEnd, Spool, SpoolSend } from './spool/spool.ts'

export type Publish<Result> = (record: OutgoingRecord, deadlineAt: number) => Promise<Result>

export interface SpooledPublishOptions {
  /** How long Kafka may take before the disk is asked. */
  readonly spoolAfterMs: number
  readonly onDiskError: (error: Error) => void
  /** A send of the drain failed; the next drain begins with the same records. */
  readonly onDrainError: (error: Error) => void
}

export interface SpooledPublish {
  readonly publish: Publish<Outcome | 'spooled'>
  /** Sends what was spooled, in order of arrival, as far as Kafka takes it. */
  drain(send: SpoolSend, signal: AbortSignal): Promise<DrainEnd>
}

const expired = Symbol('expired')

/** The work's result, or `expired` when it takes too long; it then goes on unobserved. */
const within = async <T>(work: Promise<T>, deadlineAt: number): Promise<T | typeof expired> => {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<typeof expired>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, deadlineAt - performance.now()), expired)
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * What may be left in the spool when records go straight to Kafka again: one batch of the drain. Waiting for an empty spool would, under a load that brings a
 * record during each send, keep every record on the way over the disk for ever.
 */
const NEARLY_EMPTY_RECORDS = 500

/**
 * While the spool holds what Kafka does not take, everything goes through it: nobody waits for a Kafka that is away, and records reach it nearly in their order
 * of arrival.
 */
export const createSpooledPublish = (
  publish: Publish<Outcome>,
  spool: Pick<Spool, 'append' | 'drain' | 'size'>,
  { spoolAfterMs, onDiskError, onDrainError }: SpooledPublishOptions,
): SpooledPublish => {
  let kafkaTakes = false
  const toDisk = async (record: OutgoingRecord, deadlineAt: number): Promise<'spooled' | undefined> => {
    try {
      return (await within(spool.append(record), deadlineAt)) === expired ? undefined : 'spooled'
    } catch (error) {
      onDiskError(error as Error)
      return undefined
    }
  }
  return {
    publish: async (record, deadlineAt) => {
      if (spool.size.records > (kafkaTakes ? NEARLY_EMPTY_RECORDS : 0))
        return (await toDisk(record, deadlineAt)) ?? publish(record, deadlineAt)
      const outcome = await publish(record, Math.min(deadlineAt, performance.now() + spoolAfterMs))
      if (outcome !== 'deadline' && outcome !== 'queue-full') return outcome
      kafkaTakes = false
      return (await toDisk(record, deadlineAt)) ?? outcome
    },
    drain: (send, signal) =>
      spool.drain(async (records, keep) => {
        try {
          const left = await send(records, keep)
          kafkaTakes = true
          return left
        } catch (error) {
          kafkaTakes = false
          onDrainError(error as Error)
          throw error
        }
      }, signal),
  }
}
