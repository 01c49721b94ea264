import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'

/** Asks Kafka whether this user may write to a topic. Writes nothing. */
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
 * Invalid value for `acks`: Kafka allows -1, 0 and 1. Kafka first checks the rights of a request.
 * Kafka then refuses this value, so the request never writes a record.
 */
const NO_SUCH_ACKS = 2

const TIMEOUT_MS = 5000

export const createWriteCheck = (kafka: KafkaClient): WriteCheck => {
  const producer = kafkajsOf(kafka).producer({
    idempotent: false,
    allowAutoTopicCreation: false,
    retry: { retries: 0 },
    // Choose any partition that has a leader, because rights are the same for all partitions.
    // Choose a random partition each time, because one leader may hang.
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
