/**
 * Measures whether acknowledged events are being applied. Compares the positions in Redis with
 * Kafka's watermarks for all partitions of the topic, even for partitions of other group members.
 * Also checks the members of the consumer group.
 *
 * A partition stands still if it has records and its position does not move. A group member with
 * many records applies its partitions one after another. So a partition does not count as standing
 * still while its owner moves the position of another partition.
 */
import type { GroupMember, PartitionConsumer, Watermarks } from '@customer-stream/runtime/kafka'
import { createGroupWatch, nameOf } from './group-watch.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { Store } from './store.ts'

/**
 * A partition with records stands still if its position has not moved for this time. A rebalance
 * takes less time.
 */
const STANDSTILL_MS = 15_000
/**
 * If the position of a partition has not moved for this time, the partition stands still even if
 * its owner moves the positions of other partitions.
 */
const NEGLECTED_MS = 600_000
/**
 * Maximum time between two measurements. After a longer gap, the standstill time of every partition
 * starts again at 0.
 */
const MAX_GAP_MS = 12_000
export interface ProgressDependencies {
  readonly consumer: Pick<PartitionConsumer, 'watermarks' | 'group'>
  readonly store: Pick<Store, 'peekPositions' | 'announced'>
  readonly metrics: Pick<ProjectorMetrics, 'observeLag' | 'standstillSeconds'>
}

export interface ProgressOptions {
  readonly topic: string
  readonly groupId: string
  /** Id that this process sends when it joins the group. */
  readonly instance: string
  /** Minimum partition count of the topic. */
  readonly partitions: number
}

export interface Progress {
  /**
   * Measures all partitions. Rejects if Kafka or Redis does not answer.
   * @returns the watermarks.
   */
  measure(): Promise<ReadonlyMap<number, Watermarks>>
  /**
   * A sentence about a group member of another application or installation. Undefined if the group
   * has no foreign member.
   */
  readonly foreignMember: string | undefined
  /** A sentence about a partition that stands still. Undefined if no partition stands still. */
  readonly standstill: string | undefined
  /**
   * Returns the milliseconds since the position of one of these partitions last moved. 0 if none of
   * these partitions has records to apply.
   */
  standstillMs(partitions: readonly number[]): number
}

interface PartitionState {
  position: string | undefined
  /** Records between the position and the end of the partition. */
  lag: number
  /**
   * Number of records after the last stable offset. These records wait for the end of an open
   * transaction.
   */
  held: number
  /** Time of the position's last change. Undefined if no change was seen. */
  movedAt: number | undefined
  /**
   * Time since which the partition has records and its position has not moved. Undefined if the
   * partition has no records, or if its position has just moved.
   */
  waitingSince: number | undefined
}

/** A partition that has records and whose position has not moved. */
interface WaitingPartition {
  readonly partition: number
  readonly state: PartitionState
  readonly waitedMs: number
}

const distance = (from: string, to: string): number => Math.max(0, Number(BigInt(to) - BigInt(from)))

/** Returns the sentence about a partition that stands still. */
const sentenceOf = (
  { partition, state, waitedMs }: WaitingPartition,
  owner: GroupMember | undefined,
  isGroupKnown: boolean,
  { topic, groupId, instance }: ProgressOptions,
): string => {
  const what =
    `${topic}/${partition} has ${state.lag} records to apply, ` +
    `and its position has not moved for ${Math.round(waitedMs / 1000)} s`
  if (state.held >= state.lag)
    return (
      `${what}: an open transaction of another producer holds these records back. End the transaction ` +
      '(kafka-transactions.sh find-hanging, abort).'
    )
  if (isGroupKnown && owner === undefined)
    return `${what}: no member of the consumer group ${groupId} owns it. Start another projector, or restart this one.`
  return owner === undefined || owner.instance === instance
    ? `${what}. See the log of this projector.`
    : `${what}: ${nameOf(owner)} owns it. See the log of that process, or stop that process.`
}

