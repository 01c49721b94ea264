import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

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
/** How much later than the first leader another may tell its offsets. */
const LAGGARD_MS = 2000

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
    const offsets: Offsets[] = []
    const failures: unknown[] = []
    const answers = [...leaders].map((leader) =>
      fetchTopicsOffset.call(this, ledBy(leader)).then(
        (found) => void offsets.push(...found),
        (error: unknown) => {
          failures.push(error)
          throw error
        },
      ),
    )
    const all = Promise.allSettled(answers)
    // A leader that hangs is not waited for long after another has answered.
    const some = Promise.any(answers).then(() => sleep(LAGGARD_MS, undefined, { ref: false }))
    await Promise.race([all, some.catch(() => all)])
    if (answers.length > 0 && failures.length === answers.length) {
      await this.refreshMetadata().catch(() => undefined)
      throw failures[0]
    }
    // kafkajs keeps what it knows of leaders for minutes with most clients. The next call uses what is learnt now.
    if (failures.length > 0) void this.refreshMetadata().catch(() => undefined)
    return topics.map(({ topic }) => ({
      topic,
      partitions: offsets.filter((found) => found.topic === topic).flatMap(({ partitions }) => partitions),
    }))
  }
}
