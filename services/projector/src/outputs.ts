/** The topics that the projector writes to: quarantine and the state topic. */
import {
  readTopicIdentity,
  type TopicAdmin,
  type TopicWatchOptions,
  type VerifiedProducer,
} from '@customer-stream/runtime/kafka'

export interface OutputsOptions {
  /** The topic that the projector reads. */
  readonly topic: string
  readonly quarantineTopic: string
  /** Undefined if the state topic is switched off. */
  readonly stateTopic: string | undefined
  /** Bytes of the largest record in `topic`. */
  readonly maxValueBytes: number
}

export interface Outputs extends Pick<TopicWatchOptions, 'demands' | 'onPartitions'> {
  readonly quarantine: Pick<VerifiedProducer, 'send'>
  /** Undefined if the state topic is switched off. */
  readonly state: Pick<VerifiedProducer, 'send'> | undefined
  connect(): Promise<void>
  disconnect(): Promise<unknown>
}

/**
 * A state document can be larger than the event, because it has each number in its usual form: 1e20
 * is then 21 digits. No number becomes more than five times as long.
 */
const DOCUMENT_GROWTH = 5

/**
 * @param open creates a producer with a client of its own. kafkajs fails for all topics of a client
 *   if one of them has bad metadata.
 */
export const createOutputs = (
  open: () => VerifiedProducer,
  { topic, quarantineTopic, stateTopic, maxValueBytes }: OutputsOptions,
): Outputs => {
  const quarantine = open()
  const state = stateTopic === undefined ? undefined : open()
  const producers = [
    [quarantineTopic, quarantine] as const,
    ...(stateTopic && state ? [[stateTopic, state] as const] : []),
  ]
  return {
    quarantine,
    state,
    connect: async () => {
      await Promise.all(producers.map(([, producer]) => producer.connect()))
    },
    disconnect: () => Promise.allSettled(producers.map(([, producer]) => producer.disconnect())),
    demands: [
      { topic, maxValueBytes },
      { topic: quarantineTopic, maxValueBytes, writes: true, kind: 'quarantine' },
      ...(stateTopic === undefined
        ? []
        : [
            {
              topic: stateTopic,
              maxValueBytes: DOCUMENT_GROWTH * maxValueBytes,
              writes: true,
              kind: 'changelog' as const,
              partitionsOf: topic,
            },
          ]),
    ],
    // Each producer gets its own topic only, so that problems of another topic do not affect it.
    onPartitions: async (partitions) => {
      await Promise.all(
        producers.map(([name, producer]) =>
          producer.setPartitions(new Map([...partitions].filter(([found]) => found === name))),
        ),
      )
    },
  }
}

/** Stands for the id of a topic on brokers before Kafka 2.8, which have none. */
const NO_ID = 'no-id'

/** @returns a function that reads the id of the state topic. Undefined if it is switched off. */
export const stateTopicIdReader = (
  admin: TopicAdmin,
  stateTopic: string | undefined,
): (() => Promise<string>) | undefined =>
  stateTopic === undefined
    ? undefined
    : async () => {
        const { topicId = NO_ID } = await readTopicIdentity(admin, stateTopic)
        return topicId
      }
