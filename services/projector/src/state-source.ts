/** The state topic as the projector reads it: its id, its ends and its records. */
import {
  createPartitionReader,
  type PartitionEnds,
  type PartitionReader,
  readTopicIdentity,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'

export interface StateSource extends PartitionReader {
  /**
   * Returns the id of the topic. A topic that is deleted and created again has another id, except on
   * brokers before Kafka 2.8, where it is always {@link NO_ID}. Rejects in an outage, and if there is
   * no such topic.
   */
  topicId(): Promise<string>
  ends(): Promise<readonly PartitionEnds[]>
  /** Rejects if this user may not read the topic. */
  readCheck(): Promise<void>
  disconnect(): Promise<void>
}

/** Stands for the id of a topic on brokers before Kafka 2.8, which have none. */
export const NO_ID = 'no-id'

/**
 * @param admin for questions.
 * @param reading for records only: a fetch that waits delays other requests to its broker.
 */
export const createStateSource = (
  admin: TopicAdmin,
  reading: TopicAdmin,
  stateTopic: string | undefined,
): StateSource | undefined => {
  if (stateTopic === undefined) return undefined
  const reader = createPartitionReader(reading, stateTopic)
  const fetch: StateSource['fetch'] = async (...range) => {
    await reading.connect()
    return reader.fetch(...range)
  }
  const ends = () => admin.fetchTopicOffsets(stateTopic)
  return {
    topicId: async () => (await readTopicIdentity(admin, stateTopic)).topicId ?? NO_ID,
    ends,
    fetch,
    readCheck: async () => {
      const [led] = await ends()
      if (led) await fetch(led.partition, led.high, led.high)
    },
    disconnect: reading.disconnect,
  }
}
