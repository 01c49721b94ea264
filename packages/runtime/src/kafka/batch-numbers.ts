/**
 * Numbers with which Kafka refuses batches that come late. A broker that hangs may store a request
 * long after the producer has given up, and even after newer records of the same producer.
 *
 * For each producer id, a partition keeps the last epoch and the last sequence number. Kafka
 * refuses a batch of an earlier epoch, and a batch whose sequence number is not the next number of
 * its epoch. Kafka's Java producer also begins a new epoch after a failed send (KIP-360).
 */
export interface BatchNumbers {
  readonly producerId: bigint
  readonly epoch: number
  /** Sequence number of the first record. Each further record has the next number. */
  readonly sequence: number
}

export interface Numbering {
  /**
   * Returns the numbers of the next batch of a partition. No other batch gets these numbers,
   * because Kafka would take it for a duplicate and would not store it.
   * @param partition any name of the partition.
   */
  next(partition: string, records: number): Promise<BatchNumbers>
  /**
   * Begins a new epoch for the partition, because the outcome of a batch is unknown. Kafka refuses
   * this batch if it comes after a batch of the new epoch.
   */
  abandon(partition: string, batch: BatchNumbers): void
}

/** Largest values of the fields in a batch. */
const MAX_EPOCH = 32_767
const MAX_SEQUENCE = 2_147_483_647

/** @param requestProducerId asks Kafka for an id that no other producer has. */
export const createNumbering = (requestProducerId: () => Promise<bigint>): Numbering => {
  const nextOf = new Map<string, BatchNumbers>()
  let producerId: Promise<bigint> | undefined

  const requestOnce = async () => {
    producerId ??= requestProducerId()
    try {
      return await producerId
    } catch (error) {
      producerId = undefined
      throw error
    }
  }
  const beginEpoch = (partition: string, { producerId: id, epoch }: BatchNumbers) => {
    if (epoch < MAX_EPOCH) nextOf.set(partition, { producerId: id, epoch: epoch + 1, sequence: 0 })
    else {
      nextOf.delete(partition)
      producerId = undefined
    }
  }
  const next: Numbering['next'] = async (partition, records) => {
    const id = await requestOnce()
    const numbers = nextOf.get(partition) ?? { producerId: id, epoch: 0, sequence: 0 }
    if (numbers.sequence + records > MAX_SEQUENCE) {
      beginEpoch(partition, numbers)
      return next(partition, records)
    }
    nextOf.set(partition, { ...numbers, sequence: numbers.sequence + records })
    return numbers
  }
  return {
    next,
    abandon: (partition, batch) => {
      const numbers = nextOf.get(partition)
      if (numbers?.producerId === batch.producerId && numbers.epoch === batch.epoch) beginEpoch(partition, numbers)
    },
  }
}
