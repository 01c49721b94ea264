import { setTimeout as sleep } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { isUnknownTopic, SubscriberError } from './run-consumer.ts'

const OUTAGE_PAUSE_MS = 1000

/**
 * Offsets of a partition's oldest record and of its next record. Equal if the partition has no
 * record.
 */
export interface Watermarks {
  readonly low: bigint
  readonly high: bigint
}

/**
 * Reads the watermarks of all partitions of a topic. Retries until Kafka answers.
 * @throws SubscriberError if the topic does not exist. The signal's reason if the signal aborts.
 */
export const readWatermarks = async (
  admin: ReturnType<Kafka['admin']>,
  topic: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Watermarks>> => {
  for (let unknown = 0; ; ) {
    signal.throwIfAborted()
    try {
      await admin.connect()
      const partitions = await admin.fetchTopicOffsets(topic)
      return new Map(
        partitions.map(({ partition, low, high }) => [partition, { low: BigInt(low), high: BigInt(high) }]),
      )
    } catch (error) {
      // One broker may learn of a new topic later than the other brokers.
      unknown = isUnknownTopic(error) ? unknown + 1 : 0
      if (unknown > 1) throw new SubscriberError(`the topic ${topic} does not exist`, { cause: error })
      await sleep(OUTAGE_PAUSE_MS, undefined, { signal }).catch(() => undefined)
    }
  }
}
