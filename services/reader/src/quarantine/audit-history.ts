/** Finds the entries of the audit about one record. */
import { type AuditEntry, type Place, readEntry } from '@customer-stream/quarantine'
import { createPartitionReader, partsOf, type TopicAdmin } from '@customer-stream/runtime/kafka'

/** A place in the audit is stored as one number: partition × 2^40 + offset. */
const PARTITION = 2 ** 40

/**
 * Keeps, for each record, the places of its entries in the audit. The entries themselves would need
 * five times as much memory, and operators may have handled a million records.
 */
export const createHistory = () => {
  const places = new Map<number, Map<number, number | readonly number[]>>()
  return {
    add: (of: Place, partition: number, offset: string) => {
      const ofPartition = places.get(of.partition) ?? new Map<number, number | readonly number[]>()
      places.set(of.partition, ofPartition)
      const known = ofPartition.get(Number(of.offset))
      const added = partition * PARTITION + Number(offset)
      ofPartition.set(Number(of.offset), known === undefined ? added : [known, added].flat())
    },
    /** Returns the places in the audit, the oldest first. */
    of: ({ partition, offset }: Place) =>
      [places.get(partition)?.get(Number(offset)) ?? []]
        .flat()
        .map((packed) => ({ partition: Math.floor(packed / PARTITION), offset: BigInt(packed % PARTITION) })),
  }
}

export type AuditHistory = ReturnType<typeof createHistory>

/** Reads the entries at these places. */
export const readEntries = async (
  admin: TopicAdmin,
  topic: string,
  places: ReturnType<AuditHistory['of']>,
  signal: AbortSignal,
): Promise<readonly AuditEntry[]> => {
  const reader = createPartitionReader(admin, topic)
  const entries: AuditEntry[] = []
  for (const { partition, offset } of places) {
    const range = { topic, partition, start: offset, end: offset + 1n }
    for await (const part of partsOf(reader, range, { signal, onUnreadable: () => {} }))
      entries.push(...part.flatMap(({ value }) => readEntry(value) ?? []))
  }
  return entries
}
