/**
 * Numbers with which Kafka refuses batches that come late. A broker that hangs may store a request
 * long after the producer has given up, and even after newer records of another producer.
 *
 * For each producer id, a partition keeps the last epoch and the last sequence number. Kafka
 * refuses a batch of an earlier epoch, and a batch whose sequence number is not the next number of
 * its epoch. The partition forgets epoch and sequence number a day after the timestamp of the last
 * record, not a day after the arrival of this record (KIP-854).
 */
export interface Epoch {
  readonly producerId: bigint
  readonly epoch: number
}

export interface BatchNumbers extends Epoch {
  /** Sequence number of the first record. Each further record has the next number. */
  readonly sequence: number
}

export interface NumberedBatch {
  readonly numbers: BatchNumbers
  /** Ends the epoch of the batch, because the outcome of the batch is unknown. */
  abandon(): void
}

export interface Numbering {
  /**
   * Returns the numbers of the next batch of a partition. No other batch gets these numbers.
   * Otherwise Kafka would treat the other batch as a duplicate, and would not store it. Send the
   * batches of a partition one after another. Kafka refuses a batch that arrives before its
   * predecessor.
   */
  next(topic: string, partition: number, records: number): Promise<NumberedBatch>
  /** Ends the epochs of all partitions. The next batch of each partition begins a new epoch. */
  abandonAll(): void
}

const MAX_SEQUENCE = 2_147_483_647
/**
 * Maximum age of an epoch. Kafka forgets a transactional id if no epoch is requested for 7 days.
 */
const MAX_AGE_MS = 86_400_000

/**
 * @param requestEpoch asks Kafka for an epoch. Kafka then refuses the batches of each earlier epoch
 *   of this partition, from any process.
 */
export const createNumbering = (requestEpoch: (topic: string, partition: number) => Promise<Epoch>): Numbering => {
  interface OpenEpoch {
    readonly requested: Promise<Epoch>
    readonly since: number
    /** Sequence number of the next record. */
    sequence: number
  }
  const open = new Map<string, OpenEpoch>()

  const epochOf = (name: string, records: number, request: () => Promise<Epoch>): OpenEpoch => {
    const current = open.get(name)
    if (current && Date.now() - current.since < MAX_AGE_MS && current.sequence + records <= MAX_SEQUENCE) return current
    const begun = { requested: request(), since: Date.now(), sequence: 0 }
    open.set(name, begun)
    return begun
  }
  return {
    next: async (topic, partition, records) => {
      const name = `${topic}/${partition}`
      const epoch = epochOf(name, records, () => requestEpoch(topic, partition))
      const abandon = () => {
        if (open.get(name) === epoch) open.delete(name)
      }
      const { sequence } = epoch
      epoch.sequence += records
      try {
        return { numbers: { ...(await epoch.requested), sequence }, abandon }
      } catch (error) {
        abandon()
        throw error
      }
    },
    abandonAll: () => open.clear(),
  }
}
