import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CustomerState,
  decide,
  type PlacedRecord,
  readStateRecord,
  type StateRecord,
  type StateRecordFault,
  stateTopicName,
  type Version,
} from '@customer-stream/schemas'
import type { EachBatchPayload, Kafka } from 'kafkajs'
import { createChangeFeeds, type TableChange } from './change-feeds.ts'
import { call, handleInvalid, type InvalidDecision, type InvalidRecord, placeOf } from './invalid-record.ts'
import { type RunningConsumer, runConsumer, SubscriberError } from './run-consumer.ts'
import { checkTimeLimit } from './time-limit.ts'
import { readWatermarks } from './watermarks.ts'

export interface CustomerTableOptions {
  readonly kafka: Kafka
  /** Default: `mykaarma.customers.state`. */
  readonly topic?: string | undefined
  /**
   * Prefix of the consumer group, whose name ends with a random text. Each table has its own group,
   * reads the whole topic and commits no offsets. Default: `customer-table-`.
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
   * Returns the changes after this call. A slow reader gets only the newest state of each customer.
   * Ends when the table is closed, or throws the table's error.
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

/** Newest version of a customer, with the state if the filter accepts it. */
interface Entry {
  readonly version: Version
  readonly state: CustomerState | undefined
}

type Ends = ReadonlyMap<number, bigint>

/** Creates the map of customers, which keeps the newest version of each customer. */
const createEntries = (filter: (state: CustomerState) => boolean) => {
  const entries = new Map<string, Entry>()
  let size = 0
  return {
    get: (customerUuid: string) => entries.get(customerUuid)?.state,
    get size() {
      return size
    },
    *values() {
      for (const { state } of entries.values()) if (state) yield state
    },
    /** Applies a record. Returns the change, or undefined if nothing has changed. */
    apply: ({ customerUuid, state }: StateRecord): TableChange | undefined => {
      const held = entries.get(customerUuid)
      if (state && decide(held?.version, state.version) !== 'apply') return undefined
      const kept = state && filter(state) ? state : undefined
      if (state) entries.set(customerUuid, { version: state.version, state: kept })
      else entries.delete(customerUuid)
      if (!kept && !held?.state) return undefined
      size += Number(kept !== undefined) - Number(held?.state !== undefined)
      return { customerUuid, state: kept ?? null, previous: held?.state ?? null }
    },
  }
}

/**
 * Creates the progress: the next offset of each partition, and the callers that wait for an offset.
 */
const createProgress = () => {
  const positions = new Map<number, bigint>()
  const waiting = new Set<{ readonly ends: Ends; readonly resolve: () => void; readonly reject: (e: Error) => void }>()
  let ended: Error | undefined
  const isReached = (ends: Ends) => [...ends].every(([partition, end]) => (positions.get(partition) ?? 0n) >= end)
  return {
    positions,
    move: (partition: number, next: bigint): void => {
      positions.set(partition, next)
      for (const waiter of waiting) {
        if (!isReached(waiter.ends)) continue
        waiting.delete(waiter)
        waiter.resolve()
      }
    },
    reached: (ends: Ends): Promise<void> =>
      new Promise((resolve, reject) => {
        if (ended) reject(ended)
        else if (isReached(ends)) resolve()
        else waiting.add({ ends, resolve, reject })
      }),
    end: (error: Error): void => {
      ended = error
      for (const { reject } of waiting) reject(error)
    },
  }
}

/**
 * Opens a table of the current customers (a GlobalKTable in Kafka Streams). The table stays current
 * until it is closed. Ignores a document that is older than the stored document of the customer.
 * @throws RangeError if `checkIntervalMs` is out of range.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one table
export const openCustomerTable = (options: CustomerTableOptions): CustomerTable => {
  const { kafka, topic = stateTopicName(), groupIdPrefix = 'customer-table-', checkIntervalMs = 1000 } = options
  const { filter = () => true, onInvalid = () => 'skip' } = options
  checkTimeLimit('checkIntervalMs', checkIntervalMs)
  const entries = createEntries(filter)
  const progress = createProgress()
  const feeds = createChangeFeeds()
  const closing = new AbortController()
  const signal = options.signal ? AbortSignal.any([closing.signal, options.signal]) : closing.signal
  let invalidRecords = 0
  let completeAt = Number.NEGATIVE_INFINITY
  let reading: RunningConsumer | undefined

  const apply = async (record: PlacedRecord): Promise<void> => {
    const read = readStateRecord(record)
    if (!read.ok) {
      invalidRecords += 1
      return handleInvalid({ record, reason: read.reason, detail: read.detail }, { onInvalid })
    }
    const change = await call('filter', placeOf(record), () => entries.apply(read.value))
    if (change) feeds.publish(change)
  }

  const goneBack = (partition: number, offset: string) =>
    new SubscriberError(
      `${topic}/${partition} begins again at offset ${offset}: the topic was created again, or Kafka has lost ` +
        'records. The table may have customers that are gone. Open a new table.',
    )
  /** Next offset to apply, by partition. */
  const applied = new Map<number, bigint>()
  /**
   * Offset at which kafkajs began after it joined the group again, by partition. kafkajs may then
   * hand over a batch that it fetched before. So records from this offset may come twice.
   */
  const begins = new Map<number, bigint>()
  const eachBatch = async ({ batch, resolveOffset }: EachBatchPayload, running: RunningConsumer): Promise<void> => {
    const { partition, messages } = batch
    const oldest = begins.get(partition) ?? progress.positions.get(partition) ?? 0n
    try {
      for (const message of messages) {
        if (running.isEnding) return
        const offset = BigInt(message.offset)
        if (offset < oldest) throw goneBack(partition, message.offset)
        if (offset < (applied.get(partition) ?? 0n)) continue
        applied.set(partition, offset + 1n)
        await apply({ topic, partition, ...message })
      }
      const last = messages.at(-1)
      if (last) resolveOffset(last.offset)
    } catch (error) {
      // Do not rethrow, because kafkajs would repeat the batch forever.
      running.fail(error)
    }
  }

