import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

interface Partition {
  readonly partitionErrorCode: number
  readonly partitionId: number
  /** Node id of the leader, -1 if the partition has no leader. */
  readonly leader: number
}
interface Metadata {
  readonly topicMetadata: readonly { readonly partitionMetadata: readonly Partition[] }[]
}
/** Partitions of a topic, in a request for offsets and in its answer. */
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
  /** Unix milliseconds. */
  metadataExpireAt: number
  refreshMetadata(topics: readonly string[]): Promise<void>
}

const require = createRequire(import.meta.url)
const RESPONSE_VERSIONS = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6']
const MAX_AGE_MS = 1000
/** Maximum wait for the other leaders after the first leader has answered. */
const OTHER_LEADERS_MS = 2000

/**
 * Keeps a topic usable while one of its partitions has no leader. In kafkajs 2.2.4 one partition
 * without a leader fails the whole metadata request. A producer then cannot send to any partition
 * of the topic. An admin client that asks about all topics fails for all topics.
 *
 * With this patch a partition without a leader has leader -1 in the metadata. The metadata is then
 * refreshed after 1 s. Offsets are returned only for partitions whose leader answered. A caller
 * that needs every partition must check the count. Must run before a client is created.
 */
export const patchMissingLeader = (): void => {
  patchMetadata()
  patchOffsets()
}

const patchMetadata = () => {
  for (const version of RESPONSE_VERSIONS) {
    const response = require(`kafkajs/src/protocol/requests/metadata/${version}/response`) as {
      parse(data: Metadata): Promise<Metadata>
    }
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
    const lacksLeader = this.metadata?.topicMetadata.some(({ partitionMetadata }) =>
      partitionMetadata.some(({ leader }) => leader < 0),
    )
    if (lacksLeader) this.metadataExpireAt -= Math.max(0, this.metadataMaxAge - MAX_AGE_MS)
  }
}

/** Asks each leader separately, so that a hanging leader affects only its own partitions. */
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
    const leaders = new Set(
      topics.flatMap(({ topic, partitions }) => partitions.map(({ partition }) => leaderOf(topic, partition))),
    )
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
    // When one leader has answered, wait only briefly for the other leaders.
    const some = Promise.any(answers).then(() => sleep(OTHER_LEADERS_MS, undefined, { ref: false }))
    await Promise.race([all, some.catch(() => all)])
    if (answers.length > 0 && failures.length === answers.length) {
      await this.refreshMetadata().catch(() => undefined)
      throw failures[0]
    }
    // Refresh the metadata now, because most kafkajs clients keep old metadata for minutes. The
    // next call then finds the new leaders.
    if (failures.length > 0) void this.refreshMetadata().catch(() => undefined)
    return topics.map(({ topic }) => ({
      topic,
      partitions: offsets.filter((found) => found.topic === topic).flatMap(({ partitions }) => partitions),
    }))
  }
}
