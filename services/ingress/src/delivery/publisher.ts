/**
 * Collects the records of one topic into batches, answers each record by its deadline, and bounds
 * memory.
 *
 * Batching: records that arrive during a flush go into the next flush. Under low load a record is
 * sent at once. Under high load one request carries hundreds of records. One request for each
 * record would be seven times slower.
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
 * A failing partition always keeps one record to retry. If the deadlines of all its records are
 * over, the smallest record stays as a probe. So the partition's state is known without traffic,
 * too. Only a stored record proves that the partition works again. No one gets an acknowledgement
 * for a probe, and a second copy harms no reader. Memory: one record for each failing partition.
 *
 * Guarantees:
 * - Each record gets its answer by its deadline.
 * - The answer `stored` is given only after Kafka has acknowledged the record.
 * - Records and bytes count until their flush ends, even if they were answered earlier.
 * - The queue of an isolated partition is never larger than the room that remains for all others.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Send, sendInParts } from './send-in-parts.ts'

/**
 * `stored`: every in-sync replica has the record. All other ends acknowledge nothing: `deadline`
 * (the record may still be stored), `queue-full`, `refused` (Kafka will never accept this record),
 * `closing`.
 */
export type End = 'stored' | 'deadline' | 'queue-full' | 'refused' | 'closing'

/** How a publish ended, and why. */
export interface Outcome<E = End> {
  readonly end: E
  /**
   * Last error of Kafka for this record or for its queue. Undefined if Kafka gave no answer in
   * time.
   */
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
  /** Returns the partition that a record must go to, or undefined if any partition will do. */
  readonly partitionOf?: (record: R) => number | undefined
  readonly onFlush?: (records: number, seconds: number, error: Error | undefined) => void
}

export interface Publisher<R> {
  /**
   * Queues a record and resolves with its outcome. Never rejects.
   * @param deadlineAt time on the clock of `performance.now()`. The promise resolves by then,
   *   whatever Kafka does.
   * @param onRefused called if Kafka refuses the record, even after the deadline.
   */
  publish(record: R, deadlineAt: number, onRefused?: (error: Error) => void): Promise<Outcome>
  /** Records that wait or are in flight, answered records included: the memory in use. */
  readonly size: { readonly records: number; readonly bytes: number }
  /**
   * Returns true if the last flush of this record's partition failed. A caller that can store the
   * record elsewhere need not wait.
   */
  fails(record: R): boolean
  /** Number of partitions whose last flush failed. */
  readonly failing: number
  /** Number of isolated partitions whose last flush was slow and ended within the last minute. */
  readonly slow: number
  /**
   * Partitions that began to fail after the last stored record, and the error of the first of them.
   * Undefined until that partition has failed for OUTAGE_AFTER_MS.
   */
  readonly outage: { readonly partitions: number; readonly error: Error } | undefined
  /**
   * Accepts no more records. Resolves when all accepted records have their outcome, by `deadlineAt`
   * at the latest.
   */
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
  /** The isolated partition. Undefined for the shared and the unbound queue. */
  readonly partition?: number
  waiting: Entry<R>[]
  /** Records and bytes that wait or are in flight. */
  records: number
  bytes: number
  /**
   * Time of the first failure in a row, and the last error. Undefined if the last flush did not
   * fail.
   */
  failure?: { readonly since: number; readonly error: Error } | undefined
  /** End of the last flush, if that flush was slow. */
  slowAt?: number | undefined
  pumping: boolean
}

interface Flight {
  readonly startedAt: number
  readonly onSlow: () => void
}

const MAX_FLUSH_RECORDS = 500
/** A broker accepts requests up to 100 MB, but a large request delays all later ones. */
const MAX_FLUSH_BYTES = 4 * 1024 * 1024
/** Estimated memory of a waiting record besides its key and value: its headers and our objects. */
const ENTRY_OVERHEAD_BYTES = 512
const RETRY_PAUSE_MS = 100
/** Pause between probes of a failing partition. It may be long: no request waits for a probe. */
const PROBE_PAUSE_MS = 500
/**
 * A flush that lasts longer is slow. A flush of exactly this time still stores MAX_FLUSH_RECORDS
 * for the shared partitions. Isolation costs little. While a partition is slow, its records gather
 * into large flushes. When it is fast, it becomes shared again.
 */
const SLOW_FLUSH_MS = 200
/**
 * A partition counts as slow for this time after its last flush. Without new records its state is
 * unknown.
 */
const SLOW_REPORTED_MS = 60_000
/**
 * A topic has an outage if partitions fail and nothing is stored for this time after the first
 * failure.
 */
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
   * Records that may go to any partition. They have their own queue: if their partition fails, they
   * must not delay other records.
   */
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
  /** Moves entries to the queues that their partitions have now. */
  const requeue = (entries: readonly Entry<R>[]) => {
    for (const entry of entries) {
      // A probe is not counted: its record has its answer.
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

  // One timer checks all deadlines and all flushes, because kafkajs has no timeout for a send.
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
   * Takes the next batch from a queue. Records whose request was answered with 503 while they
   * waited are dropped, because the sender repeats them. If the queue is failing and the batch
   * would be empty, the smallest dropped record becomes the batch, as a probe.
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
   * Records of a failing partition may be stored late, by a slow flush that began before the
   * failure. The partition's time of failure is then the time of this success. Otherwise `outage`
   * would not count the partition.
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

  /** Gives each partition of these entries its own queue, and moves the waiting records to it. */
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
   * slow flush continues, and its partitions are isolated.
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

  /** Flushes an isolated partition, or records that may go to any partition. */
  const flushAlone = async (queue: Queue<R>, batch: readonly Entry<R>[]): Promise<void> => {
    const startedAt = performance.now()
    const failed = await flush(batch)
    noteFailure(queue, failed)
    if (failed.length > 0) {
      // The failed records go back to the front, so that the order stays. `take` drops the expired
      // records.
      queue.waiting = failed.concat(queue.waiting)
      await sleep(failed.every(({ answered }) => answered) ? PROBE_PAUSE_MS : RETRY_PAUSE_MS)
      return
    }
    queue.slowAt = performance.now() - startedAt > SLOW_FLUSH_MS ? performance.now() : undefined
    if (queue.slowAt !== undefined || queue.partition === undefined) return
    isolated.delete(queue.partition)
    requeue(queue.waiting.splice(0))
  }

  /** If the partition of unbound records has become known, moves them to its queue. */
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
    // Yields once, so that records published in the same event-loop turn join this batch.
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
      // The producer sends unbound records to another partition at each attempt. So their failure
      // counts as a failure of all partitions.
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
