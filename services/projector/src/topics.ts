/** Which topics the projector needs, and to which of them it writes. */
import type { TopicWatchOptions, VerifiedProducer } from '@customer-stream/runtime/kafka'

export interface TopicUseOptions {
  readonly topic: string
  readonly quarantineTopic: string
  readonly maxValueBytes: number
}

/** @returns the demands on the topics, and the use of their partition counts. */
export const createTopicUse = (
  producer: Pick<VerifiedProducer, 'setPartitions'>,
  { topic, quarantineTopic, maxValueBytes }: TopicUseOptions,
): Pick<TopicWatchOptions, 'demands' | 'onPartitions'> => ({
  demands: [
    { topic, maxValueBytes },
    { topic: quarantineTopic, maxValueBytes, writes: true, isQuarantine: true },
  ],
  // Sets the partitions of quarantine only. The producer writes to no other topic, so problems of
  // the customers topic must not affect it.
  onPartitions: (partitions) =>
    producer.setPartitions(new Map([...partitions].filter(([name]) => name === quarantineTopic))),
})
