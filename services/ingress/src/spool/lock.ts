import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Error: another running process, or another spool of this process, uses the directory. */
export class SpoolInUseError extends Error {
  override readonly name = 'SpoolInUseError'
}

const SQLITE_BUSY = 5
const SQLITE_NOTADB = 26

const lock = (path: string): DatabaseSync => {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { timeout: 0 })
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database?.close()
    const { errcode, message } = error as Error & { errcode?: number }
    if (errcode === SQLITE_BUSY)
      throw new SpoolInUseError(`${path}: the folder is in use by another process`, { cause: error })
    throw Object.assign(new Error(`${path}: ${message}`, { cause: error }), { errcode })
  }
}

export interface Lock {
  readonly path: string
  release(): void
}

/**
 * Locks a directory for this process until the lock is released or the process dies.
 *
 * A pid file does not work. In a container the same pid returns after each restart. Two containers
 * that share a volume do not see each other's pids. A kernel lock ends when its process ends. Node
 * offers a kernel lock only through sqlite, so the lock file is an empty database. On a network
 * file system the lock is only as good as that file system's locks.
 * @throws SpoolInUseError
 */
export const lockDirectory = async (directory: string): Promise<Lock> => {
  const path = join(directory, 'lock')
  const take = async () => {
    try {
      return lock(path)
    } catch (error) {
      if ((error as { errcode?: number }).errcode !== SQLITE_NOTADB) throw error
      // sqlite could not read the file's content, so this process has the lock. Clear the file,
      // because no one needs its content.
      await truncate(path)
      return lock(path)
    }
  }
  const database = await take()
  return { path, release: () => database.close() }
}
