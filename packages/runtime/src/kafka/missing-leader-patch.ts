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
  refreshMetadata(): Promise<void>
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
 * a broker that nobody finds, and what is known is soon asked for anew. Where a topic ends is told of those whose leader answers: who needs all of them counts.
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

/** By leader, so that one that hangs or is no leader any more keeps back its own partitions only. */
const patchOffsets = () => {
  const { prototype } = require('kafkajs/src/cluster') as { prototype: Cluster }
  const { fetchTopicsOffset } = prototype
  prototype.fetchTopicsOffset = async function (topics) {
    const leaderOf = (topic: string, partition: number) =>
      this.findTopicPartitionMetadata(topic).find(({ partitionId }) => partitionId === partition)?.leader ?? -1
    const ledBy = (leader: number) =>
      topics.flatMap((wanted) => {
        const partitions = wanted.partitions.filter(({ partition }) => leaderOf(wanted.topic, partition) === leader)
        return partitions.length === 0 ? [] : [{ ...wanted, partitions }]
      })
    const leaders = new Set(topics.flatMap(({ topic, partitions }) => partitions.map(({ partition }) => leaderOf(topic, partition))))
    leaders.delete(-1)
    const answers = await Promise.allSettled([...leaders].map((leader) => fetchTopicsOffset.call(this, ledBy(leader))))
    const failed = answers.filter(({ status }) => status === 'rejected')
    // What is known of leaders lasts for minutes with most clients.
    if (failed.length > 0) await this.refreshMetadata().catch(() => undefined)
    if (failed[0] && failed.length === answers.length) throw (failed[0] as PromiseRejectedResult).reason
    const offsets = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    return topics.map(({ topic }) => ({
      topic,
      partitions: offsets.filter((found) => found.topic === topic).flatMap(({ partitions }) => partitions),
    }))
  }
}
