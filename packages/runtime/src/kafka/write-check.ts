import type { Kafka } from 'kafkajs'
import { errorType } from './error-type.ts'
import { attributed } from './failed-request.ts'

/** Asks Kafka whether this user may write to a topic. Nothing is written. */
export interface WriteCheck {
  connect(): Promise<void>
  /** Rejects with what Kafka answers, TOPIC_AUTHORIZATION_FAILED among others. */
  check(topic: string): Promise<void>
  disconnect(): Promise<void>
}

/** Kafka knows -1, 0 and 1. It looks at the rights first, and then refuses each request with another number, before anything reaches the log. */
const NO_SUCH_ACKS = 2

const TIMEOUT_MS = 5000

export const createWriteCheck = (kafka: Kafka): WriteCheck => {
  const producer = kafka.producer({
    idempotent: false,
    allowAutoTopicCreation: false,
    retry: { retries: 0 },
    // Rights are the same for all partitions. Any one with a leader will do, another each time: one leader may hang.
    createPartitioner:
      () =>
      ({ partitionMetadata }) => {
        const led = partitionMetadata.filter(({ leader }) => leader >= 0)
        return (led.length > 0 ? led : partitionMetadata)[Math.floor(Math.random() * (led.length || partitionMetadata.length))]!.partitionId
      },
  })
  return {
    connect: () => producer.connect(),
    check: (topic) =>
      attributed(`write to topic ${topic}`, async () => {
        try {
          await producer.send({ topic, acks: NO_SUCH_ACKS, timeout: TIMEOUT_MS, messages: [{ key: null, value: null }] })
        } catch (error) {
          if (errorType(error) !== 'INVALID_REQUIRED_ACKS') throw error
        }
      }),
    disconnect: () => producer.disconnect(),
  }
}
