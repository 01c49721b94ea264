/**
 * Collects the records of one topic into batches, answers each record by its deadline, and bounds
 * memory.
 *
 * Batching: records that arrive during a flush go into the next flush. Under low load a record is
 * sent immediately. Under high load one request carries hundreds of records, because one request
 * for each record would need seven times as long.
 *
 * A partition is in one of two states:
 * - shared: one flush at a time sends the records of all shared partitions.
 * - isolated: the partition has its own queue and its own flushes.
 *
 * A flush isolates the partitions of its failed records. A flush that lasts longer than
 * SLOW_FLUSH_MS isolates all its partitions. An isolated partition becomes shared again when Kafka
 * stores one of its flushes within SLOW_FLUSH_MS. So a partition that fails or is slow (no leader,
 * too few in-sync replicas, a broker that hangs) delays no other partition.
 *
 * A failing partition always keeps one record to retry. If the deadlines of all its records have
 * passed, the publisher keeps the smallest record as a probe. When Kafka stores the probe, the
 * partition works again, even if no new record arrives. The request of the probe has already got
 * 503, so the sender may repeat the event. Kafka may then have the event twice. This is harmless,
 * because readers compare versions. The probes need memory for one record of each failing
 * partition.
 *
 * Guarantees:
 * - Each record gets its answer by its deadline.
 * - The answer `stored` is given only after Kafka has acknowledged the record.
 * - The counts of records and bytes include a record until its flush ends, even if its request got
 *   its answer earlier.
 * - An isolated partition accepts a record only while its queue is smaller than the publisher's
 *   free capacity. So one isolated partition never uses more than half of the capacity.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Linked, LinkedSet } from '../linked-set.ts'
import { type Send, sendInParts } from './send-in-parts.ts'

/**
 * `stored`: every in-sync replica has the record. With any other outcome, the record is not
 * acknowledged: `deadline` (Kafka may still store the record), `queue-full`, `refused` (Kafka will
 * never accept the record), `closing`.
 */
export type End = 'stored' | 'deadline' | 'queue-full' | 'refused' | 'closing'

/** Result of a publish. */
export interface Outcome<E = End> {
  readonly end: E
  /** Kafka's last error for the record or its queue. Undefined if Kafka did not answer in time. */
  readonly error?: Error | undefined
}

/** The fields of a record that the publisher needs. */
export interface Publishable {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}

export interface PublisherOptions<R> {
  readonly maxRecords: number
  readonly maxBytes: number
  /** Returns the partition of a record. Undefined if the producer may choose the partition. */
  readonly partitionOf?: (record: R) => number | undefined
  readonly onFlush?: (records: number, seconds: number, error: Error | undefined) => void
}

export interface Publisher<R> {
  /**
   * Queues a record and resolves with its outcome. Never rejects.
   * @param deadlineAt time on the clock of `performance.now()`. The promise resolves by this time,
   *   even if Kafka does not answer.
   * @param onRefused called if Kafka refuses the record, even after the deadline.
   */
  publish(record: R, deadlineAt: number, onRefused?: (error: Error) => void): Promise<Outcome>
  /**
   * Number and bytes of the records that wait for a flush or are in flight. Includes records whose
   * requests already have an answer.
   */
  readonly size: { readonly records: number; readonly bytes: number }
  /** Returns true if the last flush of this record's partition failed. */
  fails(record: R): boolean
  /** Number of partitions whose last flush failed. */
  readonly failing: number
  /** Number of isolated partitions whose last flush was slow, and ended within the last minute. */
  readonly slow: number
  /**
   * Number of partitions that began to fail after the last stored record, and the error of the
   * first of these partitions. Undefined until the first partition has failed for OUTAGE_AFTER_MS.
   */
  readonly outage: { readonly partitions: number; readonly error: Error } | undefined
  /**
   * Refuses new records. Resolves as soon as each record has its outcome, and never after
   * `deadlineAt`.
   */
  close(deadlineAt: number): Promise<void>
}

interface Entry<R> extends Linked<Entry<R>> {
  readonly record: R
  readonly bytes: number
  readonly deadlineAt: number
  readonly outcome: Promise<Outcome>
  readonly answer: (outcome: Outcome) => void
  readonly onRefused: ((error: Error) => void) | undefined
  answered: boolean
  queue: Queue<R>
  error?: Error
}

