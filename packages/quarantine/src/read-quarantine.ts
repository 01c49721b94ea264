/** Reads quarantine (the dead-letter topic) record by record, so that memory stays bounded. */
import {
  attributed,
  createPartitionReader,
  type PartitionEnds,
  partsOf,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { type Place, type QuarantinedRecord, readQuarantined } from './record.ts'
import { matches, requireReason, type Selection } from './selection.ts'

export interface ReadQuarantineOptions {
  readonly topic: string
  readonly ends: readonly PartitionEnds[]
  readonly selection: Selection
  readonly signal: AbortSignal
  /** Called with each selected record or batch that cannot be read. The reading continues. */
  readonly onUnreadable: (place: Place, why: string) => void
  /** Called with the number of records that were read, and the number that will be read. */
  readonly onProgress?: (read: number, total: number) => void
}

interface Range extends Place {
  readonly start: bigint
  readonly end: bigint
}

const whyMissing = ({ partition }: Place, ends: readonly PartitionEnds[]): string => {
  const end = ends.find((each) => each.partition === partition)
  if (end === undefined) return `quarantine has the partitions 0 to ${ends.length - 1}`
  const { low, high } = end
  return low === high
    ? `partition ${partition} is empty`
    : `partition ${partition} has the offsets ${low} to ${BigInt(high) - 1n}`
}

const rangesOf = async (admin: TopicAdmin, options: ReadQuarantineOptions): Promise<Range[]> => {
  const { topic, ends, selection, onUnreadable } = options
  const endOf = new Map(ends.map((end) => [end.partition, end]))
  if (selection.places !== undefined)
    return selection.places.flatMap((place) => {
      const { low, high } = endOf.get(place.partition) ?? { low: '0', high: '0' }
      const start = BigInt(place.offset)
      if (start >= BigInt(low) && start < BigInt(high)) return [{ ...place, start, end: start + 1n }]
      onUnreadable(place, whyMissing(place, ends))
      return []
    })
  const { sinceMs } = selection.filters
  const since =
    sinceMs === undefined
      ? new Map<number, string>()
      : new Map(
          (await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs)).map(({ partition, offset }) => [
            partition,
            offset,
          ]),
        )
  return ends.map(({ partition, low, high }) => {
    const offset = since.get(partition) ?? low
    return { partition, offset, start: BigInt(offset), end: BigInt(high) }
  })
}

/**
 * Yields the selected records, in the order of partitions and offsets. The caller must stop at the
 * limit of the selection.
 * @throws Error if no record has the selected reason, and this version does not know the reason.
 * @param admin created by createAdmin, connected.
 */
export async function* readQuarantine(
  admin: TopicAdmin,
  options: ReadQuarantineOptions,
): AsyncGenerator<QuarantinedRecord> {
  const { topic, selection, signal, onUnreadable, onProgress } = options
  const ranges = await attributed(`read topic ${topic}`, () => rangesOf(admin, options))
  const total = ranges.reduce((sum, { start, end }) => sum + (end > start ? Number(end - start) : 0), 0)
  const reader = createPartitionReader(admin, topic)
  let read = 0
  let hasReason = false
  for (const { partition, offset, ...range } of ranges) {
    let found = 0
    const reading = {
      signal,
      onUnreadable: (batch: { offset: string; error: Error }) => {
        found += 1
        onUnreadable({ partition, offset: batch.offset }, `the batch cannot be read: ${batch.error.message}`)
      },
    }
    for await (const records of partsOf(reader, { topic, partition, ...range }, reading)) {
      for (const fetched of records) {
        const record = readQuarantined(fetched, partition)
        read += 1
        found += 1
        hasReason ||= record.reason === selection.filters.reason
        onProgress?.(read, total)
        if (matches(selection.filters, record)) yield record
      }
    }
    if (selection.places !== undefined && found === 0)
      onUnreadable({ partition, offset }, 'there is no record at this offset')
  }
  if (selection.filters.reason !== undefined && !hasReason) requireReason(selection.filters.reason)
}
