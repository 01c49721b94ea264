import { AsyncLocalStorage } from 'node:async_hooks'
import { createRequire } from 'node:module'

interface Cluster {
  fetchTopicsOffset(topics: readonly object[]): Promise<object[]>
}

const require = createRequire(import.meta.url)
const READ_UNCOMMITTED = 0
const isolation = new AsyncLocalStorage<number>()

/**
 * Lets {@link readUncommitted} choose the isolation level READ_UNCOMMITTED for one call. kafkajs
 * 2.2.4's admin client asks for offsets only with READ_COMMITTED, so a partition seems to end
 * before an open transaction. Must run before a client is created.
 */
export const patchIsolation = (): void => {
  const { prototype } = require('kafkajs/src/cluster') as { prototype: Cluster }
  const { fetchTopicsOffset } = prototype
  prototype.fetchTopicsOffset = function (topics) {
    const isolationLevel = isolation.getStore()
    const cluster =
      isolationLevel === undefined ? this : Object.create(this, { isolationLevel: { value: isolationLevel } })
    return fetchTopicsOffset.call(cluster, topics)
  }
}

/** Runs `ask`. The end offsets that `ask` fetches are after the records of open transactions. */
export const readUncommitted = <T>(ask: () => Promise<T>): Promise<T> => isolation.run(READ_UNCOMMITTED, ask)