/** Queue of records, with one flush at a time. */
interface Queue<R> {
  /** The isolated partition. Undefined for the shared and the unbound queue. */
  readonly partition?: number
  waiting: Entry<R>[]
  /** Records and bytes that wait for a flush or are in flight. */
  records: number
  bytes: number
  /**
   * Time of the first failure since the last success, and the last error. Undefined if the last
   * flush did not fail.
   */
  failure?: { readonly since: number; readonly error: Error } | undefined
  /** Time at which the last flush ended, if that flush was slow. */
  slowAt?: number | undefined
  pumping: boolean
}

interface Flight extends Linked<Flight> {
  readonly startedAt: number
  readonly onSlow: () => void
}

const MAX_FLUSH_RECORDS = 500
/**
 * Maximum bytes of a flush. Kafka accepts requests of up to 100 MB. This limit is much smaller,
 * because a large request delays all later requests.
 */
const MAX_FLUSH_BYTES = 4 * 1024 * 1024
/** Estimated bytes of a record's headers and of the JavaScript objects for the record. */
const ENTRY_OVERHEAD_BYTES = 512
const RETRY_PAUSE_MS = 100
/**
 * Pause between probes of a failing partition. The pause is long, because no request waits for a
 * probe.
 */
const PROBE_PAUSE_MS = 500
/**
 * A flush that lasts longer than this is slow, and its partitions are isolated. Isolation needs
 * little CPU time, because a slow partition sends its records in few, large flushes.
 */
const SLOW_FLUSH_MS = 200
/**
 * A partition is reported as slow for this time after its last slow flush. After this time, it is
 * unknown whether the partition is still slow.
 */
