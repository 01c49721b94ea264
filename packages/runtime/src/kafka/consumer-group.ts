/**
 * Reads the members of a consumer group from its coordinator.
 *
 * kafkajs' group leader assigns its own topics to every member, even to a member that reads other
 * topics. If two installations use one group, each installation gets partitions of the other, and
 * no process applies their records. Each of our members sends an id when it joins (Kafka's
 * `userData`). A member without an id is foreign.
 */
import kafkajs, { type PartitionAssigner } from 'kafkajs'
import { administratorOf, type TopicAdmin } from './topic-admin.ts'

export interface GroupMember {
  readonly memberId: string
  readonly clientId: string
  readonly host: string
  /** Topics that this member reads. Empty if the member does not use Kafka's consumer protocol. */
  readonly topics: readonly string[]
  /**
   * Id that the member sent when it joined. Empty if the member is another program or an older
   * version of our program.
   */
  readonly instance: string
  /** Partitions of the requested topic that are assigned to this member. */
  readonly partitions: readonly number[]
}

export interface GroupDescription {
  /** Kafka's name of the state, such as `Stable`, `PreparingRebalance` or `Empty`. */
  readonly state: string
  readonly members: readonly GroupMember[]
}

const { roundRobin } = kafkajs.PartitionAssigners
const { MemberMetadata, MemberAssignment } = kafkajs.AssignerProtocol

/** Returns kafkajs' round-robin assigner, with the instance's id added to the member's metadata. */
export const assignerOf =
  (instance: string): PartitionAssigner =>
  (config) => {
    const assigner = roundRobin(config)
    return {
      ...assigner,
      protocol: ({ topics }) => ({
        name: assigner.name,
        metadata: MemberMetadata.encode({ version: assigner.version, topics, userData: Buffer.from(instance) }),
      }),
    }
  }

/** Decodes bytes of Kafka's consumer protocol. Returns undefined for any other bytes. */
const decoded = <T>(bytes: Buffer, decode: (bytes: Buffer) => T): T | undefined => {
  try {
    return bytes.length === 0 ? undefined : decode(bytes)
  } catch {
    return undefined
  }
}

/**
 * Reads the group. Rejects if the coordinator does not answer, or if the user has neither DESCRIBE
 * nor READ on the group.
 */
export const describeGroup = async (admin: TopicAdmin, groupId: string, topic: string): Promise<GroupDescription> => {
  const { groups } = await administratorOf(admin).describeGroups([groupId])
  const [group] = groups
  if (group === undefined) throw new Error(`Kafka did not describe the group ${groupId}`)
  const members = group.members.map(
    ({ memberId, clientId, clientHost, memberMetadata, memberAssignment }): GroupMember => {
      const metadata = decoded(memberMetadata, MemberMetadata.decode)
      return {
        memberId,
        clientId,
        host: clientHost.replace(/^\//, ''),
        topics: metadata?.topics ?? [],
        instance: metadata?.userData?.toString() ?? '',
        partitions: decoded(memberAssignment, MemberAssignment.decode)?.assignment[topic] ?? [],
      }
    },
  )
  return { state: group.state, members }
}

/** Offset that a group has committed, with the text (Kafka's `metadata`) of the same commit. */
export interface CommittedOffset {
  readonly offset: string
  readonly metadata: string
}

/** Reads the committed offsets of the group, by partition. Rejects if Kafka does not answer. */
export const readCommitted = async (
  admin: TopicAdmin,
  groupId: string,
  topic: string,
): Promise<ReadonlyMap<number, CommittedOffset>> => {
  const topics = await administratorOf(admin).fetchOffsets({ groupId, topics: [topic] })
  const partitions = topics.flatMap((found) => found.partitions)
  return new Map(
    partitions.flatMap(({ partition, offset, metadata }) =>
      BigInt(offset) < 0n ? [] : [[partition, { offset, metadata: metadata ?? '' }] as const],
    ),
  )
}
