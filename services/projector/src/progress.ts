/**
 * Tells whether acknowledged events are being applied. Compares the positions in Redis with Kafka's watermarks, for all
 * partitions of the topic, whoever owns them, and looks at who is in the consumer group.
 *
 * A partition stands still if it has records and its position has not moved. A member that catches up on many partitions serves
 * them in turn, so its waiting partitions do not count as long as another of its partitions moves.
 */
import type { GroupDescription, GroupMember, Watermarks } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'

/** Time without movement after which a partition with records stands still. A rebalance is over by then. */
const STANDSTILL_MS = 15_000
/** Time after which a waiting partition counts as well, although other partitions of its owner move. */
const NEGLECTED_MS = 600_000
/** Time between two measurements after which nothing is known of the time between. */
const MAX_GAP_MS = 12_000
/** A member may join a moment before it announces itself. */
const STRANGER_SIGHTINGS = 3

export interface ProgressDependencies {
  /** Watermarks of the partitions whose leader answers. */
  readonly watermarks: () => Promise<ReadonlyMap<number, Watermarks>>
  readonly group: () => Promise<GroupDescription>
  readonly store: {
    /** Positions as they are, without a change. */
    peekPositions(partitions: readonly number[]): Promise<ReadonlyMap<number, string | undefined>>
    /** The given instances that work on this Redis. */
    announced(instances: readonly string[]): Promise<ReadonlySet<string>>
  }
  readonly metrics: Pick<ProjectorMetrics, 'observeLag' | 'standstillSeconds'>
}

export interface ProgressOptions {
  readonly topic: string
  readonly groupId: string
  /** Id that this process sends along when it joins the group. */
  readonly instance: string
  /** Partitions that the topic has at least. */
  readonly partitions: number
}

export interface Progress {
  /** Measures all partitions. Rejects if Kafka or Redis does not answer. @returns the watermarks it found. */
  measure(): Promise<ReadonlyMap<number, Watermarks>>
  /** A member of another application or installation in the group, in one sentence. */
  readonly stranger: string | undefined
  /** What stands still, in one sentence. */
  readonly standstill: string | undefined
  /** Milliseconds since one of these partitions moved; 0 if none of them has records to apply. */
  standstillMs(partitions: readonly number[]): number
}

interface PartitionState {
  position: string | undefined
  /** Records between the position and the end of the partition. */
  lag: number
  /** Records behind the last stable offset: an open transaction holds them back. */
  held: number
  /** When the position changed last; undefined if that was not seen. */
  movedAt: number | undefined
  /** Since when it has had records without moving. */
  waitingSince: number | undefined
}

const distance = (from: string, to: string): number => Math.max(0, Number(BigInt(to) - BigInt(from)))

const nameOf = ({ clientId, host, memberId }: GroupMember): string => `${clientId} at ${host} (${memberId})`

export const createProgress = (
  { watermarks, group, store, metrics }: ProgressDependencies,
  { topic, groupId, instance, partitions }: ProgressOptions,
): Progress => {
  const states = new Map<number, PartitionState>()
  let measuredAt = Number.NEGATIVE_INFINITY
  /** Between the last two measurements. */
  let periodMs = 0
  let leaderless = false
  let members: readonly GroupMember[] | undefined
  let strangers: readonly GroupMember[] = []
  let strangerSightings = 0

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

  const lookAtGroup = async () => {
    const { state, members: found } = await group()
    // Between two assignments nobody owns anything: what was seen last holds.
    if (state !== 'Stable') return
    members = found
    const readers = found.filter(({ topics }) => topics.includes(topic))
    const known = await store.announced(readers.map((member) => member.instance).filter((id) => id !== ''))
    strangers = found.filter((member) => !readers.includes(member) || (member.instance !== '' && !known.has(member.instance)))
    strangerSightings = strangers.length === 0 ? 0 : strangerSightings + 1
  }

  /** Partitions that wait, with those that do so longest first. */
  const waiting = (now: number, among: Iterable<number> = states.keys()) =>
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
      // A group without a coordinator, or without READ on it, cannot be asked. The lag matters most then.
      const owners = lookAtGroup().catch(() => {
        members = undefined
      })
      const [marks] = await Promise.all([watermarks(), owners])
      const all = new Set([...Array(partitions).keys(), ...marks.keys()])
      const positions = await store.peekPositions([...all])
      const now = performance.now()
      // A leader that hangs makes a measurement long, but leaves no gap.
      if (startedAt - measuredAt > MAX_GAP_MS) for (const state of states.values()) state.waitingSince = undefined
      periodMs = now - measuredAt
      measuredAt = now
      for (const [partition, mark] of marks) observe(partition, positions.get(partition), mark, now)
      // Without a leader it cannot move, and what it holds is not known.
      for (const [partition, state] of states) if (!marks.has(partition)) state.waitingSince = undefined
      leaderless = marks.size === 0
      metrics.standstillSeconds.set((waiting(now)[0]?.waitedMs ?? 0) / 1000)
      return marks
    },
    get stranger() {
      const [stranger] = strangers
      if (stranger === undefined || strangerSightings < STRANGER_SIGHTINGS) return undefined
      const reads = stranger.topics.includes(topic)
        ? `works on another Redis or REDIS_KEY_PREFIX`
        : `reads ${stranger.topics.join(', ') || 'other topics'}`
      return (
        `${nameOf(stranger)} is in the consumer group ${groupId} and ${reads}. ` +
        'Partitions assigned to it are not applied here. Give each installation a CONSUMER_GROUP_ID of its own.'
      )
    },
    get standstill() {
      if (leaderless) return `no partition of ${topic} has a leader, so nothing can be applied. Bring its brokers back.`
      const now = performance.now()
      const stuck = waiting(now).find(({ partition, waitedMs }) => {
        if (waitedMs < STANDSTILL_MS) return false
        const owner = members?.find((member) => member.partitions.includes(partition))
        const served = owner?.partitions ?? (members === undefined ? states.keys() : [])
        return waitedMs > NEGLECTED_MS || !movedWithin(STANDSTILL_MS + periodMs, now, served)
      })
      if (stuck === undefined) return undefined
      const { partition, state, waitedMs } = stuck
      const owner = members?.find((member) => member.partitions.includes(partition))
      const what = `${topic}/${partition} has ${state.lag} records and has not moved for ${Math.round(waitedMs / 1000)} s`
      if (state.held >= state.lag) {
        return `${what}: an open transaction of another producer holds them back. End it (kafka-transactions.sh find-hanging, abort).`
      }
      if (members !== undefined && owner === undefined)
        return `${what}: no member of the consumer group ${groupId} owns it. Start a projector, or restart this one.`
      return owner === undefined || owner.instance === instance
        ? `${what}. See the log of this projector.`
        : `${what}: ${nameOf(owner)} owns it. See the log of that process, or stop it.`
    },
    standstillMs: (among) => {
      const now = performance.now()
      // No restart frees records that an open transaction holds back.
      const longest = waiting(now, among).find(({ state }) => state.held < state.lag)
      if (longest === undefined) return 0
      const lastMove = Math.max(...among.map((partition) => states.get(partition)?.movedAt ?? Number.NEGATIVE_INFINITY))
      return Math.min(longest.waitedMs, now - lastMove)
    },
  }
}
