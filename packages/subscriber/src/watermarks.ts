import { setTimeout as sleep } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'

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
 * @throws the signal's reason if it aborts.
 */
export const readWatermarks = async (
  admin: ReturnType<Kafka['admin']>,
  topic: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Watermarks>> => {
  for (;;) {
    signal.throwIfAborted()
    try {
      await admin.connect()
      const partitions = await admin.fetchTopicOffsets(topic)
      return new Map(
        partitions.map(({ partition, low, high }) => [partition, { low: BigInt(low), high: BigInt(high) }]),
      )
    } catch {
      await sleep(OUTAGE_PAUSE_MS, undefined, { signal }).catch(() => undefined)
    }
  }
}
