import { createRequire } from 'node:module'

interface BrokerPool {
  readonly metadata: { readonly topicMetadata: readonly { readonly topic: string }[] } | null
  /** Null if the metadata is no longer valid because a broker has closed its connection. */
  readonly metadataExpireAt: number | null
  readonly seedBroker?: { isConnected(): boolean }
  createSeedBroker(): Promise<void>
  refreshMetadata(topics: readonly string[]): Promise<void>
  refreshMetadataIfNecessary(topics: readonly string[]): Promise<void>
}

const require = createRequire(import.meta.url)

/**
 * Keeps one slow or hanging broker from blocking all requests of a client. kafkajs 2.2.4 asks one
 * broker, chosen at random, for metadata, and all requests wait for the answer. Two things go wrong
 * if that broker hangs or is slow:
 * - kafkajs refreshes old metadata before the next request, so one slow broker delays the requests
 *   to all others. With this patch the refresh runs in the background, one at a time. Requests use
 *   the metadata that is known.
 * - A client without metadata asks the same bootstrap broker forever. kafkajs tries the next one
 *   only if it cannot connect, but a hanging broker accepts connections. With this patch a
 *   bootstrap broker that loses its connection during a refresh is replaced by the next one.
 *
 * Must run before a client is created.
 */
export const patchMetadata = (): void => {
  const { prototype } = require('kafkajs/src/cluster/brokerPool') as { prototype: BrokerPool }
  const { refreshMetadata, refreshMetadataIfNecessary } = prototype
  const refreshing = new WeakSet<BrokerPool>()
  const replaced = new WeakSet<object>()
  prototype.refreshMetadata = async function (topics) {
    const seed = this.seedBroker
    try {
      await refreshMetadata.call(this, topics)
    } catch (error) {
      // Replace a broker only once. Otherwise two refreshes that fail together would skip the next
      // broker.
      if (seed && seed === this.seedBroker && !seed.isConnected() && !replaced.has(seed)) {
        replaced.add(seed)
        await this.createSeedBroker()
      }
      throw error
    }
  }
  prototype.refreshMetadataIfNecessary = async function (topics) {
    const { metadata } = this
    const isKnown =
      this.metadataExpireAt !== null && topics.every((topic) => metadata?.topicMetadata.some((known) => known.topic === topic))
    if (!isKnown) return refreshMetadataIfNecessary.call(this, topics)
    if (refreshing.has(this)) return
    refreshing.add(this)
    refreshMetadataIfNecessary
      .call(this, topics)
      .catch(() => undefined)
      .finally(() => refreshing.delete(this))
  }
}
