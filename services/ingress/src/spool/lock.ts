import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Another living process, or another spool of this one, uses the directory. */
export class SpoolInUseError extends Error {
  override readonly name = 'SpoolInUseError'
}

const SQLITE_BUSY = 5

/**
 * Lets one process into a directory until it lets go or dies.
 *
 * A pid in a file would not do: in containers the same pid comes back after each restart, and two containers that share a volume do not see each other's.
 * The kernel's own file lock has neither fault and dies with its owner, but of all that comes with Node only sqlite takes one; nothing is ever stored in
 * its database. On a network file system it holds as far as locks do there.
 * @returns what lets go.
 * @throws SpoolInUseError
 */
export const lockDirectory = (directory: string): (() => void) => {
  const database = new DatabaseSync(join(directory, 'lock'), { timeout: 0 })
  try {
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error
    throw new SpoolInUseError(`${directory} is in use by another process`, { cause: error })
  }
  return () => database.close()
}
