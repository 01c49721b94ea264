/**
 * Stores records on a local disk while Kafka does not answer, so that the ingress can still
 * acknowledge them.
 *
 * Delivery is at-least-once. The delivered records are noted only in memory. After a crash, the
 * spool sends all records of the remaining files again. Repeats are harmless, because readers
 * compare versions.
 *
 * A 202 is only as durable as the disk. The volume must outlive the machine, and an fsync must
 * return only after the bytes are durable.
 */
import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { resolve as resolvePath } from 'node:path'
import type { OutgoingRecord } from '@customer-stream/runtime/kafka'
import { createAppender } from './appender.ts'
import { findFiles, makeDirectory, type SpoolFiles } from './directory.ts'
import { createDrain, type Destination, type DrainEnd } from './drain.ts'
import { lockDirectory } from './lock.ts'
import { isScanned, type SpoolDamage } from './segment.ts'

export { SpoolFullError } from './appender.ts'
export { volatileFileSystem } from './directory.ts'
export { SpoolInUseError } from './lock.ts'
export { damageMessages, lostRecords, type SpoolDamage } from './segment.ts'

export interface SpoolOptions {
  /** Folder of the spool. A missing folder is created. Only one process may use the folder. */
  readonly directory: string
  /**
   * Maximum bytes of all files together. The files need slightly more disk space, because a file
   * system uses whole blocks.
   */
  readonly maxBytes: number
  /** Maximum size of a file. Only whole files are deleted, so small files free room earlier. */
  readonly segmentBytes?: number
  /** Maximum bytes that wait in memory for the disk. */
  readonly maxWaitingBytes?: number
  /** Called once for each damage, when the spool reads the damaged bytes. */
  readonly onDamage?: (damage: SpoolDamage) => void
  /** Expected device number of the directory. A lost mount changes this number. */
  readonly device?: number
}

export interface SpoolSize {
  /** Number of undelivered records. Excludes the records of `uncountedBytes`. */
  readonly records: number
  /** Bytes in files whose records are not counted yet. An earlier process wrote these files. */
  readonly uncountedBytes: number
  /** Bytes of all files. */
  readonly bytes: number
  /** Timestamp of the oldest undelivered record. Undefined if all records are delivered. */
  readonly oldestAt: number | undefined
}

export interface Spool {
  /**
   * Writes a record. Resolves when the record is on disk.
   * @throws SpoolFullError immediately, or the error of the disk. The caller must then not
   *   acknowledge the record. After an error of the disk the record may still be sent later.
   */
  append(record: OutgoingRecord): Promise<void>
  /** Returns true if a value of this size fits, and the disk accepted the last record. */
  hasRoomFor(valueBytes: number): boolean
  /**
   * Sends all records in order of arrival, including records that arrive during the drain. Deletes
   * each file whose records were all accepted. Retries a failing partition twice a second, without
   * delay for other partitions. Only one drain runs at a time. A second call joins the first drain.
   * @throws the error of the disk. The next drain continues.
   */
  drain(destination: Destination, signal?: AbortSignal): Promise<DrainEnd>
  readonly size: SpoolSize
  /** Device number of the directory's file system. */
  readonly device: number
  /**
   * Reason why no further record may be acknowledged, e.g. a deleted lock file. The caller must
   * then close the spool and open it again.
   */
  readonly broken: Error | undefined
  /**
   * Resolves when all appended records are on disk, the drain has ended after its current send, and
   * the lock is released.
   */
  close(): Promise<void>
}

const DEFAULT_SEGMENT_BYTES = 8 * 1024 * 1024
const DEFAULT_MAX_WAITING_BYTES = 16 * 1024 * 1024

/**
 * Throws if the lock file or the directory was replaced. If the lock file was replaced, a second
 * process could use the directory. If the directory was replaced, no later process would find the
 * new records.
 */
const assertUnchanged = async (files: readonly (readonly [path: string, expected: Stats])[]): Promise<void> => {
  const check = async (path: string, expected: Stats) => {
    const found = await stat(path).catch((error) => error as NodeJS.ErrnoException)
    if (found instanceof Error && found.code !== 'ENOENT') throw found
    if (found instanceof Error || found.ino !== expected.ino || found.dev !== expected.dev)
      throw new Error(`${path}: deleted or replaced while the service was running; this folder gets no more events`)
  }
  await Promise.all(files.map(([path, expected]) => check(path, expected)))
}

/**
 * Opens a spool that may have files of earlier processes.
 * @throws SpoolInUseError, or an error that names the path.
 */
export const openSpool = async (options: SpoolOptions): Promise<Spool> => {
  const { maxBytes, segmentBytes = DEFAULT_SEGMENT_BYTES, maxWaitingBytes = DEFAULT_MAX_WAITING_BYTES } = options
  const directory = resolvePath(options.directory)
  const report = (damage: SpoolDamage) => options.onDamage?.(damage)
  await makeDirectory(directory)
  const directoryFile = await stat(directory)
  if (options.device !== undefined && options.device !== directoryFile.dev)
    throw new Error(`${directory}: a different file system is mounted here now`)
  const lock = await lockDirectory(directory)
  const lockFile = await stat(lock.path)
  const files: SpoolFiles = await findFiles(directory, report).catch((error) => {
    lock.release()
    throw error
  })
  const { segments } = files

  let broken: Error | undefined
  const isStillOurs = () =>
    assertUnchanged([
      [directory, directoryFile],
      [lock.path, lockFile],
    ]).catch((error) => {
      broken = error as Error
      throw error
    })
  const appender = createAppender(files, { maxBytes, segmentBytes, maxWaitingBytes, isStillOurs })
  let closed: Promise<void> | undefined
  const drain = createDrain({ files, appender, report, isStillOurs, isClosed: () => closed !== undefined })
  let draining: Promise<DrainEnd> | undefined

  return {
    append: (record) => {
      if (closed) return Promise.reject(new Error('the spool is closed'))
      return broken ? Promise.reject(broken) : appender.append(record)
    },
    hasRoomFor: (valueBytes) => !broken && appender.hasRoomFor(valueBytes),
    drain: (destination, signal) => {
      draining ??= drain.run(destination, signal).finally(() => {
        draining = undefined
      })
      return draining
    },
    get size() {
      let records = 0
      let uncountedBytes = 0
      for (const segment of segments) {
        const known = isScanned(segment) ? segment.found : segment.written
        if (known === undefined) uncountedBytes += segment.bytes
        records += Math.max(known ?? 0, segment.found) - segment.delivered.count
      }
      const { oldestAt } = drain
      return { records, uncountedBytes, bytes: files.bytes, oldestAt: Number.isFinite(oldestAt) ? oldestAt : undefined }
    },
    device: directoryFile.dev,
    get broken() {
      return broken
    },
    close: () => {
      closed ??= (async () => {
        await appender.idle()
        await draining?.catch(() => {})
        await appender.finish().catch(() => {})
        lock.release()
      })()
      return closed
    },
  }
}