const SLOW_REPORTED_MS = 60_000
/** A topic has an outage if Kafka stores none of its records for this time after a failure. */
const OUTAGE_AFTER_MS = 10_000
const SWEEP_INTERVAL_MS = 20

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one state
export const createPublisher = <R extends Publishable>(send: Send<R>, options: PublisherOptions<R>): Publisher<R> => {
  const queueOn = (partition?: number): Queue<R> => ({
    ...(partition !== undefined && { partition }),
    waiting: [],
    records: 0,
    bytes: 0,
    pumping: false,
  })
  const shared = queueOn()
  /**
   * Queue of records whose partition the producer chooses. These records must not delay other
   * records.
   */
  const unbound = queueOn()
  const isolated = new Map<number, Queue<R>>()
  const held = new LinkedSet<Entry<R>>()
  const flights = new LinkedSet<Flight>()
  let heldBytes = 0
  let storedAt = Number.NEGATIVE_INFINITY
  let closing = false
  let sweeper: NodeJS.Timeout | undefined

  const queueOf = (record: R): Queue<R> => {
    const partition = options.partitionOf?.(record)
    return partition === undefined ? unbound : (isolated.get(partition) ?? shared)
  }
  const count = ({ queue, bytes }: Entry<R>, sign: 1 | -1) => {
    queue.records += sign
    queue.bytes += sign * bytes
  }
  const enqueue = (queue: Queue<R>, entry: Entry<R>) => {
    queue.waiting.push(entry)
    if (!queue.pumping) pump(queue)
  }
  /** Moves each entry to the current queue of its partition. */
  const requeue = (entries: readonly Entry<R>[]) => {
    for (const entry of entries) {
      // The counts do not include a probe, because its request was already answered.
      const isCounted = held.has(entry)
      if (isCounted) count(entry, -1)
      entry.queue = queueOf(entry.record)
      if (isCounted) count(entry, 1)
      enqueue(entry.queue, entry)
    }
  }

  const answer = (entry: Entry<R>, end: End, error?: Error) => {
    if (entry.answered) return
    entry.answered = true
    entry.answer({ end, error })
  }
  const expire = (entry: Entry<R>) => answer(entry, 'deadline', entry.error ?? entry.queue.failure?.error)
  const release = (entry: Entry<R>) => {
    if (!held.delete(entry)) return
    heldBytes -= entry.bytes
    count(entry, -1)
  }
  const settle = (entry: Entry<R>, end: End, error?: Error) => {
    answer(entry, end, error)
    release(entry)
  }

  // One timer checks the deadlines of all records and the durations of all flushes. kafkajs has no
  // timeout for a send.
  const sweep = () => {
    const now = performance.now()
    for (const entry of held) if (!entry.answered && entry.deadlineAt <= now) expire(entry)
    for (const flight of flights) if (isSlow(flight, now)) flight.onSlow()
    if (held.size === 0) {
      clearInterval(sweeper)
      sweeper = undefined
    }
  }
  const isSlow = ({ startedAt }: Flight, now = performance.now()) => now - startedAt > SLOW_FLUSH_MS

  /**
   * Takes the next batch from a queue. Drops records whose request already got 503, because the
   * sender repeats the event. A failing queue always gets a probe: if the batch would be empty, the
   * smallest dropped record goes into the batch.
   */
  const take = (queue: Queue<R>): Entry<R>[] => {
    const batch: Entry<R>[] = []
    let bytes = 0
    let taken = 0
    let probe: Entry<R> | undefined
    for (const entry of queue.waiting) {
      if (batch.length >= MAX_FLUSH_RECORDS || (batch.length > 0 && bytes + entry.bytes > MAX_FLUSH_BYTES)) break
      taken += 1
      if (entry.answered) {
        release(entry)
        if (!probe || entry.bytes < probe.bytes) probe = entry
        continue
      }
      batch.push(entry)
      bytes += entry.bytes
    }
    queue.waiting = queue.waiting.slice(taken)
    if (probe && batch.length === 0 && queue.failure && !closing) batch.push(probe)
    return batch
  }

  const sendTimed = async (batch: readonly Entry<R>[]): Promise<void> => {
    const startedAt = performance.now()
    const report = (error?: Error) => options.onFlush?.(batch.length, (performance.now() - startedAt) / 1000, error)
    try {
      await send(batch.map(({ record }) => record))
    } catch (error) {
      report(error as Error)
      throw error
    }
    report()
  }

  /**
   * Called after a flush has stored records. If another flush of the same partition has failed in
   * the meantime, moves the start of this failure to now. Otherwise `outage` would not count the
   * failure, because `outage` counts only failures that begin after the last stored record.
   */
  const restartFailures = (stored: readonly Entry<R>[]) => {
    if (isolated.size === 0) return
    for (const queue of new Set(stored.map(({ record }) => queueOf(record))))
      if (queue.failure) queue.failure = { ...queue.failure, since: storedAt }
  }

  /**
   * Sends a batch and answers its stored and refused entries.
   * @returns the failed entries, for a retry.
   */
  const flush = async (batch: readonly Entry<R>[]): Promise<Entry<R>[]> => {
    const failed: Entry<R>[] = []
    for await (const part of sendInParts(sendTimed, batch)) {
      if (part.end === 'stored') {
        storedAt = performance.now()
        for (const entry of part.records) settle(entry, 'stored')
        restartFailures(part.records)
      } else if (part.end === 'unavailable') {
        for (const entry of part.records) entry.error = part.error
        failed.push(...part.records)
      } else {
        settle(part.record, 'refused', part.error)
        part.record.onRefused?.(part.error)
      }
    }
    return failed
  }
  const noteFailure = (queue: Queue<R>, [failed]: readonly Entry<R>[]) => {
    queue.failure = failed?.error && { since: queue.failure?.since ?? performance.now(), error: failed.error }
  }

  /** Gives the partition of each entry its own queue, and moves the partition's records there. */
  const isolate = (entries: readonly Entry<R>[], haveFailed: boolean) => {
    for (const [partition, some] of Map.groupBy(entries, ({ record }) => options.partitionOf?.(record))) {
      if (partition === undefined) continue
      const queue = isolated.get(partition) ?? queueOn(partition)
      isolated.set(partition, queue)
      if (haveFailed) noteFailure(queue, some)
    }
    requeue([...(haveFailed ? entries : []), ...shared.waiting.splice(0)])
  }

  /**
   * Sends a batch of records of shared partitions. Resolves when the flush ends or becomes slow. A
   * slow flush continues, but its partitions become isolated.
   */
  const flushShared = (batch: readonly Entry<R>[]): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const flight: Flight = {
      startedAt: performance.now(),
      onSlow: () => {
        flights.delete(flight)
        isolate(batch, false)
        resolve()
      },
    }
    flights.add(flight)
    flush(batch).then((failed) => {
      flights.delete(flight)
      if (failed.length > 0) isolate(failed, true)
      resolve()
    })
    return promise
  }

  /** Flushes the queue of an isolated partition, or the unbound queue. */
  const flushAlone = async (queue: Queue<R>, batch: readonly Entry<R>[]): Promise<void> => {
    const startedAt = performance.now()
    const failed = await flush(batch)
    noteFailure(queue, failed)
    if (failed.length > 0) {
      // Put the failed records back at the front of the queue, to keep the order of the records.
      // `take` drops expired records.
      queue.waiting = failed.concat(queue.waiting)
      await sleep(failed.every(({ answered }) => answered) ? PROBE_PAUSE_MS : RETRY_PAUSE_MS)
      return
    }
    queue.slowAt = performance.now() - startedAt > SLOW_FLUSH_MS ? performance.now() : undefined
    if (queue.slowAt !== undefined || queue.partition === undefined) return
    isolated.delete(queue.partition)
    requeue(queue.waiting.splice(0))
  }

  /** Moves each unbound record whose partition is known now to the queue of this partition. */
  const bind = () => {
    const isBound = ({ record }: Entry<R>) => options.partitionOf?.(record) !== undefined
    const bound = unbound.waiting.filter(isBound)
    if (bound.length === 0) return
    unbound.waiting = unbound.waiting.filter((entry) => !isBound(entry))
    if (unbound.waiting.length === 0) unbound.failure = undefined
    const isProbe = ({ answered, error }: Entry<R>) => answered && error !== undefined
    isolate(bound.filter(isProbe), true)
    requeue(bound.filter((entry) => !isProbe(entry)))
  }

  const pump = async (queue: Queue<R>): Promise<void> => {
    queue.pumping = true
    // Yield once, so that records published in the same event-loop turn join this batch.
    await new Promise(setImmediate)
    while (queue.waiting.length > 0) {
      if (queue === unbound) bind()
      const batch = take(queue)
      if (batch.length > 0) await (queue === shared ? flushShared(batch) : flushAlone(queue, batch))
    }
    queue.pumping = false
  }

  const isFull = (queue: Queue<R>, bytes: number): boolean => {
    const freeRecords = options.maxRecords - held.size
    const freeBytes = options.maxBytes - heldBytes
    if (freeRecords <= 0 || freeBytes < bytes) return true
    const mustLeaveRoom = queue.partition !== undefined || queue.failure !== undefined
    return mustLeaveRoom && (queue.records >= freeRecords || queue.bytes + bytes > freeBytes)
  }
  return {
    publish: (record, deadlineAt, onRefused) => {
      if (closing) return Promise.resolve({ end: 'closing' })
      const bytes = (record.key?.byteLength ?? 0) + (record.value?.byteLength ?? 0) + ENTRY_OVERHEAD_BYTES
      const queue = queueOf(record)
      if (isFull(queue, bytes)) return Promise.resolve({ end: 'queue-full', error: queue.failure?.error })
      const { promise, resolve } = Promise.withResolvers<Outcome>()
      const entry: Entry<R> = {
        record,
        bytes,
        deadlineAt,
        outcome: promise,
        answer: resolve,
        onRefused,
        answered: false,
        queue,
      }
      held.add(entry)
      heldBytes += bytes
      count(entry, 1)
      sweeper ??= setInterval(sweep, SWEEP_INTERVAL_MS)
      enqueue(queue, entry)
      return promise
    },
    get size() {
      return { records: held.size, bytes: heldBytes }
    },
    fails: (record) => queueOf(record).failure !== undefined,
    get failing() {
      return isolated.values().reduce((sum, { failure }) => sum + (failure ? 1 : 0), 0)
    },
    get slow() {
      const since = performance.now() - SLOW_REPORTED_MS
      return isolated.values().reduce((sum, { slowAt }) => sum + (slowAt !== undefined && slowAt > since ? 1 : 0), 0)
    },
    get outage() {
      const failed = [unbound, ...isolated.values()].filter(
        ({ failure }) => failure !== undefined && failure.since >= storedAt,
      )
      const [first] = failed.flatMap(({ failure }) => failure ?? []).toSorted((a, b) => a.since - b.since)
      if (!first || performance.now() - first.since < OUTAGE_AFTER_MS) return undefined
      // The producer sends unbound records to another partition at each attempt. So if unbound
      // records fail, all partitions count as failing.
      return { partitions: failed.includes(unbound) ? Number.POSITIVE_INFINITY : failed.length, error: first.error }
    },
    close: async (deadlineAt) => {
      closing = true
      const outcomes = Promise.all([...held].map(({ outcome }) => outcome))
      await Promise.race([outcomes, sleep(Math.max(0, deadlineAt - performance.now()))])
      for (const entry of held) expire(entry)
    },
  }
}
