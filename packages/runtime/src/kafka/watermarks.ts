import { readUncommitted } from './patches/isolation.ts'
import { clusterOf, type TopicAdmin } from './topic-admin.ts'

export interface Watermarks {
  /** Offset of the oldest record. */
  readonly low: string
  /**
   * Last stable offset, which is the end of the readable records. The records from `stable` to
   * `high` wait for an open transaction.
   */
  readonly stable: string
  /** Offset after the newest record. */
  readonly high: string
}

/**
 * Reads the watermarks of the partitions whose leader answers. Rejects if no leader answers.
 * Requests the three offsets in parallel, so that a hanging leader delays the answer by only one
 * request timeout. kafkajs' `fetchTopicOffsets` requests the offsets one after another.
 * @param admin a connected client of createAdmin.
 */
export const readWatermarks = async (admin: TopicAdmin, topic: string): Promise<ReadonlyMap<number, Watermarks>> => {
  const cluster = clusterOf(admin)
  await cluster.addTargetTopic(topic)
  await cluster.refreshMetadataIfNecessary()
  const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => ({ partition: partitionId }))
  const offsets = async (fromBeginning: boolean) => {
    const [found] = await cluster.fetchTopicsOffset([{ topic, fromBeginning, partitions }])
    return new Map(found?.partitions.map(({ partition, offset }) => [partition, offset]))
  }
  const [lows, stables, highs] = await Promise.all([
    offsets(true),
    offsets(false),
    readUncommitted(() => offsets(false)),
  ])
  return new Map(
    [...stables].flatMap(([partition, stable]) => {
      const [low, high] = [lows.get(partition), highs.get(partition)]
      if (low === undefined || high === undefined) return []
      // `high` may be older than `stable`, because the answers arrive at different times.
      return [[partition, { low, stable, high: BigInt(high) < BigInt(stable) ? stable : high }] as const]
    }),
  )
}
