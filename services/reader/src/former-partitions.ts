/**
 * Finds whether another partition has older events of a customer. If partitions are added to a
 * topic, Kafka moves no record, but newer events of the customer may go to another partition.
 */
import type { Watermarks } from '@customer-stream/runtime/kafka'
import { partitionOf } from '@customer-stream/schemas'
import { formerPartitionsOf } from '@customer-stream/schemas/partitioner'
import type { TopicReader } from './topic-reader.ts'

export interface FormerQuery {
  readonly customerUuid: string
  /** Unix milliseconds. */
  readonly since: number
  /** Partition count of the topic. */
  readonly count: number
  readonly marks: ReadonlyMap<number, Watermarks>
}

/**
 * - `none`: no other partition has events of the customer.
 * - `earlier`: another partition may have events, all of which were received before `since`.
 * - `since`: another partition may have events that were received at or after `since`.
 */
export type FormerEvents = 'none' | 'earlier' | 'since'

export type FindFormer = (query: FormerQuery) => Promise<FormerEvents>

export const createFindFormer = (raw: Pick<TopicReader, 'read' | 'offsetAt'>): FindFormer => {
  /**
   * Partitions whose first records had only the partition's own keys, each with the partition count
   * at the check. Later records have only such keys, too, so these partitions are not checked
   * again.
   */
  const unmixed = new Map<number, number>()

  /**
   * Returns true if the first records at and after an offset have a key of another partition, or if
   * these records cannot be read.
   */
  const isMixed = async (partition: number, from: number, end: number, count: number): Promise<boolean> => {
    for (let offset = from; offset < end; ) {
      const { records, nextOffset } = await raw.read(partition, offset, end)
      const keys = records.flatMap(({ key }) => key ?? [])
      if (keys.length > 0) return keys.some((key) => partitionOf(key.toString(), count) !== partition)
      // A new leader may return no records for a moment. The keys are then not known.
      if (Number(nextOffset) <= offset) return true
      offset = Number(nextOffset)
    }
    return false
  }

  return async ({ customerUuid, since, count, marks }) => {
    let found: FormerEvents = 'none'
    for (const partition of formerPartitionsOf(customerUuid, count)) {
      if (unmixed.get(partition) === count) continue
      const mark = marks.get(partition)
      // Without a leader the records are not known.
      if (mark === undefined) return 'since'
      const [low, end] = [Number(mark.low), Number(mark.stable)]
      if (!(await isMixed(partition, low, end, count))) {
        if (low < end) unmixed.set(partition, count)
        continue
      }
      const start = await raw.offsetAt(partition, since)
      if (start === undefined || (await isMixed(partition, Math.max(low, start), end, count))) return 'since'
      found = 'earlier'
    }
    return found
  }
}
