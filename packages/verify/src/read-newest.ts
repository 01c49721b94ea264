/** Reads the newest records of a topic, from the end towards the start. */
import {
  type FetchedRecord,
  type PartitionEnds,
  type PartitionReader,
  readPartition,
} from '@customer-stream/runtime/kafka'

export interface ReadNewestOptions {
  /** Maximum records of one partition. */
  readonly limit: number
  /** Ends the reading early. `onRecord` has then got only the records that were read before. */
  readonly signal: AbortSignal
  /**
   * Number of records in the first block. Default: 16. Later blocks are larger, up to 1024 records.
   */
  readonly firstBlock?: number
}

export interface NewestRead {
  /** True if the partition has older records that were not read. */
  readonly isCut: boolean
}

const MAX_BLOCK = 1024n

/**
 * Reads the newest records of one partition, in blocks. The newest block comes first, and the
 * records of a block come in order. Memory does not grow with the number of records.
 * @throws if Kafka does not answer. After an abort of the signal, does not throw.
 */
export const readNewest = async (
  reader: PartitionReader,
  { topic, partition, low, high }: PartitionEnds & { readonly topic: string },
  onRecord: (record: FetchedRecord) => void,
  { limit, signal, firstBlock = 16 }: ReadNewestOptions,
): Promise<NewestRead> => {
  const oldest = BigInt(low)
  const lowestWanted = BigInt(high) - BigInt(limit) > oldest ? BigInt(high) - BigInt(limit) : oldest
  let end = BigInt(high)
  let size = BigInt(firstBlock)
  while (end > lowestWanted) {
    const start = end - size > lowestWanted ? end - size : lowestWanted
    try {
      const range = { topic, partition, start, end }
      await readPartition(reader, range, { onRecord, onUnreadable: () => {}, signal })
    } catch (error) {
      if (!signal.aborted) throw error
      return { isCut: true }
    }
    end = start
    size = size * 2n < MAX_BLOCK ? size * 2n : MAX_BLOCK
  }
  return { isCut: end > oldest }
}
