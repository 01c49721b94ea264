/**
 * Kafka first, and the disk where Kafka does not answer: what is on disk may be promised, and is sent when Kafka is back. Only for a disk that outlives
 * the process; without a spool such a request is answered with 503.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { Outcome } from './publisher.ts'
import type { Spool } from './spool/spool.ts'

export type Publish<Result> = (record: OutgoingRecord, deadlineAt: number) => Promise<Result>

export interface SpooledPublishOptions {
  /** How long Kafka may take before the disk is asked. */
  readonly spoolAfterMs: number
  readonly onDiskError: (error: Error) => void
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

/** While the spool holds anything, everything goes through it: so records reach Kafka in their order of arrival, and nobody waits for a Kafka that is away. */
export const createSpooledPublish = (
  publish: Publish<Outcome>,
  spool: Pick<Spool, 'append' | 'size'>,
  { spoolAfterMs, onDiskError }: SpooledPublishOptions,
): Publish<Outcome | 'spooled'> => {
  const toDisk = async (record: OutgoingRecord, deadlineAt: number): Promise<'spooled' | undefined> => {
    try {
      return (await within(spool.append(record), deadlineAt)) === expired ? undefined : 'spooled'
    } catch (error) {
      onDiskError(error as Error)
      return undefined
    }
  }
  return async (record, deadlineAt) => {
    if (spool.size.records > 0) return (await toDisk(record, deadlineAt)) ?? publish(record, deadlineAt)
    const outcome = await publish(record, Math.min(deadlineAt, performance.now() + spoolAfterMs))
    if (outcome !== 'deadline' && outcome !== 'queue-full') return outcome
    return (await toDisk(record, deadlineAt)) ?? outcome
  }
}
