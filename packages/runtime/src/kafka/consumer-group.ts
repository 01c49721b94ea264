/**
 * The members of a consumer group, as its coordinator knows them.
 *
 * kafkajs' group leader assigns the topics that it reads to every member, whatever that member reads. So two installations in
 * one group take each other's partitions, and neither applies them. To tell members apart, each of ours sends an id of its
 * own along when it joins (Kafka's `userData`).
 */
import kafkajs, { type Admin, type PartitionAssigner } from 'kafkajs'

export interface GroupMember {
  readonly memberId: string
  readonly clientId: string
  readonly host: string
  /** Topics that this member reads; empty if it does not speak Kafka's consumer protocol. */
  readonly topics: readonly string[]
  /** Empty if another program, or an earlier version of ours, joined. */
  readonly instance: string
  /** Partitions of the topic asked for. */
  readonly partitions: readonly number[]
}

export interface GroupDescription {
  /** Kafka's own word, such as `Stable`, `PreparingRebalance` or `Empty`. */
  readonly state: string
  readonly members: readonly GroupMember[]
}

const { roundRobin } = kafkajs.PartitionAssigners
const { MemberMetadata, MemberAssignment } = kafkajs.AssignerProtocol

/** kafkajs' round robin, with the instance's id in the member's metadata. */
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

/** Undefined if the bytes are none of Kafka's consumer protocol. */
const decoded = <T>(bytes: Buffer, decode: (bytes: Buffer) => T): T | undefined => {
  try {
    return bytes.length === 0 ? undefined : decode(bytes)
  } catch {
    return undefined
  }
}

/** Rejects if the coordinator does not answer, or the user lacks DESCRIBE on the group, which READ includes. */
export const describeGroup = async (admin: Admin, groupId: string, topic: string): Promise<GroupDescription> => {
  const { groups } = await admin.describeGroups([groupId])
  const [group] = groups
  if (group === undefined) throw new Error(`Kafka did not describe the group ${groupId}`)
  const members = group.members.map(({ memberId, clientId, clientHost, memberMetadata, memberAssignment }): GroupMember => {
    const metadata = decoded(memberMetadata, MemberMetadata.decode)
    return {
      memberId,
      clientId,
      host: clientHost.replace(/^\//, ''),
      topics: metadata?.topics ?? [],
      instance: metadata?.userData?.toString() ?? '',
      partitions: decoded(memberAssignment, MemberAssignment.decode)?.assignment[topic] ?? [],
    }
  })
  return { state: group.state, members }
}
