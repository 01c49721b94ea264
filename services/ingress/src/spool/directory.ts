import type { Stats } from 'node:fs'
import { mkdir, readdir, rename, stat, statfs, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { NEW, newSegment, type Report, readHeader, type Segment, syncDirectory } from './segment.ts'

export interface SpoolFiles {
  readonly directory: string
  /** Undelivered files, oldest first. Only the last file may still be written. */
  readonly segments: Segment[]
  /** Bytes of all files, `.damaged` files included. */
  bytes: number
  lastNumber: number
}

const NAME = /^(\d{16})(?:-([0-9a-f]{8}))?\.segment(\.damaged|\.new)?$/

export const makeDirectory = async (directory: string): Promise<void> => {
  const highest = await mkdir(directory, { recursive: true })
  if (highest === undefined) return
  for (let at = directory; at.length > dirname(highest).length; at = dirname(at)) await syncDirectory(dirname(at))
}

/** Finds the files of earlier processes. Reads only the header of the first file. */
export const findFiles = async (directory: string, report: Report): Promise<SpoolFiles> => {
  const files: SpoolFiles = { directory, segments: [], bytes: 0, lastNumber: 0 }
  for (const name of (await readdir(directory)).sort()) {
    const [, digits, marker, ending] = NAME.exec(name) ?? []
    if (digits === undefined) continue
    // Each file needs its own number, because a position in the spool contains the file's number.
    // Two files may have the same number, e.g. after a person moved a file here.
    const number = Math.max(files.lastNumber + 1, Number(digits))
    files.lastNumber = number
    const path = join(directory, name)
    const found: Stats = await stat(path)
    if (!found.isFile()) {
      report({ file: path, offset: 0, bytes: 0, what: 'foreign' })
      continue
    }
    // No record in a `.new` file was acknowledged.
    if (ending === NEW) await unlink(path)
    else files.bytes += found.size
    if (ending !== undefined) continue
    const segment = newSegment(
      path,
      number,
      found.size,
      true,
      marker === undefined ? undefined : Buffer.from(marker, 'hex'),
    )
    // The file's modification time is an estimate until the header is read.
    segment.unreadSince = Math.floor(found.mtimeMs)
    files.segments.push(segment)
  }
  // The first file has the oldest record.
  if (files.segments[0]) await readHeader(files.segments[0])
  return files
}

/**
 * Deletes a file whose records were all sent. Renames a damaged file to `.damaged` instead, because
 * a person may still recover records from it.
 */
export const retire = async (files: SpoolFiles, segment: Segment): Promise<void> => {
  const { path, damaged, bytes } = segment
  let isGone = !damaged
  try {
    await (damaged ? rename(path, `${path}.damaged`) : unlink(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    isGone = true
  }
  files.segments.splice(files.segments.indexOf(segment), 1)
  if (isGone) files.bytes -= bytes
}

/**
 * By Linux magic number: names of file systems that do not outlive the machine or the container.
 */
const VOLATILE = new Map([
  [0x01021994, 'tmpfs (memory)'],
  [0x858458f6, 'ramfs (memory)'],
  [0x794c7630, 'overlay (the writable layer of a container)'],
])

/**
 * Returns the name of the directory's file system if it does not outlive the machine or the
 * container.
 */
export const volatileFileSystem = async (directory: string): Promise<string | undefined> =>
  VOLATILE.get((await statfs(directory)).type)
