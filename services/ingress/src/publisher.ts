/**
 * Gathers records into batches, tells each record's own fate, and keeps memory and time bounded.
 *
 * Natural batching: what arrives while one flush is in flight makes up the next. Under low load a record leaves at once; under high load batches grow by
 * themselves, and one send carries hundreds of requests (a send for each would be seven times slower). One flush at a time: two were measured slower.
 *
 * A partition that fails (no leader, too few replicas, a leader that hangs) is set aside: its records get a queue and flushes of their own until one is stored, so that
 * those of the others do not wait for it.
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

/** What the publisher asks of a record. */
export interface Publishable {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}

export interface PublisherOptions<R> {
  readonly maxRecords: number
  readonly maxBytes: number
  /** The partition that a record is bound to; undefined when any will do. */
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
  /** What waits or is in flight, also after its request has been answered: this is the memory that is held. */
  readonly size: { readonly records: number; readonly bytes: number }
  /** Whether the last flush of the records that go the same way left any: who has another place for this one need not wait. */
  fails(record: R): boolean
  /** Partitions that Kafka has not taken the last records of, within a minute. */
  readonly setAside: number
  /** Takes nothing more and resolves when everything taken has met its outcome. */
  close(): Promise<void>
}

interface Entry<R> {
  readonly record: R
  readonly bytes: number
  readonly deadlineAt: number
  answered: boolean
  /** Whether its partition is set aside. */
  aside: boolean
  readonly answer: (outcome: Outcome) => void
  readonly onRefused: ((error: Error) => void) | undefined
  error?: Error
}

/** What is flushed together, one flush at a time. */
interface Way<R> {
  /** The one that is set aside. */
  readonly partition?: number
  fails: boolean
  failedAt?: number
  /** Of the last flush. */
  error?: Error | undefined
  queue: Entry<R>[]
  pumping?: Promise<void> | undefined
}

const MAX_FLUSH_RECORDS = 500
/** A broker takes a request of up to 100 MB, but a large one holds up everything behind it. */
const MAX_FLUSH_BYTES = 4 * 1024 * 1024
/** Headers and bookkeeping of one record. */
const RECORD_OVERHEAD_BYTES = 512
const RETRY_PAUSE_MS = 100
/** Of one whose customers have no more events nobody knows whether it still fails. */
const SET_ASIDE_SHOWN_MS = 60_000
/** What partitions set aside may hold together, of all that may be held: the others must have room. */
const ASIDE_SHARE = 0.5
const SWEEP_INTERVAL_MS = 20

