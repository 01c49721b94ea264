import { openSpool, type Spool, type SpoolOptions } from './spool.ts'

export interface LastingSpool extends Pick<Spool, 'append' | 'hasRoomFor' | 'drain' | 'size' | 'close'> {
  /** @throws SpoolInUseError, or an error that names the path. Each drain tries again. */
  open(): Promise<void>
  /** The reason why nothing can be appended, if the disk itself is not full. */
  readonly problem: Error | undefined
}

/**
 * A spool that outlives its folder: if the folder or its lock is deleted, replaced or not there, appends are refused, and each drain
 * tries to open it again. Another file system in its place is not accepted: a mount that got lost leaves an empty folder on a disk
 * that may not outlive the machine.
 */
export const createLastingSpool = (options: SpoolOptions): LastingSpool => {
  let spool: Spool | undefined
  let device: number | undefined
  let problem: Error | undefined
  let closed = false

  const open = async (): Promise<Spool> => {
    if (spool && !spool.broken) return spool
    await spool?.close()
    spool = undefined
    try {
      spool = await openSpool({ ...options, ...(device !== undefined && { device }) })
    } catch (error) {
      problem = error as Error
      throw error
    }
    problem = undefined
    device = spool.device
    return spool
  }
  const current = () => spool?.broken ?? problem

  return {
    open: async () => {
      await open()
    },
    append: (record) => spool?.append(record) ?? Promise.reject(current() ?? new Error('the spool is not open')),
    hasRoomFor: (valueBytes) => spool?.hasRoomFor(valueBytes) ?? false,
    drain: async (delivery, signal) => (closed ? 'stopped' : (await open()).drain(delivery, signal)),
    get size() {
      return spool?.size ?? { records: 0, uncountedBytes: 0, bytes: 0, oldestAt: undefined }
    },
    get problem() {
      return current()
    },
    close: async () => {
      closed = true
      await spool?.close()
    },
  }
}
