/**
 * Follows the end of a topic. Sends one long fetch to each broker, for all partitions that the
 * broker leads. Uses no consumer group, so the user needs only READ on the topic. Each tail gets
 * every record.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'
import { type FetchedPart, partFrom } from './partition-reader.ts'
import { clusterOf, type TopicAdmin } from './topic-admin.ts'
import { readTopicIdentity } from './topic-identity.ts'
import { readWatermarks } from './watermarks.ts'

export interface TopicTailOptions {
  /** Client of createAdmin, for this topic alone. The tail connects the client. */
  readonly admin: TopicAdmin
  readonly topic: string
  /** Number of older records of each partition that the tail reads first. */
  readonly lookBack: number
  /** Ends the tail. */
  readonly signal: AbortSignal
  /**
   * Called before the first part. Called again if the topic was created again or has lost records,
   * because the offsets then mean other records.
   * @param topicId Empty on brokers before Kafka 2.8, which have no topic ids.
   * @param positions next offset of each partition.
   */
  readonly onBegin: (topicId: string, positions: ReadonlyMap<number, string>) => void
  /** Called for each part of a partition, in order. */
  readonly onPart: (partition: number, part: FetchedPart) => void
  /** Called often: with the reason why records may be late, or with undefined. */
  readonly onProblem: (error: Error | undefined) => void
}

const CHECK_MS = 2000
const MAX_WAIT_MS = 500
/** Time between two fetches. Otherwise each record of a busy topic would need its own fetch. */
const GATHER_MS = 10
const MAX_BYTES = 4 * 1024 * 1024
const MAX_PARTITION_BYTES = 512 * 1024
const READ_COMMITTED = 1
const PAUSE_MS = 500
const NO_LEADER = '-1'

/** Follows the topic until the signal aborts. Retries until Kafka is available. Never rejects. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share the positions
export const followTopic = async (options: TopicTailOptions): Promise<void> => {
  const { admin, topic, lookBack, signal, onBegin, onPart, onProblem } = options
  const cluster = clusterOf(admin)
  const positions = new Map<number, string>()
  /** Running fetches, by node id of the broker. */
  const followers = new Map<string, Promise<void>>()
  /** Last error of each broker and of the check. */
  const problems = new Map<string, Error>()
  let topicId: string | undefined
  let mustBegin = true

  const report = (task: string, error: Error | undefined) => {
    if (error) problems.set(task, error)
    else problems.delete(task)
    if (!signal.aborted) onProblem(problems.values().next().value)
  }
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined)

  /** Returns the followed partitions, by node id of their leader. */
  const byLeader = () => cluster.findLeaderForPartitions(topic, [...positions.keys()])

  const fetchFrom = async (nodeId: string, partitions: readonly number[]) => {
    const asked = new Map(partitions.map((partition) => [partition, positions.get(partition)!]))
    const broker = await cluster.findBroker({ nodeId })
    const { responses } = await broker.fetch({
      maxWaitTime: MAX_WAIT_MS,
      maxBytes: MAX_BYTES,
      isolationLevel: READ_COMMITTED,
      topics: [
        {
          topic,
          partitions: [...asked].map(([partition, fetchOffset]) => ({
            partition,
            fetchOffset,
            maxBytes: MAX_PARTITION_BYTES,
          })),
        },
      ],
    })
    for (const { partition, messages } of responses.flatMap((response) => response.partitions)) {
      const offset = asked.get(partition)
      const part = offset === undefined ? undefined : partFrom(messages, offset)
      // During a change of leaders two brokers may be asked for a partition. Only the first answer
      // counts.
      if (part === undefined || signal.aborted || positions.get(partition) !== offset) continue
      positions.set(partition, part.nextOffset)
      onPart(partition, part)
    }
  }

  /** Fetches from a broker as long as the broker leads a partition. */
  const follow = async (nodeId: string) => {
    while (!signal.aborted) {
      const partitions = byLeader()[nodeId]
      if (partitions === undefined) break
      try {
        await attributed(`read topic ${topic}`, () => fetchFrom(nodeId, partitions))
        report(nodeId, undefined)
        await pause(GATHER_MS)
      } catch (error) {
        report(nodeId, error as Error)
        if (errorType(error) === 'OFFSET_OUT_OF_RANGE') mustBegin = true
        await pause(PAUSE_MS)
        await cluster.refreshMetadata().catch(() => undefined)
        if (!signal.aborted) startFollowers()
      }
    }
    report(nodeId, undefined)
  }
  const startFollowers = () => {
    for (const nodeId of Object.keys(byLeader())) {
      if (nodeId === NO_LEADER || followers.has(nodeId)) continue
      followers.set(
        nodeId,
        follow(nodeId).finally(() => followers.delete(nodeId)),
      )
    }
  }

  const begin = async () => {
    const watermarks = await readWatermarks(admin, topic)
    const all = cluster.findTopicPartitionMetadata(topic)
    if (watermarks.size < all.length) throw new Error(`${all.length - watermarks.size} partitions have no leader`)
    positions.clear()
    for (const [partition, { low, stable }] of watermarks) {
      const start = BigInt(stable) - BigInt(lookBack)
      positions.set(partition, start > BigInt(low) ? String(start) : low)
    }
  }
  const check = async () => {
    await admin.connect()
    await cluster.addTargetTopic(topic)
    await cluster.refreshMetadata()
    const { topicId: id = '' } = await readTopicIdentity(admin, topic)
    if (mustBegin || id !== topicId) {
      await begin()
      ;[topicId, mustBegin] = [id, false]
      onBegin(id, positions)
    }
    // A partition that was added later is read from its start.
    for (const { partitionId } of cluster.findTopicPartitionMetadata(topic))
      if (!positions.has(partitionId)) positions.set(partitionId, '0')
    startFollowers()
    const [leaderless] = byLeader()[NO_LEADER] ?? []
    if (leaderless !== undefined) throw new Error(`${topic}/${leaderless} has no leader`)
  }

  while (!signal.aborted) {
    try {
      await attributed(`read topic ${topic}`, check)
      report('check', undefined)
      await pause(CHECK_MS)
    } catch (error) {
      report('check', error as Error)
      await pause(PAUSE_MS)
    }
  }
  await Promise.allSettled(followers.values())
}
