import { mkdir, readdir, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { inheritSegment, type Report, type Segment, syncDirectory } from './segment.ts'

export interface SpoolFiles {
  readonly directory: string
  /** Oldest first. Only the last may be in writing. */
  readonly segments: Segment[]
  /** Of all files, also of those set aside. */
  bytes: number
  lastNumber: number
}

const NAME = /^(\d{16})\.segment(\.damaged)?$/

export const makeDirectory = async (directory: string): Promise<void> => {
  const highest = await mkdir(directory, { recursive: true })
  if (highest === undefined) return
  for (let at = directory; at.length > dirname(highest).length; at = dirname(at)) await syncDirectory(dirname(at))
}

/** What earlier processes left. */
export const findFiles = async (directory: string, report: Report): Promise<SpoolFiles> => {
  const files: SpoolFiles = { directory, segments: [], bytes: 0, lastNumber: 0 }
  for (const name of (await readdir(directory)).sort()) {
    const [, digits, aside] = NAME.exec(name) ?? []
    if (digits === undefined) continue
    files.lastNumber = Number(digits)
    const { size } = await stat(join(directory, name))
    files.bytes += size
    if (!aside) files.segments.push(await inheritSegment(directory, files.lastNumber, size, report))
  }
  return files
}

/**
 * Takes a file away whose records were all sent, but sets a damaged one aside: it may hold a promise that only a person can still read. If that fails,
 * the file is done with all the same, but goes on counting.
 */
export const retire = async (files: SpoolFiles, segment: Segment): Promise<void> => {
  files.segments.splice(files.segments.indexOf(segment), 1)
  const { path, damaged, bytes } = segment
  try {
    await (damaged ? rename(path, `${path}.damaged`) : unlink(path))
    if (!damaged) files.bytes -= bytes
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    files.bytes -= bytes
  }
}
