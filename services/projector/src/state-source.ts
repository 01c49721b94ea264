/** The state topic as the projector reads it: its id, its ends and its records. */
import {
  createPartitionReader,
  type PartitionReader,
  readTopicIdentity,
  readWatermarks,
  type TopicAdmin,
  type Watermarks,
} from '@customer-stream/runtime/kafka'

export interface StateSource extends PartitionReader {
  /**
   * Returns the id of the topic. A topic that is deleted and created again has another id, except on
   * brokers before Kafka 2.8, where it is always {@link NO_ID}. Rejects in an outage, and if there is
   * no such topic.
   */
  topicId(): Promise<string>
  /** Returns the watermarks of the partitions whose leader answers. Rejects if none does. */
  watermarks(): Promise<ReadonlyMap<number, Watermarks>>
  /** Rejects if this user may not read the topic. */
  readCheck(): Promise<void>
  disconnect(): Promise<void>
}

/** Stands for the id of a topic on brokers before Kafka 2.8, which have none. */
export const NO_ID = 'no-id'

/**
 * @param admin for questions that do not fail for other topics if this topic is missing.
 * @param reading a client for this topic alone. A client of kafkajs fails for all its topics if one
 *   of them is missing, and a fetch that waits delays the other requests to its broker.
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
  const watermarks = async () => {
    await reading.connect()
    return readWatermarks(reading, stateTopic)
  }
  return {
    topicId: async () => (await readTopicIdentity(admin, stateTopic)).topicId ?? NO_ID,
    watermarks,
    fetch,
    readCheck: async () => {
      const [led] = await watermarks()
      if (led === undefined) return
      const [partition, { stable }] = led
      await fetch(partition, stable, stable)
    },
    disconnect: reading.disconnect,
  }
}
