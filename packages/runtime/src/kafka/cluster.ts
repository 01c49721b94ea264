import type { Kafka } from 'kafkajs'
import type { Fetched } from './patches/fetch.ts'

/** Request of Kafka's protocol, as kafkajs represents it. */
export interface ProtocolRequest<T> {
  readonly request: {
    readonly apiKey: number
    readonly apiName: string
    readonly apiVersion: number
    readonly encode: () => Promise<object>
  }
  readonly response: {
    readonly decode: (raw: Buffer) => Promise<T>
    readonly parse: (data: T) => Promise<T>
  }
  /** If false, kafkajs does not log the broker's error. Default: true. */
  readonly logResponseError?: boolean
}
interface Broker {
  readonly versions: Readonly<Record<number, { readonly maxVersion: number }>>
  readonly connectionPool: { send<T>(request: ProtocolRequest<T>): Promise<T> }
  metadata(topics: readonly string[]): Promise<unknown>
  initProducerId(request: {
    readonly transactionalId: string
    readonly transactionTimeout: number
  }): Promise<{ readonly producerId: string; readonly producerEpoch: number }>
  /** Returns a function that creates the newest version of a request that the broker knows. */
  lookupRequest(apiKey: number, versions: object): (fields: object) => ProtocolRequest<unknown>
  fetch(request: {
    readonly maxWaitTime: number
    readonly maxBytes: number
    readonly isolationLevel: number
    readonly topics: readonly {
      readonly topic: string
      readonly partitions: readonly {
        readonly partition: number
        readonly fetchOffset: string
        readonly maxBytes: number
      }[]
    }[]
  }): Promise<Fetched>
}
/** Members of kafkajs' internal cluster object that our code uses. */
export interface Cluster {
  readonly brokerPool: {
    /** Brokers by node id. */
    readonly brokers: Readonly<Record<string, Broker>>
    findBroker(node: { nodeId: string }): Promise<Broker>
    refreshMetadata(topics: readonly string[]): Promise<void>
    findConnectedBroker(): Promise<Broker>
  }
  addTargetTopic(topic: string): Promise<void>
  refreshMetadata(): Promise<void>
  refreshMetadataIfNecessary(): Promise<void>
  findBroker(node: { readonly nodeId: string }): Promise<Broker>
  findGroupCoordinator(request: { readonly groupId: string; readonly coordinatorType: number }): Promise<Broker>
  /** Returns the partitions by the node id of their leader. */
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>
  findTopicPartitionMetadata(topic: string): readonly { readonly partitionId: number }[]
  fetchTopicsOffset(
    topics: readonly {
      readonly topic: string
      readonly fromBeginning: boolean
      readonly partitions: readonly { readonly partition: number }[]
    }[],
  ): Promise<{ readonly partitions: readonly { readonly partition: number; readonly offset: string }[] }[]>
}
type CreateCluster = (options: object) => Cluster

/**
 * Creates a client of kafkajs, e.g. an admin client. Also returns the client's private cluster
 * object.
 */
export const withCluster = <T>(kafka: Kafka, create: () => T): { readonly client: T; readonly cluster: Cluster } => {
  const key = Object.getOwnPropertySymbols(kafka).find(
    ({ description }) => description === 'private:Kafka:createCluster',
  )
  if (key === undefined) throw new Error('this version of kafkajs creates its clusters in another way: see cluster.ts')
  const creator = kafka as unknown as Record<symbol, CreateCluster>
  const createCluster = creator[key] as CreateCluster
  let created: Cluster | undefined
  creator[key] = (clusterOptions) => {
    created = createCluster(clusterOptions)
    return created
  }
  try {
    return { client: create(), cluster: created as Cluster }
  } finally {
    creator[key] = createCluster
  }
}
