import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'

/** Asks Kafka whether this user may write to a topic. Nothing is written. */
export interface WriteCheck {
  connect(): Promise<void>
  /**
   * Resolves if this user may write to the topic. Otherwise rejects with Kafka's error, e.g.
   * TOPIC_AUTHORIZATION_FAILED.
   */
  check(topic: string): Promise<void>
  disconnect(): Promise<void>
}

/**
 * Invalid value for `acks`: Kafka allows -1, 0 and 1. Kafka checks the rights first. It then
 * refuses any request with another value, before it writes anything to the log.
 */
const NO_SUCH_ACKS = 2

const TIMEOUT_MS = 5000

export const createWriteCheck = (kafka: KafkaClient): WriteCheck => {
  const producer = kafkajsOf(kafka).producer({
    idempotent: false,
    allowAutoTopicCreation: false,
    retry: { retries: 0 },
    // Rights are the same for all partitions, so choose one that has a leader. Choose at random
    // each time, because one leader may hang.
    createPartitioner:
      () =>
      ({ partitionMetadata }) => {
        const led = partitionMetadata.filter(({ leader }) => leader >= 0)
        return (led.length > 0 ? led : partitionMetadata)[
          Math.floor(Math.random() * (led.length || partitionMetadata.length))
        ]!.partitionId
      },
  })
  return {
    connect: () => producer.connect(),
    check: (topic) =>
      attributed(`write to topic ${topic}`, async () => {
        try {
          await producer.send({
            topic,
            acks: NO_SUCH_ACKS,
            timeout: TIMEOUT_MS,
            messages: [{ key: null, value: null }],
          })
        } catch (error) {
          if (errorType(error) !== 'INVALID_REQUIRED_ACKS') throw error
        }
      }),
    disconnect: () => producer.disconnect(),
  }
}
