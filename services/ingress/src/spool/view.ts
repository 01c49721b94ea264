import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { View } from './format.ts'

const WINDOW_BYTES = 256 * 1024
/** Size of a disk block. A disk error affects a whole block. */
const BLOCK_BYTES = 4096
const RETRY_PAUSE_MS = 100
const RETRIES = 5
/**
 * Maximum retries for one open file. Without this limit, the retries of many bad blocks would delay
 * other files.
 */
const MAX_RETRIES = 20

/** Adds the path to an error, because errors of an open file name no path. */
export const withPath = (error: unknown, path: string): Error => {
  const { message, code } = error as NodeJS.ErrnoException
  return message.includes(path)
    ? (error as Error)
    : Object.assign(new Error(`${path}: ${message}`, { cause: error }), { code })
}

/** Error: no byte of the file can be read. The disk may be missing only for a while. */
export class UnreadableFileError extends Error {
  override readonly name = 'UnreadableFileError'
}

/**
 * Returns true for an error of the disk itself. Other errors (too many open files, no permission)
 * do not mean that the file is damaged.
 */
const isMediumError = (error: unknown): boolean =>
  ['EIO', 'EUCLEAN', 'ENODATA', 'EBADMSG'].includes((error as NodeJS.ErrnoException).code ?? '')

export interface FileView {
  /** Reads a range of bytes. Returns zeros for unreadable blocks. */
  readonly read: View
  /** Returns true if a block between these offsets could not be read. */
  hasGap(from: number, end: number): boolean
  close(): Promise<void>
}

/** Reads ranges of a file. If a read fails, reads its blocks one by one and retries them. */
const createBlockReader = (file: FileHandle, path: string, limit: number) => {
  const gaps = new Set<number>()
  let retries = 0
  let hasRead = false

  /** Fills the buffer from the file, and with zeros after the end of the file. */
  const fill = async (buffer: Buffer, at: number) => {
    for (let done = 0; done < buffer.length; ) {
      const { bytesRead } = await file.read(buffer, done, buffer.length - done, at + done)
      if (bytesRead === 0) {
        buffer.fill(0, done)
        return
      }
      done += bytesRead
      hasRead = true
    }
  }
  const fillBlock = async (buffer: Buffer, at: number) => {
    const block = Math.floor(at / BLOCK_BYTES)
    for (let attempt = 0; ; attempt++) {
      try {
        if (!gaps.has(block)) return await fill(buffer, at)
        buffer.fill(0)
        return
      } catch (error) {
        if (!isMediumError(error)) throw withPath(error, path)
        if (attempt === RETRIES || retries === MAX_RETRIES) gaps.add(block)
        else {
          retries += 1
          await sleep(RETRY_PAUSE_MS)
        }
      }
    }
  }
  const canRead = (at: number): Promise<boolean> =>
    file.read(Buffer.alloc(1), 0, 1, at).then(
      () => true,
      () => false,
    )
  const read = async (from: number, end: number): Promise<Buffer> => {
    const buffer = Buffer.allocUnsafe(end - from)
    try {
      await fill(buffer, from)
      return buffer
    } catch (error) {
      if (!isMediumError(error)) throw withPath(error, path)
    }
    for (let at = from; at < end; ) {
      const blockEnd = Math.min(end, (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES)
      await fillBlock(buffer.subarray(at - from, blockEnd - from), at)
      at = blockEnd
    }
    if (!hasRead && !(await canRead(0)) && !(await canRead(limit - 1)))
      throw new UnreadableFileError(`${path}: cannot be read`)
    return buffer
  }

  return {
    read,
    hasGap: (from: number, end: number): boolean => {
      for (const block of gaps) if (block * BLOCK_BYTES < end && (block + 1) * BLOCK_BYTES > from) return true
      return false
    },
  }
}

/**
 * Opens a file for reading through a window, so that memory stays bounded.
 * @returns undefined if the file does not exist.
 * @throws UnreadableFileError (from `read`) if no read has succeeded yet, and both the first and
 *   the last byte are unreadable.
 */
export const openView = async (path: string, limit: number): Promise<FileView | undefined> => {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const blocks = createBlockReader(file, path, limit)
  let start = 0
  let window: Buffer = Buffer.alloc(0)
  return {
    read: async (at, bytes) => {
      const end = Math.min(at + bytes, limit)
      if (at < start || end > start + window.length) {
        window = await blocks.read(at, Math.max(end, Math.min(limit, at + WINDOW_BYTES)))
        start = at
      }
      return window.subarray(at - start, Math.max(at, end) - start)
    },
    hasGap: blocks.hasGap,
    close: () => file.close(),
  }
}
