/**
 * Sends the records of the spool, and deletes each file when all its records were accepted.
 *
 * The main reader reads all files in order and sends each record once. Records that Kafka did not
 * accept stay on disk. The drain creates a cursor for their partition. A cursor keeps the positions
 * of these records, and sends the records again later. Until the cursor has caught up, the main
 * reader skips the partition's records. So a failing partition delays no other partition.
 *
 * The drain starts again at the first file if the partition count changes, or if an unreadable file
 * becomes readable. Otherwise some records could be in no cursor. The drain does not send delivered
 * records again.
 *
 * Memory does not grow with the spool. The drain has two batches of MAX_BATCH_BYTES: one for the
 * main reader, one for all cursors. The drain has two file windows: one for the main reader, one
 * for the cursor that reads. Each failing partition also needs memory for its share of MAX_PLACES
 * positions, and for one record during an attempt.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { Appender } from './appender.ts'
import { retire, type SpoolFiles } from './directory.ts'
import { isDone, isScanned, noteDamage, type Report } from './segment.ts'
import { createUndelivered, type Item, isBefore, type Place, type Position } from './undelivered.ts'

/**
 * `empty`: all records were sent. `incomplete`: some records were not sent. `stopped`: the signal
 * or `close` ended the drain.
 */
export type DrainEnd = 'empty' | 'incomplete' | 'stopped'

export interface Destination {
  /**
   * Returns a name for the partition of a record. The name must not depend on the record's value.
   * If the number of partitions changes, all names must change.
   */
  readonly partitionOf: (record: OutgoingRecord) => string
  /**
   * Sends records. Never rejects.
   * @param keep must be called for a record that Kafka accepts in no topic. The drain then renames
   *   the record's file to `.damaged` instead of deleting the file.
   * @returns the records to retry. Must not contain records that Kafka will never accept, because
   *   the retries would never end.
   */
  send(records: readonly OutgoingRecord[], keep: (record: OutgoingRecord) => void): Promise<readonly OutgoingRecord[]>
}

// A batch has the limits of the publisher's flush.
const MAX_BATCH_RECORDS = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** Maximum positions of all cursors together, about 150 bytes each. */
const MAX_PLACES = 10_000
/** Time between two attempts for a failing partition. */
const RETRY_MS = 500

/** State of a failing partition. */
interface Cursor {
  /**
   * Any record of the partition, without its value. The drain uses this record to find out whether
   * the partition's name has changed.
   */
  readonly sample: OutgoingRecord
  /** Places of the records to send, the next record first. */
  pending: Place[]
  /** Position up to which all undelivered records of the partition are in `pending`. */
  next: Position
  /**
   * Maximum number of records in one send. The limit is 1 while the partition is failing. A record
   * that fails moves to the end of `pending`, so that each record is tried.
   */
  limit: number
  dueAt: number
  running: Promise<void> | undefined
}

const placeOf = ({ segment, at, end, id, timestamp, partition }: Place): Place => ({
  segment,
  at,
  end,
  id,
  timestamp,
  partition,
})

/** Copies the key, because the original key is a view that keeps a whole file window in memory. */
const sampleOf = (record: OutgoingRecord): OutgoingRecord => ({
  ...record,
  key: record.key && Buffer.from(record.key),
  value: null,
  headers: {},
})

const isRenamed = (partition: string, { sample }: Cursor, { partitionOf }: Destination) =>
  partitionOf(sample) !== partition

export interface DrainOptions {
  readonly files: SpoolFiles
  readonly appender: Appender
  readonly report: Report
  /** Throws if the directory or the lock file was replaced. */
  readonly isStillOurs: () => Promise<void>
  readonly isClosed: () => boolean
}

