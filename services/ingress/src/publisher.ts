/**
 * Collects the records of one topic into batches, answers each record by its deadline, and bounds memory.
 *
 * Natural batching: records that arrive while a flush is in flight make up the next flush. Under low load a record leaves at once. Under high load batches
 * grow by themselves, and one request carries hundreds of records (a request for each would be seven times slower).
 *
 * A partition is in one of two states:
 * - shared: its records are flushed together with those of all other shared partitions, one flush at a time.
 * - isolated: its records have a queue and flushes of their own.
 * A flush that fails, or that lasts longer than SLOW_FLUSH_MS, isolates each of its partitions. An isolated partition is shared again when a flush of its
 * own was stored in less time. So a partition that is slow or fails (no leader, too few replicas, a follower or leader that hangs) delays no other.
 *
 * A failing partition always has a record that is retried: if the deadlines of all its records are over, the smallest one is
 * kept as a probe. So its state is known also without traffic, and by the only true test: a record that Kafka stores.
 * A probe is acknowledged to no one, and a second copy of it harms no reader. Memory: one record for each failing partition.
 *
 * Guarantees: an answer by the deadline. No answer `stored` before Kafka has acknowledged the record. Records and bytes are counted until their flush
 * has ended, also if their answer went out before. No queue of an isolated partition takes more than what it leaves free for all others.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Send, sendInParts } from './send-in-parts.ts'

/**
 * `stored`: every in-sync replica has the record. All others acknowledge nothing: `deadline` (the record may still be stored), `queue-full`,
 * `refused` (Kafka will never take this record), `closing`.
 */
export type End = 'stored' | 'deadline' | 'queue-full' | 'refused' | 'closing'

/** How a publish ended, and why. */
export interface Outcome<E = End> {
  readonly end: E
  /** Last error of Kafka for this record, or for the records before it in its queue. Undefined if Kafka only gave no answer in time. */
  readonly error?: Error | undefined
}

/** The parts of a record that the publisher needs. */
export interface Publishable {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}

export interface PublisherOptions<R> {
  readonly maxRecords: number
  readonly maxBytes: number
  /** The partition that a record is bound to; undefined if any will do. */
  readonly partitionOf?: (record: R) => number | undefined
  readonly onFlush?: (records: number, seconds: number, error: Error | undefined) => void
}

export interface Publisher<R> {
  /**
   * Never rejects.
   * @param deadlineAt by `performance.now()`; the promise resolves by then, whatever Kafka does.
   * @param onRefused called if Kafka refuses the record, also if that happens after the deadline.
   */
  publish(record: R, deadlineAt: number, onRefused?: (error: Error) => void): Promise<Outcome>
  /** Records that wait or are in flight, also those that were answered: this is the memory in use. */
  readonly size: { readonly records: number; readonly bytes: number }
  /** True if the last flush of this record's partition failed: a caller with another place for the record need not wait. */
  fails(record: R): boolean
  /** Partitions whose last flush failed. */
  readonly failing: number
  /** Partitions whose last flush of their own was slow, within a minute. */
  readonly slow: number
  /**
   * Partitions that have begun to fail since a record was last stored, and an error of theirs. Undefined until the first of
   * them has failed for OUTAGE_AFTER_MS.
   */
  readonly outage: { readonly partitions: number; readonly error: Error } | undefined
  /** Takes nothing more. Resolves when everything taken has its outcome, by `deadlineAt` at the latest. */
  close(deadlineAt: number): Promise<void>
}

