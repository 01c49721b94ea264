/**
 * Kafka first, and the disk where Kafka does not answer: what is on disk may be promised, and is sent when Kafka is back. Only for a disk that outlives
 * the process; without a spool such a request is answered with 503.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { Lanes } from './lanes.ts'
import type { End, Outcome } from './publisher.ts'
import type { DrainEnd, Spool } from './spool/spool.ts'

export type Publish<E> = (record: OutgoingRecord, deadlineAt: number) => Promise<Outcome<E>>

export interface SpooledPublishOptions {
  /** How long Kafka may take before the disk is asked. */
  readonly spoolAfterMs: number
  readonly onDiskError: (error: Error) => void
  /** Told how many records a send of the drain has left; they are tried again. */
  readonly onLeft: (records: number) => void
}

export interface SpooledPublish {
  readonly publish: Publish<End | 'spooled'>
  /** Sends what was spooled, as far as Kafka takes it. */
  drain(signal: AbortSignal): Promise<DrainEnd>
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

export const createSpooledPublish = (
  lanes: Pick<Lanes, 'publish' | 'fails' | 'deliver'>,
  spool: Pick<Spool, 'append' | 'drain'>,
  { spoolAfterMs, onDiskError, onLeft }: SpooledPublishOptions,
): SpooledPublish => {
  const toDisk = async (record: OutgoingRecord, deadlineAt: number): Promise<Outcome<'spooled'> | undefined> => {
    try {
      return (await within(spool.append(record), deadlineAt)) === expired ? undefined : { end: 'spooled' }
    } catch (error) {
      onDiskError(error as Error)
      return undefined
    }
  }
  return {
    publish: async (record, deadlineAt) => {
      // Nobody waits for a partition that fails.
      if (lanes.fails(record)) return (await toDisk(record, deadlineAt)) ?? lanes.publish(record, deadlineAt)
      const outcome = await lanes.publish(record, Math.min(deadlineAt, performance.now() + spoolAfterMs))
      if (outcome.end !== 'deadline' && outcome.end !== 'queue-full') return outcome
      return (await toDisk(record, deadlineAt)) ?? outcome
    },
    drain: (signal) =>
      spool.drain(async (records, options) => {
        const left = await lanes.deliver(records, options)
        if (left.length > 0) onLeft(left.length)
        return left
      }, signal),
  }
}