export interface Drain {
  /**
   * Sends all records in order of arrival, including records that arrive during the run. Only one
   * run at a time is allowed.
   * @throws the error of the disk. The next run continues.
   */
  run(destination: Destination, signal?: AbortSignal): Promise<DrainEnd>
  /** Timestamp of the oldest undelivered record. Infinity if all records are delivered. */
  readonly oldestAt: number
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share the cursors
export const createDrain = ({ files, appender, report, isStillOurs, isClosed }: DrainOptions): Drain => {
  const { segments } = files
  const undelivered = createUndelivered({ segments, report, isStillOurs })
  /**
   * Position of the next record of the main reader. Cursors read only records before this position.
   */
  let next: Position = { segment: 0, at: 0 }
  /** Timestamp of the record at `next`, if known. */
  let nextTimestamp: number | undefined
  const cursors = new Map<string, Cursor>()
  /** True if some undelivered records may be in no cursor. */
  let mustRestart = false

  /**
   * Sends records. Marks the accepted records as delivered.
   * @returns the places of the records that Kafka did not accept.
   */
  const send = async (items: readonly Item[], destination: Destination): Promise<Place[]> => {
    if (items.length === 0) return []
    const itemOf = new Map(items.map((item) => [item.record, item]))
    const keep = (record: OutgoingRecord) => {
      const item = itemOf.get(record)
      if (item) noteDamage(item.segment, { what: 'refused', offset: item.at, bytes: item.end - item.at }, report)
    }
    const notAccepted = new Set(await destination.send([...itemOf.keys()], keep))
    const isNotAccepted = ({ record }: Item) => notAccepted.has(record)
    for (const item of items) if (!isNotAccepted(item)) item.segment.delivered.add(item.id)
    // Keep places instead of records, because each record keeps a whole file window in memory.
    return items.filter(isNotAccepted).map(placeOf)
  }

  /**
   * Reads files for a cursor until the cursor is full, or has reached the main reader. Adds records
   * of other partitions to their cursors, if these cursors have room. Otherwise each cursor would
   * read all files.
   */
  const readOn = async (cursor: Cursor, destination: Destination, isStopped: () => boolean) => {
    const share = Math.min(MAX_BATCH_RECORDS, Math.ceil(MAX_PLACES / cursors.size))
    const [from, until] = [cursor.next, next]
    if (isStopped() || 2 * cursor.pending.length > share || !isBefore(from, until)) return
    const served = new Set([...cursors.values()].filter((one) => !isBefore(one.next, from)))
    for await (const item of undelivered.readFrom(from, destination.partitionOf)) {
      if (isStopped()) return
      const at = { segment: item.segment.number, at: item.at }
      if (!isBefore(at, until)) break
      const its = cursors.get(item.partition)
      if (!its || !served.has(its) || isBefore(at, its.next)) continue
      if (its.pending.length >= share) served.delete(its)
      else {
        its.pending.push(placeOf(item))
        its.next = item.behind
      }
      if (cursor.pending.length >= share) return
    }
    for (const one of served) if (isBefore(one.next, until)) one.next = until
  }
  let reading: Promise<void> = Promise.resolve()
  /**
   * Runs `readOn` for one cursor at a time, because each reading cursor has a file window in
   * memory.
   */
  const fill = (...args: Parameters<typeof readOn>): Promise<void> => {
    const done = reading.then(() => readOn(...args))
    reading = done.catch(() => {})
    return done
  }

  /** Takes the places for a cursor's next send: its share of a batch, and at least one place. */
  const take = ({ pending, limit }: Cursor): Place[] => {
    const bytesPerCursor = MAX_BATCH_BYTES / cursors.size
    let bytes = 0
    const count = pending.findIndex(({ at, end }, i) => {
      bytes += end - at
      return i > 0 && (i >= limit || bytes > bytesPerCursor)
    })
    return pending.splice(0, count < 0 ? pending.length : count)
  }

  /**
   * Sends a failing partition's records until the cursor has caught up or a send fails. Each send
   * may have twice as many records as the previous send.
   */
  const retry = async (partition: string, cursor: Cursor, destination: Destination, isStopped: () => boolean) => {
    for (;;) {
      await fill(cursor, destination, isStopped)
      if (isStopped() || mustRestart) return
      if (cursor.pending.length === 0 && !isBefore(cursor.next, next)) {
        // If the partition's name has changed, `readOn` has skipped some of the partition's
        // records.
        if (isRenamed(partition, cursor, destination)) mustRestart = true
        else cursors.delete(partition)
        return
      }
      const places = take(cursor)
      let notAccepted: Place[] = places
      try {
        notAccepted = await send(await undelivered.readPlaces(places), destination)
      } finally {
        cursor.pending.push(...notAccepted)
      }
      if (notAccepted.length > 0) {
        cursor.limit = 1
        cursor.dueAt = performance.now() + RETRY_MS
        return
      }
      cursor.limit *= 2
    }
  }

  // biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one state
  const run: Drain['run'] = async (destination, signal) => {
    const isStopped = () => isClosed() || signal?.aborted === true
    await isStillOurs()
    await appender.tryDisk()
    let failure: { readonly error: unknown } | undefined
    const fails = (error: unknown) => {
      failure ??= { error }
    }
    const startCursors = () => {
      mustRestart ||= cursors.entries().some(([partition, cursor]) => isRenamed(partition, cursor, destination))
      // Start no cursor now, because the cursor would end immediately. This loop would then start
      // the cursor again and again, and block the event loop.
      if (isStopped() || mustRestart) return
      for (const [partition, cursor] of cursors) {
        if (cursor.running || cursor.dueAt > performance.now()) continue
        cursor.running = retry(partition, cursor, destination, isStopped)
          .catch((error) => {
            cursor.dueAt = performance.now() + RETRY_MS
            fails(error)
          })
          .finally(() => {
            cursor.running = undefined
          })
      }
    }
    const running = () => [...cursors.values()].flatMap((cursor) => cursor.running ?? [])
    const restart = async () => {
      await Promise.all(running())
      cursors.clear()
      next = { segment: 0, at: 0 }
      mustRestart = false
    }
    const retireDone = async () => {
      for (const segment of [...segments]) {
        // Check each file immediately before its deletion, because a record may have been appended.
        if (!isDone(segment) || appender.mayWriteTo(segment)) continue
        try {
          if (segment === segments.at(-1)) await appender.finish()
          await retire(files, segment)
        } catch (error) {
          fails(error)
        }
      }
    }
    /**
     * Sends the records of the main reader up to the end of the spool.
     * @returns true if the run must stop.
     */
    const sendAll = async (): Promise<boolean> => {
      const reader = undelivered.readFrom(next, destination.partitionOf)
      let read = await reader.next()
      try {
        while (!read.done) {
          nextTimestamp = read.value.timestamp
          if (isStopped()) return true
          if (mustRestart) return false
          startCursors()
          const begun = next
          const batch: Item[] = []
          let bytes = 0
          for (let records = 0; !read.done && records < MAX_BATCH_RECORDS; records++) {
            const item = read.value
            bytes += item.end - item.at
            if (batch.length > 0 && bytes > MAX_BATCH_BYTES) break
            if (!cursors.has(item.partition)) batch.push(item)
            // Move `next` past the batch before the send. Cursors read only up to `next`. So they
            // find the records of failing partitions, which the main reader skips here.
            next = item.behind
            read = await reader.next().catch((error: unknown) => {
              // The batch was not sent, so the next run must begin at its first record.
              next = begun
              throw error
            })
          }
          const notAccepted = await send(batch, destination)
          for (const [partition, pending] of Map.groupBy(notAccepted, (item) => item.partition)) {
            const sample = sampleOf(batch.find((item) => item.partition === partition)!.record)
            const dueAt = performance.now() + RETRY_MS
            cursors.set(partition, { sample, pending, next, limit: 1, dueAt, running: undefined })
          }
          await retireDone()
        }
        next = read.value
        return false
      } finally {
        await reader.return(next)
      }
    }
    try {
      for (;;) {
        startCursors()
        if (await sendAll()) return 'stopped'
        nextTimestamp = undefined
        await retireDone()
        if (failure) throw failure.error
        if (!isStopped()) mustRestart ||= await undelivered.retryUnreadable()
        if (mustRestart) {
          await restart()
          continue
        }
        const last = segments.at(-1)
        if (undelivered.hasFileFrom(next)) continue
        if (appender.mayWriteTo(last)) await Promise.race([appender.committed, ...running()])
        else if (isStopped()) return 'stopped'
        else if (running().length > 0) await Promise.race([appender.committed, sleep(RETRY_MS), ...running()])
        // If a readable file has an undelivered record that is in no cursor, read all files again.
        else if (cursors.size === 0 && segments.some((segment) => segment.retryAt === 0 && !isDone(segment)))
          await restart()
        // If a cursor has finished a file in the meantime, continue the loop, which deletes the
        // file.
        else if (!segments.some(isDone)) return segments.length === 0 ? 'empty' : 'incomplete'
      }
    } finally {
      await Promise.all(running())
    }
  }

  return {
    run,
    get oldestAt() {
      const unscanned = segments.find((segment) => !isScanned(segment))
      const oldest = [nextTimestamp ?? unscanned?.unreadSince ?? Number.POSITIVE_INFINITY]
      for (const { pending } of cursors.values()) for (const { timestamp } of pending) oldest.push(timestamp)
      return oldest.reduce((least, timestamp) => Math.min(least, timestamp))
    },
  }
}
