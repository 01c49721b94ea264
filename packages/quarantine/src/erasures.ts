import {
  attributed,
  fetchEnds,
  readTopic,
  readTopicIdentity,
  requireReadable,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { type Erasure, readErasureRecord } from '@customer-stream/schemas'

type LastErasure = Pick<Erasure, 'scope' | 'erasedAt'>

export interface Erasures {
  /** Returns the last erasure of a customer. */
  of(customerUuid: string): LastErasure | undefined
  /**
   * Reads the erasures that were stored since the last reading. If the topic was deleted and
   * created again, reads the new topic from its start. The earlier erasures stay known.
   */
  refresh(): Promise<void>
}

/** The topic that was read, and the next offset of each partition. */
interface ReadTo {
  readonly topicId: string | undefined
  readonly next: ReadonlyMap<number, string>
}

/** Reads the last erasure of each customer. Memory grows with the number of erased customers. */
export const openErasures = async (admin: TopicAdmin, topic: string, signal: AbortSignal): Promise<Erasures> => {
  const erasures = new Map<string, LastErasure>()
  const note = (record: { readonly key: Buffer | null; readonly value: Buffer | null }) => {
    const read = readErasureRecord(record)
    if (!read.ok) return
    const { scope, erasedAt } = read.value.erasure
    erasures.set(read.value.customerUuid, { scope, erasedAt })
  }
  let readTo: ReadTo | undefined
  const refresh = async () => {
    // Read the id first. If the topic is created again meanwhile, the next refresh reads the whole
    // new topic.
    const { topicId } = await attributed(`read topic ${topic}`, () => readTopicIdentity(admin, topic))
    const ends = await attributed(`read topic ${topic}`, () => fetchEnds(admin, topic))
    const next = readTo?.topicId === topicId ? readTo?.next : undefined
    const added = ends.map((end) => ({ ...end, low: next?.get(end.partition) ?? end.low }))
    await readTopic(admin, topic, note, { ends: added, signal })
    readTo = { topicId, next: new Map(ends.map(({ partition, high }) => [partition, high])) }
  }
  await requireReadable(admin, topic, signal)
  await refresh()
  return { of: (customerUuid) => erasures.get(customerUuid), refresh }
}
