import { createRequire } from 'node:module'

interface Address {
  readonly host: string
  readonly port: number
  readonly rack: string | null | undefined
}
interface Broker {
  readonly nodeId: number
  readonly connectionPool: Address
}
interface BrokerPool {
  readonly metadata: {
    readonly brokers: readonly (Address & { readonly nodeId: number })[]
    readonly topicMetadata: readonly { readonly topic: string }[]
  } | null
  readonly brokers: Record<number, Broker>
  readonly rootLogger: object
  readonly versions: object | null
  readonly connectionPoolBuilder: { build(address: Address): Promise<Address> }
  /** Null if the metadata is no longer valid because a broker has closed its connection. */
  readonly metadataExpireAt: number | null
  readonly seedBroker?: { isConnected(): boolean }
  createBroker(options: object): Broker
  createSeedBroker(): Promise<void>
  refreshMetadata(topics: readonly string[]): Promise<void>
  refreshMetadataIfNecessary(topics: readonly string[]): Promise<void>
}

const require = createRequire(import.meta.url)

/**
 * Gives each broker of the metadata a client with the broker's own address. If two refreshes run at
 * the same time, one may replace the bootstrap broker of the other. kafkajs 2.2.4 may then register
 * the bootstrap broker's client under the node id of another broker. Requests for that node id go
 * to the wrong broker until the next refresh.
 */
const separateBrokers = async (pool: BrokerPool): Promise<void> => {
  for (const { nodeId, host, port, rack } of pool.metadata?.brokers ?? []) {
    const broker = pool.brokers[nodeId]
    const isRight =
      broker?.nodeId === nodeId && broker.connectionPool.host === host && broker.connectionPool.port === port
    if (isRight) continue
    const connectionPool = await pool.connectionPoolBuilder.build({ host, port, rack })
    const { rootLogger: logger, versions } = pool
    pool.brokers[nodeId] = pool.createBroker({ logger, versions, connectionPool, nodeId })
  }
}

/**
 * Keeps one slow or hanging broker from blocking all requests of a client. kafkajs 2.2.4 asks one
 * random broker for metadata, and all requests wait for the answer. This design has two problems:
 * - kafkajs refreshes old metadata before the next request, so one slow broker delays the requests
 *   to all brokers. With this patch the refresh runs in the background, and requests use the old
 *   metadata meanwhile.
 * - A client without metadata asks the same bootstrap broker forever. kafkajs tries the next broker
 *   only if the client cannot connect, but a hanging broker accepts connections. With this patch
 *   the next broker replaces a bootstrap broker that loses its connection during a refresh.
 *
 * After each refresh {@link separateBrokers} repairs the clients of the brokers.
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
      await separateBrokers(this)
    } catch (error) {
      // Replace each bootstrap broker only once. Otherwise two refreshes that fail together would
      // skip a broker.
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
      this.metadataExpireAt !== null &&
      topics.every((topic) => metadata?.topicMetadata.some((known) => known.topic === topic))
    if (!isKnown) return refreshMetadataIfNecessary.call(this, topics)
    if (refreshing.has(this)) return
    refreshing.add(this)
    refreshMetadataIfNecessary
      .call(this, topics)
      .catch(() => undefined)
      .finally(() => refreshing.delete(this))
  }
}
