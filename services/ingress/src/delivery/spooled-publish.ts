/**
 * Publishes records to Kafka, or writes them to disk if Kafka does not answer. A request whose
 * record is on disk gets 202. The record is sent to Kafka when Kafka answers again. Without a
 * spool, the request would get 503.
 */
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { Destination, DrainEnd } from '../spool/drain.ts'
import type { Spool } from '../spool/spool.ts'
import type { End, Outcome } from './publisher.ts'
import type { TopicPublishers } from './topic-publishers.ts'

export type Publish<E> = (record: OutgoingRecord, deadlineAt: number) => Promise<Outcome<E>>

export interface SpooledPublishOptions {
  /** If Kafka has not stored a record after this time, the record goes to the spool. */
  readonly spoolAfterMs: number
  readonly onDiskError: (error: Error) => void
  /**
   * Called if Kafka did not accept all records of a send of the drain. `records` is the number of
   * records that Kafka did not accept. `error` is Kafka's last error, or undefined if Kafka did not
   * answer in time.
   */
  readonly onNotAccepted: (records: number, error: Error | undefined) => void
}

export interface SpooledPublish {
  readonly publish: Publish<End | 'spooled'>
  /** Sends the spooled records. Records that Kafka does not accept stay in the spool. */
  drain(signal: AbortSignal): Promise<DrainEnd>
}

const expired = Symbol('expired')

/**
 * Returns the result of the work, or `expired` at the deadline. The work continues after the
 * deadline, but its result is ignored.
 */
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
  publishers: Pick<TopicPublishers, 'publish' | 'fails' | 'deliver' | 'partitionOf'>,
  spool: Pick<Spool, 'append' | 'drain'>,
  { spoolAfterMs, onDiskError, onNotAccepted }: SpooledPublishOptions,
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
      // If the partition is failing, write to the disk immediately, so that the request does not
      // wait.
      if (publishers.fails(record)) return (await toDisk(record, deadlineAt)) ?? publishers.publish(record, deadlineAt)
      const outcome = await publishers.publish(record, Math.min(deadlineAt, performance.now() + spoolAfterMs))
      if (outcome.end !== 'deadline' && outcome.end !== 'queue-full') return outcome
      return (await toDisk(record, deadlineAt)) ?? outcome
    },
    drain: (signal) => {
      const send: Destination['send'] = async (records, keep) => {
        const notAccepted = await publishers.deliver(records, keep)
        if (notAccepted.records.length > 0) onNotAccepted(notAccepted.records.length, notAccepted.error)
        return notAccepted.records
      }
      return spool.drain({ partitionOf: publishers.partitionOf, send }, signal)
    },
  }
}
