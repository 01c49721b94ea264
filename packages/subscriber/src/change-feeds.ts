import type { CustomerState } from '@customer-stream/schemas'

/** Change of one customer in a table. `null` means that the table does not have the customer. */
export interface TableChange {
  readonly customerUuid: string
  readonly state: CustomerState | null
  readonly previous: CustomerState | null
}

interface Feed {
  readonly pending: Map<string, TableChange>
  /** Ends the wait of a reader for the next change. */
  wake: () => void
}

/**
 * Passes changes on to any number of readers. A slow reader gets only the newest state of each
 * customer, so its queue has at most one entry per customer.
 */
export const createChangeFeeds = () => {
  const feeds = new Set<Feed>()
  let end: { readonly error: Error | undefined } | undefined

  const open = (): AsyncIterableIterator<TableChange, undefined> => {
    const feed: Feed = { pending: new Map(), wake: () => {} }
    feeds.add(feed)
    const close = (): IteratorReturnResult<undefined> => {
      feeds.delete(feed)
      feed.pending.clear()
      feed.wake()
      return { done: true, value: undefined }
    }
    return {
      [Symbol.asyncIterator]() {
        return this
      },
      next: async () => {
        while (feeds.has(feed)) {
          const [first] = feed.pending.values()
          if (first) {
            feed.pending.delete(first.customerUuid)
            return { done: false, value: first }
          }
          if (end?.error) throw end.error
          if (end) break
          const more = Promise.withResolvers<void>()
          feed.wake = more.resolve
          await more.promise
        }
        return close()
      },
      return: async () => close(),
    }
  }

  return {
    open,
    publish: (change: TableChange): void => {
      const { customerUuid, state } = change
      for (const { pending, wake } of feeds) {
        const { previous } = pending.get(customerUuid) ?? change
        pending.delete(customerUuid)
        // Skip a customer that was added and removed before this reader read either change.
        if (state === null && previous === null) continue
        pending.set(customerUuid, { customerUuid, state, previous })
        wake()
      }
    },
    /** Ends each reader after its last change. If there is an error, the reader throws it. */
    end: (error?: Error): void => {
      end = { error }
      for (const { wake } of feeds) wake()
    },
  }
}
