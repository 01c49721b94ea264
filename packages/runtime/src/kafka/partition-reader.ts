import type { FetchedRecord } from './batch-handler.ts'
import { errorType } from './error-type.ts'
import type { DecodedRecord, DecodedRecords, UnreadableBatch } from './record-batches.ts'
import { clusterOf, type TopicAdmin } from './topic-admin.ts'
import { readWatermarks } from './watermarks.ts'

/** Committed records of one partition, in order. */
export interface FetchedPart {
  readonly records: readonly FetchedRecord[]
  /**
   * Offset at which the next fetch must begin. If the leader sent no batch, this is the offset of
   * this fetch. Otherwise `nextOffset` is greater, even if `records` is empty.
   */
  readonly nextOffset: string
  /** True if a quota of Kafka delays the records. If true, `records` is empty. */
  readonly isDelayed?: true
  /**
   * Range of records that this fetch skips, because they cannot be decoded or Kafka no longer has
   * them. If this range is defined, `records` is empty.
   */
  readonly unreadable?: UnreadableBatch
}

export interface PartitionReader {
  /**
   * Fetches committed records, beginning at an offset, at most about 256 KiB. The leader waits a
   * moment for the first record. Rejects if the leader does not answer.
   * @param until end of the range. If compaction has removed the last records of the range,
   *   `nextOffset` is `until`.
   */
  fetch(partition: number, offset: string, until: string): Promise<FetchedPart>
}

const passOver = ({ offset, nextOffset: claimed, error }: UnreadableBatch): FetchedPart => {
  // A damaged batch may claim to end before the offset.
  const nextOffset = BigInt(claimed) > BigInt(offset) ? claimed : String(BigInt(offset) + 1n)
  return { records: [], nextOffset, unreadable: { offset, nextOffset, error } }
}

/** Returns the records at and after an offset. Undefined if the leader sent no batch. */
export const partFrom = (messages: DecodedRecords, offset: string): FetchedPart | undefined => {
  const { nextOffset = offset, unreadable } = messages
  if (BigInt(nextOffset) > BigInt(offset)) {
    // A batch may begin before the offset.
    const isRecord = (each: DecodedRecord) => !each.isControlRecord && BigInt(each.offset) >= BigInt(offset)
    return { records: messages.filter(isRecord), nextOffset }
  }
  return unreadable && passOver({ ...unreadable, offset })
}

const MAX_BYTES = 256 * 1024
const MAX_WAIT_MS = 100
const READ_COMMITTED = 1

/**
 * Reads single partitions of a topic without a consumer group, so the user needs no right on a
 * group.
 * @param admin a connected client of createAdmin. A fetch that waits for a record delays other
 *   requests of this client to the same broker.
 */
export const createPartitionReader = (admin: TopicAdmin, topic: string): PartitionReader => {
  const cluster = clusterOf(admin)

  /** @returns undefined if the leader sent no batch. */
  const fetchOnce = async (partition: number, offset: string): Promise<FetchedPart | undefined> => {
    await cluster.addTargetTopic(topic)
    await cluster.refreshMetadataIfNecessary()
    const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
    if (nodeId === undefined) throw new Error(`${topic}/${partition} has no leader`)
    const broker = await cluster.findBroker({ nodeId })
    const { responses, throttleTime, clientSideThrottleTime } = await broker.fetch({
      maxWaitTime: MAX_WAIT_MS,
      maxBytes: MAX_BYTES,
      isolationLevel: READ_COMMITTED,
      topics: [{ topic, partitions: [{ partition, fetchOffset: offset, maxBytes: MAX_BYTES }] }],
    })
    const part = partFrom(responses[0]?.partitions[0]?.messages ?? [], offset)
    const isThrottled = throttleTime + clientSideThrottleTime > 0
    return part ?? (isThrottled ? { records: [], nextOffset: offset, isDelayed: true } : undefined)
  }

  /**
   * @returns the missing range: up to the oldest record, or up to `until` if the partition ends
   *   before the offset.
   */
  const missing = async (partition: number, offset: string, until: string, error: Error): Promise<FetchedPart> => {
    const marks = (await readWatermarks(admin, topic)).get(partition)
    if (marks === undefined) throw error
    const { low, high } = marks
    if (BigInt(offset) < BigInt(low)) return passOver({ offset, nextOffset: low, error })
    if (BigInt(offset) > BigInt(high)) return passOver({ offset, nextOffset: until, error })
    throw error
  }

  return {
    fetch: async (partition, offset, until) => {
      const nothing = { records: [], nextOffset: offset }
      try {
        const first = await fetchOnce(partition, offset)
        if (first) return first
        // A leader returns only records of which it knows that they are on all replicas. A new
        // leader at first knows this only of some records. So an empty answer means the end only if
        // the leader's end offset is known.
        const marks = (await readWatermarks(admin, topic)).get(partition)
        // A new leader answers this request only after it knows which of its records are on all
        // replicas. So a partition that ends before `until` has lost records, and a wait for them
        // would never end.
        if (marks && BigInt(marks.high) < BigInt(until)) {
          const error = new Error(`the partition ends at offset ${marks.high}, but ended at offset ${until} before`)
          return passOver({ offset, nextOffset: until, error })
        }
        if (marks === undefined || BigInt(marks.stable) < BigInt(until)) return nothing
        return (await fetchOnce(partition, offset)) ?? { ...nothing, nextOffset: until }
      } catch (error) {
        if (errorType(error) === 'OFFSET_OUT_OF_RANGE') return missing(partition, offset, until, error as Error)
        // Another broker may be the leader now.
        await cluster.refreshMetadata().catch(() => undefined)
        throw error
      }
    },
  }
}