interface Entry<R> {
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

/** Records that are flushed together, one flush at a time. */
interface Queue<R> {
  /** Set for an isolated partition. */
  readonly partition?: number
  waiting: Entry<R>[]
  /** Records and bytes that wait or are in flight. */
  records: number
  bytes: number
  /** Set if the last flush failed: the time of the first failure in a row, and the last error. */
  failure?: { readonly since: number; readonly error: Error } | undefined
  /** Time of the last flush, if it was slow. */
  slowAt?: number | undefined
  pumping: boolean
}

interface Flight {
  readonly startedAt: number
  readonly onSlow: () => void
}

const MAX_FLUSH_RECORDS = 500
/** A broker takes a request of up to 100 MB, but a large one delays everything behind it. */
const MAX_FLUSH_BYTES = 4 * 1024 * 1024
/** Estimated memory of a record that waits, beside key and value: its headers and our objects. */
const ENTRY_OVERHEAD_BYTES = 512
const RETRY_PAUSE_MS = 100
/** Nobody waits for a probe. */
const PROBE_PAUSE_MS = 500
/** The shared partitions store MAX_FLUSH_RECORDS in this time at least. Isolated flushes are small only while they are fast, so that they cost little. */
const SLOW_FLUSH_MS = 200
/** A partition is reported as slow for this time after its last flush: without new records its state is unknown. */
const SLOW_REPORTED_MS = 60_000
/** A topic has an outage if partitions fail, and nothing is stored for this time after the first failure. */
const OUTAGE_AFTER_MS = 10_000
const SWEEP_INTERVAL_MS = 20

export const createPublisher = <R extends Publishable>(send: Send<R>, options: PublisherOptions<R>): Publisher<R> => {
  const queueOn = (partition?: number): Queue<R> => ({
    ...(partition !== undefined && { partition }),
    waiting: [],
    records: 0,
    bytes: 0,
    pumping: false,
  })
  const shared = queueOn()
  /** Records that may go to any partition. Flushed with the others they would delay them whenever their partition fails. */
  const unbound = queueOn()
  const isolated = new Map<number, Queue<R>>()
  const held = new Set<Entry<R>>()
  const flights = new Set<Flight>()
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
  /** Puts entries into the queues where they belong by now. */
  const requeue = (entries: readonly Entry<R>[]) => {
    for (const entry of entries) {
      count(entry, -1)
      entry.queue = queueOf(entry.record)
      count(entry, 1)
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

  // One timer for all deadlines and flushes. kafkajs knows no bound for a send.
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
   * The next batch. Records that were answered while they waited are dropped: the sender will repeat them. If none is left for a
   * queue that fails, the smallest of them is the batch.
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

  /** @returns entries that may be tried again. */
  const flush = async (batch: readonly Entry<R>[]): Promise<Entry<R>[]> => {
    const failed: Entry<R>[] = []
    for await (const part of sendInParts(sendTimed, batch)) {
      if (part.end === 'stored') {
        storedAt = performance.now()
        for (const entry of part.records) settle(entry, 'stored')
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

  /** Gives the partitions of these entries queues of their own, and moves there the records that wait for them. */
  const isolate = (entries: readonly Entry<R>[], haveFailed: boolean) => {
    for (const [partition, some] of Map.groupBy(entries, ({ record }) => options.partitionOf?.(record))) {
      if (partition === undefined) continue
      const queue = isolated.get(partition) ?? queueOn(partition)
      isolated.set(partition, queue)
      if (haveFailed) noteFailure(queue, some)
    }
    requeue([...(haveFailed ? entries : []), ...shared.waiting.splice(0)])
  }

  /** Resolves when the flush has ended, or when it is slow: it then goes on, and its partitions are isolated. */
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

  /** Flushes an isolated partition, or records that may go to any. */
  const flushAlone = async (queue: Queue<R>, batch: readonly Entry<R>[]): Promise<void> => {
    const startedAt = performance.now()
    const failed = await flush(batch)
    noteFailure(queue, failed)
    if (failed.length > 0) {
      // Records whose deadline is not over get another attempt, in their old place.
      queue.waiting = failed.concat(queue.waiting)
      await sleep(failed.every(({ answered }) => answered) ? PROBE_PAUSE_MS : RETRY_PAUSE_MS)
      return
    }
    queue.slowAt = performance.now() - startedAt > SLOW_FLUSH_MS ? performance.now() : undefined
    if (queue.slowAt !== undefined || queue.partition === undefined) return
    isolated.delete(queue.partition)
    requeue(queue.waiting.splice(0))
  }

  const pump = async (queue: Queue<R>): Promise<void> => {
    queue.pumping = true
    // Records that are published in the same turn of the event loop join this batch.
    await new Promise(setImmediate)
    while (queue.waiting.length > 0) {
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
      const entry: Entry<R> = { record, bytes, deadlineAt, outcome: promise, answer: resolve, onRefused, answered: false, queue }
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
      const failed = [unbound, ...isolated.values()].filter(({ failure }) => failure !== undefined && failure.since > storedAt)
      const [first] = failed.flatMap(({ failure }) => failure ?? []).toSorted((a, b) => a.since - b.since)
      if (!first || performance.now() - first.since < OUTAGE_AFTER_MS) return undefined
      // Each attempt with unbound records goes to the next partition.
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
