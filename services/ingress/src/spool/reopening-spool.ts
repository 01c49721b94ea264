import { openSpool, type Spool, type SpoolOptions } from './spool.ts'

export interface ReopeningSpool extends Pick<Spool, 'append' | 'hasRoomFor' | 'drain' | 'size' | 'close'> {
  /**
   * Opens the spool. If the spool cannot be opened, each drain tries again.
   * @throws SpoolInUseError, or an error that names the path.
   */
  open(): Promise<void>
  /**
   * Reason why the spool cannot be used. Undefined for a full disk, because a drain frees disk
   * space.
   */
  readonly problem: Error | undefined
}

/**
 * Creates a spool that survives the loss of its folder. If the folder or its lock file is missing,
 * deleted or replaced, the spool refuses appends. Each drain then tries to open the spool again.
 * The spool refuses the folder if it is now on another file system. After the loss of a mount, the
 * path leads to an empty folder, on a disk that may not outlive the machine.
 */
export const createReopeningSpool = (options: SpoolOptions): ReopeningSpool => {
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
