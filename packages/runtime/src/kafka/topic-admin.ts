import kafkajs, { type Admin } from 'kafkajs'
import { type Cluster, withCluster } from './cluster.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'

export interface PartitionDescription {
  readonly partition: number
  /** Node id of the leader, or -1 if the partition has no leader. */
  readonly leader: number
  /** Node ids of all replicas, in sync or not. */
  readonly replicas: readonly number[]
}

/** Offsets of one partition, as decimal numbers. */
export interface PartitionEnds {
  readonly partition: number
  /** Offset of the oldest record. */
  readonly low: string
  /** Offset after the newest record that a reader of committed records can get. */
  readonly high: string
}

export interface NewTopic {
  readonly topic: string
  readonly partitions: number
  readonly replicationFactor: number
  /**
   * Values by name of the setting, e.g. `retention.ms`. Each missing setting gets Kafka's default.
   */
  readonly config: Readonly<Record<string, string>>
}

/**
 * Reads metadata of topics, and creates topics. Each method rejects if Kafka does not answer, or if
 * Kafka refuses the request. `errorType` returns Kafka's name of the error.
 */
export interface TopicAdmin {
  /** Connects. May be called again after a failure. */
  connect(): Promise<void>
  disconnect(): Promise<void>
  /**
   * Returns the partitions of each topic, by name of the topic. Rejects with
   * UNKNOWN_TOPIC_OR_PARTITION if a topic does not exist.
   */
  describeTopics(topics: readonly string[]): Promise<ReadonlyMap<string, readonly PartitionDescription[]>>
  /**
   * Returns settings of a topic, by name.
   * @param names Default: all settings.
   */
  describeTopicConfig(topic: string, names?: readonly string[]): Promise<ReadonlyMap<string, string>>
  /**
   * Creates topics. Does not wait until every broker knows the topics. Resolves even if another
   * process creates the topics at the same time.
   */
  createTopics(topics: readonly NewTopic[]): Promise<void>
  /**
   * Returns the ends of the partitions whose leader answers. A caller that needs every partition
   * must check the count.
   */
  fetchTopicOffsets(topic: string): Promise<PartitionEnds[]>
  /**
   * Returns the offset of the first record at or after a time, for each partition. If there is no
   * later record, returns the partition's end.
   * @param timestampMs Unix milliseconds.
   */
  fetchTopicOffsetsByTimestamp(
    topic: string,
    timestampMs: number,
  ): Promise<{ readonly partition: number; readonly offset: string }[]>
}

const clients = new WeakMap<TopicAdmin, { readonly administrator: Admin; readonly cluster: Cluster }>()

const clientsOf = (admin: TopicAdmin) => {
  const found = clients.get(admin)
  if (found === undefined) throw new Error('this admin client was not created by createAdmin')
  return found
}

/** Returns kafkajs' admin client. */
export const administratorOf = (admin: TopicAdmin): Admin => clientsOf(admin).administrator

/** Returns the cluster object inside kafkajs' admin client. */
export const clusterOf = (admin: TopicAdmin): Cluster => clientsOf(admin).cluster

const ONE_RETRY = { retries: 1, initialRetryTime: 100, maxRetryTime: 1000 }

/**
 * Creates an admin client.
 * @param options.isPatient if true, kafkajs retries a failed request as often as in any other
 *   client of `createKafka`. By default kafkajs retries the request once, because a caller with its
 *   own retries needs the error early.
 */
export const createAdmin = (kafka: KafkaClient, { isPatient = false }: { isPatient?: boolean } = {}): TopicAdmin => {
  const creator = kafkajsOf(kafka)
  const { client: administrator, cluster } = withCluster(creator, () =>
    creator.admin({ retry: isPatient ? {} : ONE_RETRY }),
  )
  const admin: TopicAdmin = {
    connect: () => administrator.connect(),
    disconnect: () => administrator.disconnect(),
    describeTopics: async (names) => {
      const { topics } = await administrator.fetchTopicMetadata({ topics: [...names] })
      return new Map(
        topics.map(({ name, partitions }) => [
          name,
          partitions.map(({ partitionId, leader, replicas }) => ({ partition: partitionId, leader, replicas })),
        ]),
      )
    },
    describeTopicConfig: async (topic, names) => {
      const { resources } = await administrator.describeConfigs({
        includeSynonyms: false,
        resources: [
          { type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, ...(names && { configNames: [...names] }) },
        ],
      })
      const entries = resources.find(({ resourceName }) => resourceName === topic)?.configEntries ?? []
      return new Map(entries.map(({ configName, configValue }) => [configName, configValue]))
    },
    createTopics: async (topics) => {
      // Resolves with false if another process has created the topic first.
      await administrator.createTopics({
        waitForLeaders: false,
        topics: topics.map(({ topic, partitions, replicationFactor, config }) => ({
          topic,
          numPartitions: partitions,
          replicationFactor,
          configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
        })),
      })
    },
    fetchTopicOffsets: async (topic) =>
      (await administrator.fetchTopicOffsets(topic)).map(({ partition, low, high }) => ({ partition, low, high })),
    fetchTopicOffsetsByTimestamp: (topic, timestampMs) =>
      administrator.fetchTopicOffsetsByTimestamp(topic, timestampMs),
  }
  clients.set(admin, { administrator, cluster })
  return admin
}
