import type { CustomerState } from '@customer-stream/schemas'

/** A change of one customer in a table. Null means that the table does not have the customer. */
export interface TableChange {
  readonly customerUuid: string
  readonly state: CustomerState | null
  readonly previous: CustomerState | null
}

interface Feed {
  readonly pending: Map<string, TableChange>
  /** Called when there is something to read. */
  wake: () => void
}

/**
 * Passes changes on to any number of readers. A reader that is slower than the stream gets the
 * newest state of each customer and not each step, so what waits for it is bounded by the number of
 * customers.
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
        // A customer that came and went unread is no change for this reader.
        if (state === null && previous === null) continue
        pending.set(customerUuid, { customerUuid, state, previous })
        wake()
      }
    },
    /** Ends every reader when it has read all changes. With an error, the reader then throws it. */
    end: (error?: Error): void => {
      end = { error }
      for (const { wake } of feeds) wake()
    },
  }
}