export const createProgress = (
  { consumer, store, metrics }: ProgressDependencies,
  options: ProgressOptions,
): Progress => {
  const { topic, partitions } = options
  const states = new Map<number, PartitionState>()
  let measuredAt = Number.NEGATIVE_INFINITY
  /** Time between the last two measurements. */
  let periodMs = 0
  let leaderless = false
  const groupWatch = createGroupWatch({ consumer, store }, options)

  const observe = (partition: number, position: string | undefined, { low, stable, high }: Watermarks, now: number) => {
    const next = position !== undefined && /^\d+$/.test(position) ? position : low
    const before = states.get(partition)
    const lag = distance(next, high)
    const moved = before !== undefined && before.position !== position
    const waiting = lag > 0 && !moved ? (before?.waitingSince ?? now) : undefined
    states.set(partition, {
      position,
      lag,
      held: distance(stable, high),
      movedAt: moved ? now : before?.movedAt,
      waitingSince: waiting,
    })
    metrics.observeLag(partition, lag)
  }

  /** Returns the waiting partitions, the longest waiting first. */
  const waiting = (now: number, among: Iterable<number> = states.keys()): WaitingPartition[] =>
    [...among]
      .flatMap((partition) => {
        const state = states.get(partition)
        return state?.waitingSince === undefined ? [] : [{ partition, state, waitedMs: now - state.waitingSince }]
      })
      .sort((a, b) => b.waitedMs - a.waitedMs)

  const movedWithin = (ms: number, now: number, among: Iterable<number>) =>
    [...among].some((partition) => now - (states.get(partition)?.movedAt ?? Number.NEGATIVE_INFINITY) < ms)

  return {
    measure: async () => {
      const startedAt = performance.now()
      // The lag must be measured even if the group cannot be read.
      const [marks] = await Promise.all([consumer.watermarks(), groupWatch.look()])
      const all = new Set([...Array(partitions).keys(), ...marks.keys()])
      const positions = await store.peekPositions([...all])
      const now = performance.now()
      // Measure the gap up to the start of this measurement, because a hanging leader makes the
      // measurement itself long.
      if (startedAt - measuredAt > MAX_GAP_MS) for (const state of states.values()) state.waitingSince = undefined
      periodMs = now - measuredAt
      measuredAt = now
      for (const [partition, mark] of marks) observe(partition, positions.get(partition), mark, now)
      // If a partition has no leader, its position cannot move, and the number of its records is
      // unknown.
      for (const [partition, state] of states) if (!marks.has(partition)) state.waitingSince = undefined
      leaderless = marks.size === 0
      metrics.standstillSeconds.set((waiting(now)[0]?.waitedMs ?? 0) / 1000)
      return marks
    },
    get foreignMember() {
      return groupWatch.foreignMember
    },
    get standstill() {
      if (leaderless) return `no partition of ${topic} has a leader, so nothing can be applied. Bring its brokers back.`
      const now = performance.now()
      const { members } = groupWatch
      const stuck = waiting(now).find((each) => {
        if (each.waitedMs < STANDSTILL_MS) return false
        const owner = members?.find((member) => member.partitions.includes(each.partition))
        const served = owner?.partitions ?? (members === undefined ? states.keys() : [])
        return each.waitedMs > NEGLECTED_MS || !movedWithin(STANDSTILL_MS + periodMs, now, served)
      })
      if (stuck === undefined) return undefined
      const owner = members?.find((member) => member.partitions.includes(stuck.partition))
      return sentenceOf(stuck, owner, members !== undefined, options)
    },
    standstillMs: (among) => {
      const now = performance.now()
      // A restart would not help if all records wait for an open transaction.
      const longest = waiting(now, among).find(({ state }) => state.held < state.lag)
      if (longest === undefined) return 0
      const lastMove = Math.max(...among.map((partition) => states.get(partition)?.movedAt ?? Number.NEGATIVE_INFINITY))
      return Math.min(longest.waitedMs, now - lastMove)
    },
  }
}
