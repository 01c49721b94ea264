/** Reads a changelog topic (the state topic or the erasures topic): id, watermarks and records. */
import {
  createPartitionReader,
  type PartitionReader,
  readTopicIdentity,
  readWatermarks,
  type TopicAdmin,
  type Watermarks,
} from '@customer-stream/runtime/kafka'

export interface ChangelogSource extends PartitionReader {
  /**
   * Returns the id of the topic. A topic that is deleted and created again gets another id. Returns
   * {@link NO_ID} from brokers before Kafka 2.8, which have no topic ids. Rejects in an outage, and
   * if the topic does not exist.
   */
  topicId(): Promise<string>
  /**
   * Returns the watermarks of the partitions whose leader answers. Rejects if no leader answers.
   */
  watermarks(): Promise<ReadonlyMap<number, Watermarks>>
  /** Rejects if the projector's user may not read the topic. */
  readCheck(): Promise<void>
  disconnect(): Promise<void>
}

/** Used instead of a topic's id on brokers before Kafka 2.8, which have no topic ids. */
export const NO_ID = 'no-id'

/**
 * @param admin a client for several topics. Used only to read the id of the topic. Even if the
 *   topic is missing, this request does not disturb the other topics of the client.
 * @param reading a client for this topic alone, for two reasons. First, if one topic is missing, a
 *   kafkajs client fails for all its topics. Second, while a fetch waits for records, other
 *   requests of the same client to the same broker wait too.
 * @param topic undefined if the topic is switched off.
 */
export const createChangelogSource = (
  admin: TopicAdmin,
  reading: TopicAdmin,
  topic: string | undefined,
): ChangelogSource | undefined => {
  if (topic === undefined) return undefined
  const reader = createPartitionReader(reading, topic)
  const fetch: ChangelogSource['fetch'] = async (...range) => {
    await reading.connect()
    return reader.fetch(...range)
  }
  const watermarks = async () => {
    await reading.connect()
    return readWatermarks(reading, topic)
  }
  return {
    topicId: async () => (await readTopicIdentity(admin, topic)).topicId ?? NO_ID,
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
