/**
 * Watches the members of the consumer group. A member of another application or installation takes
 * partitions that this installation then does not apply.
 */
import type { GroupMember, PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { Store } from './store.ts'

/**
 * /readyz reports a foreign group member only after this many measurements in a row have seen it.
 * Otherwise /readyz could report a projector of this installation, which may join the group a
 * moment before it announces itself.
 */
const FOREIGN_SIGHTINGS = 3

export interface GroupWatch {
  /** Reads the group. Never rejects. */
  look(): Promise<void>
  /**
   * The members of the group at the last measurement. Undefined if the group could not be read: its
   * coordinator did not answer, or the user lacks the right READ on the group.
   */
  readonly members: readonly GroupMember[] | undefined
  /**
   * A sentence about a member of another application or installation. Undefined if the group has no
   * foreign member.
   */
  readonly foreignMember: string | undefined
}

export const nameOf = ({ clientId, host, memberId }: GroupMember): string => `${clientId} at ${host} (${memberId})`

export const createGroupWatch = (
  {
    consumer,
    store,
  }: { readonly consumer: Pick<PartitionConsumer, 'group'>; readonly store: Pick<Store, 'announced'> },
  { topic, groupId }: { readonly topic: string; readonly groupId: string },
): GroupWatch => {
  let members: readonly GroupMember[] | undefined
  let foreignMembers: readonly GroupMember[] = []
  let foreignSightings = 0

  const read = async () => {
    const { state, members: found } = await consumer.group()
    // During a rebalance no member owns a partition, so keep the last known members.
    if (state !== 'Stable') return
    members = found
    const readers = found.filter(({ topics }) => topics.includes(topic))
    const known = await store.announced(readers.map((member) => member.instance).filter((id) => id !== ''))
    foreignMembers = found.filter(
      (member) => !readers.includes(member) || (member.instance !== '' && !known.has(member.instance)),
    )
    foreignSightings = foreignMembers.length === 0 ? 0 : foreignSightings + 1
  }

  return {
    look: () =>
      read().catch(() => {
        members = undefined
      }),
    get members() {
      return members
    },
    get foreignMember() {
      const [foreignMember] = foreignMembers
      if (foreignMember === undefined || foreignSightings < FOREIGN_SIGHTINGS) return undefined
      const reads = foreignMember.topics.includes(topic)
        ? `uses another Redis or another REDIS_KEY_PREFIX`
        : `reads ${foreignMember.topics.join(', ') || 'other topics'}`
      return (
        `${nameOf(foreignMember)} is in the consumer group ${groupId} and ${reads}. ` +
        'This installation does not apply the partitions of that member. Give each installation its own ' +
        'CONSUMER_GROUP_ID.'
      )
    },
  }
}
