import type { FetchedBatch } from './consumer.ts'
import { type KafkaClient, kafkajsOf } from './kafka-client.ts'
import { unreadableOf } from './patches/fetch.ts'

export interface TopicReaderOptions {
  readonly topic: string
  readonly groupId: string
  /**
   * Called before the first fetch of each assignment. The caller must seek each partition. A
   * failure or a new leader causes a new assignment.
   */
  readonly onAssigned: () => void
  /**
   * Handles records. Must not wait. If it throws, `onFailure` is called with the error and with
   * `isLast` true.
   */
  readonly onBatch: (batch: Pick<FetchedBatch, 'partition' | 'records' | 'unreadable'>) => void
  /**
   * Called after each batch with the offset after the batch's last record. Also called if a batch
   * has only control records or records of aborted transactions. `onBatch` is not called for such a
   * batch.
   */
  readonly onPassed: (partition: number, nextOffset: string) => void
  /** Called with each failure. `isLast` is true if the reader does not restart. */
  readonly onFailure: (error: unknown, isLast: boolean) => void
}

/** Reads the committed records of one topic in a consumer group of its own. Commits no offsets. */
export interface TopicReader {
  /** Connects and starts to read. Does not wait until the reader has joined its group. */
  start(): Promise<void>
  seek(partition: number, offset: string): void
  /**
   * Leaves the group and disconnects. A reader that is still joining disconnects without leaving.
   */
  stop(): Promise<void>
}

const MAX_WAIT_MS = 100

export const createTopicReader = (
  kafka: KafkaClient,
  { topic, groupId, onAssigned, onBatch, onPassed, onFailure }: TopicReaderOptions,
): TopicReader => {
  const consumer = kafkajsOf(kafka).consumer({
    groupId,
    maxWaitTimeInMs: MAX_WAIT_MS,
    allowAutoTopicCreation: false,
  })
  return {
    start: async () => {
      await consumer.connect()
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      // kafkajs restarts the consumer after most crashes, for example after a coordinator was not
      // ready.
      consumer.on(consumer.events.CRASH, ({ payload }) => onFailure(payload.error, !payload.restart))
      consumer.on(consumer.events.GROUP_JOIN, onAssigned)
      // kafkajs does not call `eachBatch` if a batch has only control records or records of an
      // aborted transaction.
      consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) =>
        onPassed(payload.partition, String(BigInt(payload.lastOffset) + 1n)),
      )
      const running = consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch, heartbeat }) => {
          try {
            const unreadable = unreadableOf(batch)
            onBatch({ partition: batch.partition, records: batch.messages, ...(unreadable && { unreadable }) })
          } catch (error) {
            // Do not rethrow, because kafkajs would retry the batch for minutes.
            return onFailure(error, true)
          }
          await heartbeat()
        },
      })
      running.catch((error) => onFailure(error, true))
    },
    seek: (partition, offset) => consumer.seek({ topic, partition, offset }),
    stop: () => consumer.disconnect(),
  }
}
