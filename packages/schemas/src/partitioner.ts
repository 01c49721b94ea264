/**
 * Computes the murmur2 hash of the key's bytes. The Java client of Kafka uses the same hash. So
 * both choose the same partition for a key.
 * @returns a signed 32-bit number.
 */
export const murmur2 = (key: Uint8Array): number => {
  const m = 0x5bd1e995
  const { length } = key
  let h = 0x9747b28c ^ length
  const whole = length & ~3
  for (let i = 0; i < whole; i += 4) {
    let k = key[i]! | (key[i + 1]! << 8) | (key[i + 2]! << 16) | (key[i + 3]! << 24)
    k = Math.imul(k, m)
    k ^= k >>> 24
    h = Math.imul(h, m) ^ Math.imul(k, m)
  }
  const rest = length - whole
  if (rest > 2) h ^= key[whole + 2]! << 16
  if (rest > 1) h ^= key[whole + 1]! << 8
  if (rest > 0) {
    h ^= key[whole]!
    h = Math.imul(h, m)
  }
  h ^= h >>> 13
  h = Math.imul(h, m)
  return h ^ (h >>> 15)
}

/** Returns the partition that the bytes of a key select. */
export const partitionOfKey = (key: Uint8Array, partitions: number): number => (murmur2(key) & 0x7fffffff) % partitions

const encoder = new TextEncoder()

/**
 * Returns the partition of a customer's records, in the raw topic and in the state topic.
 * @param partitions the partition count of the topic.
 * @throws RangeError if the count is not a positive integer.
 */
export const partitionOf = (customerUuid: string, partitions: number): number => {
  if (!Number.isSafeInteger(partitions) || partitions < 1)
    throw new RangeError(`a topic cannot have ${partitions} partitions`)
  return partitionOfKey(encoder.encode(customerUuid), partitions)
}

/**
 * Returns the other partitions that may have older records of a customer. If partitions are added
 * to a topic, Kafka moves no record. So the customer's records from the time with fewer partitions
 * are still in the partition that was the right one at that time.
 */
export const formerPartitionsOf = (customerUuid: string, partitions: number): ReadonlySet<number> => {
  const choices = Array.from({ length: partitions - 1 }, (_, i) => partitionOf(customerUuid, i + 1))
  return new Set(choices.filter((partition) => partition !== partitionOf(customerUuid, partitions)))
}
