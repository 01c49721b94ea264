import { setTimeout as sleep } from 'node:timers/promises'
import { type CustomerState, type StateRecordFault, stateTopicName } from '@customer-stream/schemas'
import type { Kafka } from 'kafkajs'
import { createChangeFeeds, type TableChange } from './change-feeds.ts'
import type { InvalidDecision, InvalidRecord } from './invalid-record.ts'
import { SubscriberError } from './run-consumer.ts'
import { createEntries } from './table-entries.ts'
import { createProgress, type Ends } from './table-progress.ts'
import { createTableReader } from './table-reader.ts'
import { checkTimeLimit } from './time-limit.ts'
import { readWatermarks } from './watermarks.ts'

export interface CustomerTableOptions {
  readonly kafka: Kafka
  /** Default: `mykaarma.customers.state`. */
  readonly topic?: string | undefined
  /**
   * Prefix of the consumer group's name. A random text follows the prefix. Each table has its own
   * group, reads the whole topic and commits no offsets. Default: `customer-table-`.
   */
  readonly groupIdPrefix?: string | undefined
  /** Returns true for the customers that the table keeps. Default: all customers. */
  readonly filter?: ((state: CustomerState) => boolean) | undefined
  /** Called for each record that is neither a document nor a tombstone. Default: `skip`. */
  readonly onInvalid?: ((invalid: InvalidRecord<StateRecordFault>) => Exclude<InvalidDecision, 'park'>) | undefined
  /** Closes the table. */
  readonly signal?: AbortSignal | undefined
  /** Milliseconds between two measurements of staleness, from 1 to 2147483647. Default: 1000. */
  readonly checkIntervalMs?: number | undefined
}

/** The current customers in memory. Iterates over their states. */
export interface CustomerTable extends Iterable<CustomerState> {
  get(customerUuid: string): CustomerState | undefined
  readonly size: number
  /** Number of records that were neither a document nor a tombstone. */
  readonly invalidRecords: number
  /**
   * Resolves when the table has every record that was readable at the time of the call. Records
   * after the start of an open transaction are not readable yet. Waits during an outage of Kafka.
   * Rejects if the table is closed.
   */
  untilCaughtUp(): Promise<void>
  /**
   * Returns the changes after this call. If the program reads slowly, it gets only the newest state
   * of each customer. Ends when the table is closed, or throws the table's error.
   */
  changes(): AsyncIterableIterator<TableChange, undefined>
  /**
   * Milliseconds by which the table may be behind the topic. `Infinity` before the table has caught
   * up for the first time. Grows during an outage of Kafka.
   */
  readonly stalenessMs: number
  /**
   * Resolves when the table is closed. Rejects if an error has ended the table. If no one handles
   * this rejection, Node ends the process with an exit code other than 0.
   */
  readonly closed: Promise<void>
  close(): Promise<void>
}

/**
 * Opens a table of the current customers (a GlobalKTable in Kafka Streams). The table stays current
 * until it is closed. Ignores a document that is older than the stored document of the customer.
 * @throws RangeError if `checkIntervalMs` is out of range.
 */
export const openCustomerTable = (options: CustomerTableOptions): CustomerTable => {
  const { kafka, topic = stateTopicName(), groupIdPrefix = 'customer-table-', checkIntervalMs = 1000 } = options
  const { filter = () => true, onInvalid = () => 'skip' } = options
  checkTimeLimit('checkIntervalMs', checkIntervalMs)
  const entries = createEntries(filter)
  const progress = createProgress()
  const feeds = createChangeFeeds()
  const closing = new AbortController()
  const signal = options.signal ? AbortSignal.any([closing.signal, options.signal]) : closing.signal
  let completeAt = Number.NEGATIVE_INFINITY
  const reader = createTableReader({ kafka, topic, groupIdPrefix, onInvalid, signal }, { entries, progress, feeds })

  const admin = kafka.admin({ retry: { retries: 1 } })
  const requests = new Set<Promise<unknown>>()
  /**
   * Ends the table if its topic was deleted. kafkajs does not report the deletion, and would
   * continue in a new topic of the same name.
   */
  const failTable = (error: unknown): never => {
    if (error instanceof SubscriberError) reader.fail(error)
    throw error
  }
  /** Reads the end offset of each partition that has records. */
  const readEnds = async (): Promise<Ends> => {
    const partitions = [...(await readWatermarks(admin, topic, signal).catch(failTable))]
    return new Map(partitions.flatMap(([partition, { low, high }]) => (low === high ? [] : [[partition, high]])))
  }
  const catchUp = async (): Promise<void> => {
    const request = readEnds()
    requests.add(request)
    try {
      await progress.reached(await request)
    } finally {
      requests.delete(request)
    }
  }
  const measure = async () => {
    while (!signal.aborted) {
      const at = performance.now()
      await catchUp()
      completeAt = at
      await sleep(checkIntervalMs, undefined, { signal })
    }
  }

  const end = (error?: SubscriberError) => {
    feeds.end(error)
    progress.end(error ?? new SubscriberError('the table is closed'))
  }
  const run = async () => {
    try {
      await reader.read()
      end()
    } catch (error) {
      end(error as SubscriberError)
      throw error
    } finally {
      closing.abort()
      // Wait for requests in flight, because such a request would connect again after the
      // disconnect.
      await Promise.allSettled(requests)
      await admin.disconnect()
    }
  }
  const closed = run()
  // Ignore the error here, because `closed` rejects with the same error.
  measure().catch(() => undefined)

  return {
    get: entries.get,
    get size() {
      return entries.size
    },
    [Symbol.iterator]: entries.values,
    get invalidRecords() {
      return reader.invalidRecords
    },
    untilCaughtUp: async () => {
      try {
        await catchUp()
      } catch (error) {
        // The request was aborted, or the table has ended.
        await closed
        throw error instanceof SubscriberError ? error : new SubscriberError('the table is closed', { cause: error })
      }
    },
    changes: feeds.open,
    get stalenessMs() {
      return performance.now() - completeAt
    },
    closed,
    close: () => {
      closing.abort()
      return closed
    },
  }
}
