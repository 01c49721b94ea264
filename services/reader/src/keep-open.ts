/** Keeps a resource open between two uses that are close together, for example clients of Kafka. */

export interface KeepOpenOptions<T> {
  readonly open: () => Promise<T>
  /** Updates an open resource before its next use. If this fails, the use gets a new resource. */
  readonly refresh: (resource: T) => Promise<void>
  readonly close: (resource: T) => Promise<unknown>
  /** Maximum age of a resource. A running use may last longer. */
  readonly maxAgeMs: number
}

export interface KeptOpen<T> {
  /** Runs one use. The caller must wait for its end before the next use. */
  use<R>(work: (resource: T) => Promise<R>): Promise<R>
  /** Closes the resource, or lets a running use close it at its end. */
  stop(): Promise<void>
}

export const keepOpen = <T>({ open, refresh, close, maxAgeMs }: KeepOpenOptions<T>): KeptOpen<T> => {
  let kept: { readonly resource: T; readonly timer: NodeJS.Timeout; isOld: boolean } | undefined
  let [isUsed, isStopped] = [false, false]

  const drop = async () => {
    if (kept === undefined) return
    const { resource, timer } = kept
    kept = undefined
    clearTimeout(timer)
    await close(resource)
  }

  const keep = (resource: T): T => {
    const opened = {
      resource,
      isOld: false,
      timer: setTimeout(() => {
        opened.isOld = true
        if (!isUsed) drop().catch(() => undefined)
      }, maxAgeMs).unref(),
    }
    kept = opened
    return resource
  }

  const obtain = async (): Promise<T> => {
    if (kept !== undefined) {
      const { resource } = kept
      const isCurrent = await refresh(resource).then(
        () => true,
        () => false,
      )
      if (isCurrent) return resource
      await drop()
    }
    return keep(await open())
  }

  return {
    use: async (work) => {
      isUsed = true
      try {
        return await work(await obtain())
      } catch (error) {
        // A kafkajs client that could not get the metadata of one topic fails for all its topics.
        await drop()
        throw error
      } finally {
        isUsed = false
        if (isStopped || kept?.isOld) await drop()
      }
    },
    stop: async () => {
      isStopped = true
      if (!isUsed) await drop()
    },
  }
}
