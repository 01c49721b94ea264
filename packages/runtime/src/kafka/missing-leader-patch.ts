import { createRequire } from 'node:module'

interface Partition {
  readonly partitionErrorCode: number
  readonly partitionId: number
  /** -1 when there is none. */
  readonly leader: number
}
interface Metadata {
  readonly topicMetadata: readonly { readonly partitionMetadata: readonly Partition[] }[]
}
/** What is asked, and what is told, of a topic's partitions. */
interface Offsets {
  readonly topic: string
  readonly partitions: readonly { readonly partition: number }[]
}
interface Cluster {
  findTopicPartitionMetadata(topic: string): readonly Partition[]
  fetchTopicsOffset(topics: readonly Offsets[]): Promise<Offsets[]>
}
interface BrokerPool {
  readonly metadata: Metadata | null
  readonly metadataMaxAge: number
  /** By the clock of kafkajs. */
  metadataExpireAt: number
  refreshMetadata(topics: readonly string[]): Promise<void>
}

const require = createRequire(import.meta.url)
const RESPONSE_VERSIONS = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6']
const MAX_AGE_MS = 1000

/**
 * kafkajs 2.2.4 takes a partition without a leader for an error of everything it has asked about: as long as one partition has none, a producer sends to no other
 * partition of the topic, and an admin client that asked about all topics fails over anybody's. Here the others stay usable, the one without a leader has leader -1,
 * a broker that nobody finds, and what is known is soon asked for anew. Where a topic ends is told of those that have one: who needs all of them counts.
 * Must run before a client is created.
 */
export const patchMissingLeader = (): void => {
  patchMetadata()
  patchOffsets()
}

const patchMetadata = () => {
  for (const version of RESPONSE_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/metadata/${version}/response`) as { parse(data: Metadata): Promise<Metadata> }
    const { parse } = response
    response.parse = (data) =>
      parse({
        ...data,
        topicMetadata: data.topicMetadata.map((topic) => ({
          ...topic,
          partitionMetadata: topic.partitionMetadata.map((partition) => ({ ...partition, partitionErrorCode: 0 })),
        })),
      })
  }
  const { prototype } = require('kafkajs/src/cluster/brokerPool') as { prototype: BrokerPool }
  const { refreshMetadata } = prototype
  prototype.refreshMetadata = async function (topics) {
    await refreshMetadata.call(this, topics)
    const lacksLeader = this.metadata?.topicMetadata.some(({ partitionMetadata }) => partitionMetadata.some(({ leader }) => leader < 0))
    if (lacksLeader) this.metadataExpireAt -= Math.max(0, this.metadataMaxAge - MAX_AGE_MS)
  }
}

const patchOffsets = () => {
  const { prototype } = require('kafkajs/src/cluster') as { prototype: Cluster }
  const { fetchTopicsOffset } = prototype
  prototype.fetchTopicsOffset = async function (topics) {
    const led = topics.map((wanted) => {
      const leaders = new Map(this.findTopicPartitionMetadata(wanted.topic).map(({ partitionId, leader }) => [partitionId, leader]))
      return { ...wanted, partitions: wanted.partitions.filter(({ partition }) => (leaders.get(partition) ?? -1) >= 0) }
    })
    const offsets = await fetchTopicsOffset.call(
      this,
      led.filter(({ partitions }) => partitions.length > 0),
    )
    return topics.map(({ topic }) => offsets.find((found) => found.topic === topic) ?? { topic, partitions: [] })
  }
}
