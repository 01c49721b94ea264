import type { Stats } from 'node:fs'
import { mkdir, readdir, rename, stat, statfs, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { NEW, newSegment, type Report, readHeader, type Segment, syncDirectory } from './segment.ts'

export interface SpoolFiles {
  readonly directory: string
  /** Oldest first. Only the last may be in writing. */
  readonly segments: Segment[]
  /** Bytes of all files, also of those that are kept as damaged. */
  bytes: number
  lastNumber: number
}

const NAME = /^(\d{16})(?:-([0-9a-f]{8}))?\.segment(\.damaged|\.new)?$/

export const makeDirectory = async (directory: string): Promise<void> => {
  const highest = await mkdir(directory, { recursive: true })
  if (highest === undefined) return
  for (let at = directory; at.length > dirname(highest).length; at = dirname(at)) await syncDirectory(dirname(at))
}

/** Lists the files of earlier processes. Their contents are read when they are sent. */
export const findFiles = async (directory: string, report: Report): Promise<SpoolFiles> => {
  const files: SpoolFiles = { directory, segments: [], bytes: 0, lastNumber: 0 }
  for (const name of (await readdir(directory)).sort()) {
    const [, digits, marker, ending] = NAME.exec(name) ?? []
    if (digits === undefined) continue
    // Positions name a file by its number. Two files may share one, after an upgrade was undone or files were moved here.
    const number = Math.max(files.lastNumber + 1, Number(digits))
    files.lastNumber = number
    const path = join(directory, name)
    const found: Stats = await stat(path)
    if (!found.isFile()) {
      report({ file: path, offset: 0, bytes: 0, what: 'foreign' })
      continue
    }
    // Nothing in it was acknowledged.
    if (ending === NEW) await unlink(path)
    else files.bytes += found.size
    if (ending !== undefined) continue
    const segment = newSegment(path, number, found.size, true, marker === undefined ? undefined : Buffer.from(marker, 'hex'))
    // A bound, until the header is read.
    segment.unreadSince = Math.floor(found.mtimeMs)
    files.segments.push(segment)
  }
  // The oldest record of all is in the first file.
  if (files.segments[0]) await readHeader(files.segments[0])
  return files
}

/** Deletes a file whose records were all sent, but keeps a damaged one: it may hold a record that only a person can still read. */
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

/** File systems that do not outlive the machine or the container, by the number that Linux gives them. */
const VOLATILE = new Map([
  [0x01021994, 'tmpfs (memory)'],
  [0x858458f6, 'ramfs (memory)'],
  [0x794c7630, 'overlay (the writable layer of a container)'],
])

/** Names the file system of a directory, if it does not outlive the machine or the container. */
export const volatileFileSystem = async (directory: string): Promise<string | undefined> => VOLATILE.get((await statfs(directory)).type)
