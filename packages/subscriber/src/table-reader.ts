import { randomUUID } from 'node:crypto'
import { type PlacedRecord, readStateRecord, type StateRecordFault } from '@customer-stream/schemas'
import type { EachBatchPayload, Kafka } from 'kafkajs'
import type { createChangeFeeds } from './change-feeds.ts'
import { call, handleInvalid, type InvalidDecision, type InvalidRecord, placeOf } from './invalid-record.ts'
import { type RunningConsumer, runConsumer, SubscriberError } from './run-consumer.ts'
import type { TableEntries } from './table-entries.ts'
import type { TableProgress } from './table-progress.ts'

export interface TableReaderOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly groupIdPrefix: string
  readonly onInvalid: (invalid: InvalidRecord<StateRecordFault>) => Exclude<InvalidDecision, 'park'>
  readonly signal: AbortSignal
}

/** Reads the state topic into the entries of a table. */
export const createTableReader = (
  { kafka, topic, groupIdPrefix, onInvalid, signal }: TableReaderOptions,
  table: {
    readonly entries: Pick<TableEntries, 'apply'>
    readonly progress: Pick<TableProgress, 'positions' | 'move'>
    readonly feeds: Pick<ReturnType<typeof createChangeFeeds>, 'publish'>
  },
) => {
  const { entries, progress, feeds } = table
  let invalidRecords = 0
  let reading: RunningConsumer | undefined

  const apply = async (record: PlacedRecord): Promise<void> => {
    const read = readStateRecord(record)
    if (!read.ok) {
      invalidRecords += 1
      return handleInvalid({ record, reason: read.reason, detail: read.detail }, { onInvalid })
    }
    const change = await call('filter', placeOf(record), () => entries.apply(read.value))
    if (change) feeds.publish(change)
  }

  const goneBack = (partition: number, offset: string) =>
    new SubscriberError(
      `${topic}/${partition} begins again at offset ${offset}: the topic was created again, or Kafka has lost ` +
        'records. The table may have customers that no longer exist. Open a new table.',
    )
  /** Next offset to apply, by partition. */
  const applied = new Map<number, bigint>()
  /**
   * Offset at which kafkajs began after it joined the group again, by partition. kafkajs may then
   * hand over a batch that it fetched before it joined. So records from this offset on may come
   * twice.
   */
  const begins = new Map<number, bigint>()
  const eachBatch = async ({ batch, resolveOffset }: EachBatchPayload, running: RunningConsumer): Promise<void> => {
    const { partition, messages } = batch
    const oldest = begins.get(partition) ?? progress.positions.get(partition) ?? 0n
    try {
      for (const message of messages) {
        if (running.isEnding) return
        const offset = BigInt(message.offset)
        if (offset < oldest) throw goneBack(partition, message.offset)
        if (offset < (applied.get(partition) ?? 0n)) continue
        applied.set(partition, offset + 1n)
        await apply({ topic, partition, ...message })
      }
      const last = messages.at(-1)
      if (last) resolveOffset(last.offset)
    } catch (error) {
      // Do not rethrow, because kafkajs would repeat the batch forever.
      running.fail(error)
    }
  }

  const read = () =>
    runConsumer({
      kafka,
      topic,
      signal,
      config: { groupId: `${groupIdPrefix}${randomUUID()}` },
      setUp: (running) => {
        const { consumer } = running
        reading = running
        let isFirstJoin = true
        // Seek in each new assignment. Otherwise kafkajs would begin at the start of the topic,
        // because no offset is committed.
        consumer.on(consumer.events.GROUP_JOIN, ({ payload: { memberAssignment } }) => {
          for (const [partition, offset] of progress.positions)
            consumer.seek({ topic, partition, offset: String(offset) })
          for (const partition of isFirstJoin ? [] : (memberAssignment[topic] ?? []))
            begins.set(partition, progress.positions.get(partition) ?? 0n)
          isFirstJoin = false
        })
        // kafkajs emits this event even for a batch that has only control records, for which
        // `eachBatch` is not called.
        consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
          if (running.isEnding) return
          const next = BigInt(lastOffset) + 1n
          if (next > (progress.positions.get(partition) ?? 0n)) progress.move(partition, next)
        })
        return { eachBatch: (payload) => eachBatch(payload, running) }
      },
    })

  return {
    get invalidRecords() {
      return invalidRecords
    },
    /** Reads until the signal aborts. Rejects if an error has ended the table. */
    read,
    /** Ends {@link read} with an error. */
    fail: (error: unknown) => reading?.fail(error),
  }
}
