import type { CustomerState } from '@customer-stream/schemas'

/** Change of one customer in a table. `null` means that the table does not have the customer. */
export interface TableChange {
  readonly customerUuid: string
  readonly state: CustomerState | null
  readonly previous: CustomerState | null
}

interface Feed {
  readonly pending: Map<string, TableChange>
  /** Resolves all calls of `next` that wait for a change. Undefined if no call waits. */
  more: PromiseWithResolvers<void> | undefined
}

const wake = (feed: Feed): void => {
  feed.more?.resolve()
  feed.more = undefined
}

/**
 * Passes changes on to any number of feeds. A feed that is read slowly keeps only the newest state
 * of each customer, so its queue has at most one entry per customer.
 */
export const createChangeFeeds = () => {
  const feeds = new Set<Feed>()
  let end: { readonly error: Error | undefined } | undefined

  const open = (): AsyncIterableIterator<TableChange, undefined> => {
    const feed: Feed = { pending: new Map(), more: undefined }
    feeds.add(feed)
    const close = (): IteratorReturnResult<undefined> => {
      feeds.delete(feed)
      feed.pending.clear()
      wake(feed)
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
          feed.more ??= Promise.withResolvers()
          await feed.more.promise
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
      for (const feed of feeds) {
        const { pending } = feed
        const { previous } = pending.get(customerUuid) ?? change
        pending.delete(customerUuid)
        // Skip a customer that was added and removed before this feed was read again.
        if (state === null && previous === null) continue
        pending.set(customerUuid, { customerUuid, state, previous })
        wake(feed)
      }
    },
    /**
     * Ends each feed after its last change. If an error is given, the last read of a feed throws
     * this error.
     */
    end: (error?: Error): void => {
      end = { error }
      for (const feed of feeds) wake(feed)
    },
  }
}
