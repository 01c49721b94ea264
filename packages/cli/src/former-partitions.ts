/**
 * Finds the partitions that may hold older records of a customer. If partitions are added to a
 * topic, Kafka moves no record. New records of a customer may then go to another partition.
 */
import {
  createPartitionReader,
  type FetchedRecord,
  type PartitionEnds,
  partsOf,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { partitionOf } from '@customer-stream/schemas'
import { formerPartitionsOf } from '@customer-stream/schemas/partitioner'

/**
 * Returns true if a record's key belongs to another partition. Such a record was written before the
 * newest partition was added to the topic.
 */
export const hasForeignKey = (records: readonly FetchedRecord[], partition: number, count: number): boolean =>
  records.some(({ key }) => key !== null && partitionOf(key.toString(), count) !== partition)

/**
 * Reads the oldest records of each partition that the customer's key had when the topic had fewer
 * partitions. If the keys of all these records belong to their partition, no partition was added
 * after these records. The command then does not need the rest of this partition.
 */
export const formerPartitions = async (
  admin: TopicAdmin,
  { topic, customerUuid, ends }: { topic: string; customerUuid: string; ends: readonly PartitionEnds[] },
  signal: AbortSignal,
): Promise<readonly number[]> => {
  const reader = createPartitionReader(admin, topic)
  const found: number[] = []
  for (const partition of formerPartitionsOf(customerUuid, ends.length)) {
    const { low = '0', high = '0' } = ends.find((end) => end.partition === partition) ?? {}
    const range = { topic, partition, start: BigInt(low), end: BigInt(high) }
    for await (const records of partsOf(reader, range, { signal, onUnreadable: () => undefined })) {
      if (records.length === 0) continue
      if (hasForeignKey(records, partition, ends.length)) found.push(partition)
      break
    }
  }
  return found
}