export const createPublisher = <R extends Publishable>(send: Send<R>, options: PublisherOptions<R>): Publisher<R> => {
  const bound: Way<R> = { fails: false, queue: [] }
  /** Of those that may go anywhere. In one flush with the others they would make these wait whenever theirs is a partition that fails. */
  const open: Way<R> = { fails: false, queue: [] }
  const aside = new Map<number, Way<R>>()
  const held = new Set<Entry<R>>()
  let heldBytes = 0
  const heldAside = { records: 0, bytes: 0 }
  let closing = false
  let sweeper: NodeJS.Timeout | undefined

  const answer = (entry: Entry<R>, end: End, error?: Error) => {
    if (entry.answered) return
    entry.answered = true
    entry.answer({ end, error })
  }
  const markAside = (entry: Entry<R>, aside: boolean) => {
    if (entry.aside === aside) return
    entry.aside = aside
    heldAside.records += aside ? 1 : -1
    heldAside.bytes += aside ? entry.bytes : -entry.bytes
  }
  const release = (entry: Entry<R>) => {
    if (!held.delete(entry)) return
    heldBytes -= entry.bytes
    markAside(entry, false)
  }
  const settle = (entry: Entry<R>, end: End, error?: Error) => {
    answer(entry, end, error)
    release(entry)
  }

  // One timer for all deadlines. kafkajs knows no bound for a send, so an answer in time is kept here.
  const sweep = () => {
    const now = performance.now()
    for (const entry of held)
      if (!entry.answered && entry.deadlineAt <= now) answer(entry, 'deadline', entry.error ?? wayOf(entry.record).error)
    if (held.size === 0) {
      clearInterval(sweeper)
      sweeper = undefined
    }
  }

  const partitionOf = ({ record }: Entry<R>) => options.partitionOf?.(record)
  const wayOf = (record: R): Way<R> => {
    const partition = options.partitionOf?.(record)
    return partition === undefined ? open : (aside.get(partition) ?? bound)
  }
  const enqueue = (way: Way<R>, entries: readonly Entry<R>[]) => {
    for (const entry of entries) {
      markAside(entry, way.partition !== undefined)
      way.queue.push(entry)
    }
    way.pumping ??= pump(way)
  }

  /** The next batch. Who has been answered while waiting is dropped: the sender will repeat it. Whose partition has been set aside meanwhile goes there. */
  const take = (way: Way<R>): Entry<R>[] => {
    const batch: Entry<R>[] = []
    let bytes = 0
    let taken = 0
    for (const entry of way.queue) {
      if (batch.length >= MAX_FLUSH_RECORDS || (batch.length > 0 && bytes + entry.bytes > MAX_FLUSH_BYTES)) break
      taken += 1
      if (entry.answered) {
        release(entry)
        continue
      }
      const wayNow = wayOf(entry.record)
      if (wayNow !== way) {
        enqueue(wayNow, [entry])
        continue
      }
      batch.push(entry)
      bytes += entry.bytes
    }
    way.queue = way.queue.slice(taken)
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
    const again: Entry<R>[] = []
    for await (const part of sendInParts(sendTimed, batch)) {
      if (part.end === 'stored') for (const entry of part.records) settle(entry, 'stored')
      else if (part.end === 'unavailable') {
        for (const entry of part.records) entry.error = part.error
        again.push(...part.records)
      } else {
        settle(part.record, 'refused', part.error)
        part.record.onRefused?.(part.error)
      }
    }
    return again
  }

  const setAside = (partition: number, entries: readonly Entry<R>[]) => {
    const way = aside.get(partition) ?? { partition, fails: true, queue: [] }
    way.failedAt = performance.now()
    way.error = entries[0]?.error
    aside.set(partition, way)
    enqueue(way, entries)
  }

  const pump = async (way: Way<R>): Promise<void> => {
    // What arrives in the same turn of the event loop goes along.
    await new Promise(setImmediate)
    while (way.queue.length > 0) {
      const batch = take(way)
      if (batch.length === 0) continue
      const again = await flush(batch)
      if (way.partition !== undefined && again.length === 0) {
        aside.delete(way.partition)
        enqueue(bound, way.queue.splice(0))
        continue
      }
      const here: Entry<R>[] = []
      for (const [partition, entries] of Map.groupBy(again, partitionOf)) {
        if (partition === undefined || partition === way.partition) for (const entry of entries) here.push(entry)
        else setAside(partition, entries)
      }
      way.fails = here.length > 0
      way.error = here[0]?.error
      if (way.fails) way.failedAt = performance.now()
      if (here.length === 0) continue
      // Those whose deadline is not yet over get another try, in their old place.
      way.queue = here.concat(way.queue)
      await sleep(RETRY_PAUSE_MS)
    }
    way.pumping = undefined
  }

  return {
    publish: (record, deadlineAt, onRefused) => {
      if (closing) return Promise.resolve({ end: 'closing' })
      const bytes = (record.key?.byteLength ?? 0) + (record.value?.byteLength ?? 0) + RECORD_OVERHEAD_BYTES
      const way = wayOf(record)
      const isFull = (records: number, bytes: number, share: number) =>
        records >= options.maxRecords * share || bytes > options.maxBytes * share
      if (isFull(held.size, heldBytes + bytes, 1)) return Promise.resolve({ end: 'queue-full', error: way.error })
      if (way.partition !== undefined && isFull(heldAside.records, heldAside.bytes + bytes, ASIDE_SHARE))
        return Promise.resolve({ end: 'queue-full', error: way.error })
      return new Promise((resolve) => {
        const entry: Entry<R> = { record, bytes, deadlineAt, answered: false, aside: false, answer: resolve, onRefused }
        held.add(entry)
        heldBytes += bytes
        sweeper ??= setInterval(sweep, SWEEP_INTERVAL_MS)
        enqueue(way, [entry])
      })
    },
    get size() {
      return { records: held.size, bytes: heldBytes }
    },
    fails: (record) => wayOf(record).fails,
    get setAside() {
      const since = performance.now() - SET_ASIDE_SHOWN_MS
      return aside.values().reduce((count, { failedAt = since }) => count + (failedAt > since ? 1 : 0), 0)
    },
    close: async () => {
      closing = true
      const busy = () => [bound, open, ...aside.values()].flatMap(({ pumping }) => pumping ?? [])
      while (busy().length > 0) await Promise.all(busy())
      clearInterval(sweeper)
    },
  }
}