  const read = () =>
    runConsumer({
      kafka,
      topic,
      signal,
      config: { groupId: `${groupIdPrefix}${randomUUID()}` },
      setUp: (running) => {
        const { consumer } = running
        reading = running
        let isFirstJoin = true
        // Seek in each new assignment. Otherwise kafkajs would begin at the start of the topic,
        // because no offset is committed.
        consumer.on(consumer.events.GROUP_JOIN, ({ payload: { memberAssignment } }) => {
          for (const [partition, offset] of progress.positions)
            consumer.seek({ topic, partition, offset: String(offset) })
          for (const partition of isFirstJoin ? [] : (memberAssignment[topic] ?? []))
            begins.set(partition, progress.positions.get(partition) ?? 0n)
          isFirstJoin = false
        })
        // kafkajs emits this event even for a batch that has only control records, for which
        // `eachBatch` is not called.
        consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
          if (running.isEnding) return
          const next = BigInt(lastOffset) + 1n
          if (next > (progress.positions.get(partition) ?? 0n)) progress.move(partition, next)
        })
        return { eachBatch: (payload) => eachBatch(payload, running) }
      },
    })

  const admin = kafka.admin({ retry: { retries: 1 } })
  const requests = new Set<Promise<unknown>>()
  /**
   * Ends the table if its topic was deleted. kafkajs does not report the deletion, and would
   * continue in a new topic of the same name.
   */
  const failTable = (error: unknown): never => {
    if (error instanceof SubscriberError) reading?.fail(error)
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
      await read()
      end()
    } catch (error) {
      end(error as SubscriberError)
      throw error
    } finally {
      closing.abort()
      // Wait for requests in flight, because they would connect again.
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
      return invalidRecords
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
