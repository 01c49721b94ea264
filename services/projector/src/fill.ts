/**
 * Fills a lost Redis from the state topic. The state topic is shorter than the raw topic, because
 * it has one document for each customer. New events are applied at the same time. Redis keeps the
 * newer version, so the order of documents and events does not matter.
 */
import type { Logger } from '@customer-stream/runtime'
import type { FetchedRecord, UnreadableBatch } from '@customer-stream/runtime/kafka'
import {
  type CustomerHash,
  compareVersions,
  readStateRecord,
  stateToHash,
  type Version,
} from '@customer-stream/schemas'
import type { ChangelogSource } from './changelog-source.ts'
import type { FillProgress } from './fill-progress.ts'
import type { Fill, FillStore } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import type { Store } from './store.ts'

export interface FillerDependencies {
  readonly store: Pick<Store, 'applyStates' | 'deleteErased'>
  readonly fillStore: Pick<FillStore, 'moveFill'>
  readonly stateSource: Pick<ChangelogSource, 'fetch' | 'watermarks'> | undefined
  readonly retryThroughOutage: RetryThroughOutage
  readonly progress: Pick<FillProgress, 'begin'>
  readonly metrics: Pick<ProjectorMetrics, 'unusableStates' | 'unreadableStates'>
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>
}

/**
 * Fills a partition. Begins at the stored progress.
 * @returns the fill at its end. Undefined if the signal aborted, or if another process has changed
 *   the progress.
 */
export type FillPartition = (partition: number, fill: Fill, signal: AbortSignal) => Promise<Fill | undefined>

interface Documents {
  /** The newest document of each customer, by customer. */
  readonly customers: ReadonlyMap<string, CustomerHash>
  /** Time of the last tombstone of each customer, Unix milliseconds. */
  readonly erased: ReadonlyMap<string, number>
  /** Number of records that are neither documents nor tombstones. */
  readonly unusable: number
}

/** Matches the start of a document that the projector wrote. */
const START = /^\{"customerUuid":"[^"\\]*","version":\{"timestamp":(\d+),"id":"([^"\\]*)"\}/
const START_BYTES = 512

/**
 * Returns the version of a document without a parse. Undefined if another program wrote the
 * document.
 */
const peekVersion = (value: Buffer | null): Version | undefined => {
  const [, timestamp, id] = START.exec(value?.toString('utf8', 0, START_BYTES) ?? '') ?? []
  return timestamp === undefined || id === undefined ? undefined : { timestamp: Number(timestamp), id }
}

/**
 * Finds the newest document of each customer. Reads the records from the last to the first. Ignores
 * documents before the customer's last tombstone. Compares the versions of the other documents,
 * because a late projector may publish an old document last.
 */
const documentsOf = (records: readonly FetchedRecord[], projection: number): Documents => {
  const customers = new Map<string, CustomerHash>()
  const erased = new Map<string, number>()
  /** Customers whose tombstone was read. Earlier records of these customers are ignored. */
  const done = new Set<string>()
  let unusable = 0
  for (const record of records.toReversed()) {
    const key = record.key?.toString() ?? ''
    if (done.has(key)) continue
    const known = customers.get(key)?.version
    const peeked = known && peekVersion(record.value)
    if (known && peeked && compareVersions(peeked, known) <= 0) continue
    const found = readStateRecord(record)
    const { customerUuid, state } = found.ok ? found.value : { customerUuid: key, state: undefined }
    const hash = state ? stateToHash(state, { appliedAt: Date.now(), projection }) : undefined
    if (hash?.ok) {
      if (!known || compareVersions(hash.value.version, known) > 0) customers.set(customerUuid, hash.value)
    } else if (state === null) {
      done.add(customerUuid)
      if (!known) erased.set(customerUuid, Number(record.timestamp))
    } else unusable += 1
  }
  return { customers, erased, unusable }
}

/**
 * Number of fetches that are applied at the same time. While some fetches wait for Redis, another
 * fetch is parsed. More fetches would delay new events.
 */
const CONCURRENT = 4

/**
 * The fill reports an outage after this many fetches in a row without records. Each of these
 * fetches waits 100 ms or more.
 */
const EMPTY_FETCHES = 20

export const createFiller = (
  deps: FillerDependencies,
  { projection }: { readonly projection: number },
): FillPartition => {
  const { store, fillStore, stateSource, progress, retryThroughOutage, metrics, logger } = deps
  /** Settles when the last task of the queue has ended, for each queue. */
  const queues: Promise<unknown>[] = Array.from({ length: CONCURRENT }, () => Promise.resolve())
  const inQueue = <T>(partition: number, work: () => Promise<T>): Promise<T> => {
    const queue = partition % CONCURRENT
    const done = (queues[queue] ?? Promise.resolve()).then(work)
    queues[queue] = done.catch(() => undefined)
    return done
  }

  const apply = async (
    partition: number,
    fill: Fill,
    to: Pick<Fill, 'next' | 'isComplete'>,
    { customers, erased }: Documents,
  ): Promise<Fill | undefined> => {
    const stored = await store.applyStates([...customers.values()], partition, fill)
    for (const [customerUuid, at] of erased) await store.deleteErased(customerUuid, at)
    return fillStore.moveFill(partition, fill, to, stored)
  }

  const reportUnreadable = (partition: number, { offset: from, nextOffset: to, error }: UnreadableBatch) => {
    metrics.unreadableStates.inc(Number(BigInt(to) - BigInt(from)))
    logger.error(
      { event: 'unreadable-states', partition, from, to, err: error },
      'records of the state topic cannot be read; the fill skips these records, and all records of the raw topic ' +
        'are applied after the fill. Customers whose raw records Kafka has deleted may be missing',
    )
  }

  /**
   * @returns undefined if the signal aborted.
   * @throws Error if Kafka returns no records for some time, so that the outage is reported.
   */
  const fetchSome = async (partition: number, { next, end }: Fill, signal: AbortSignal) => {
    for (let fetches = 0; fetches < EMPTY_FETCHES; fetches++) {
      if (signal.aborted) return undefined
      const fetched = await stateSource?.fetch(partition, next, end)
      if (fetched?.nextOffset !== next) return fetched
    }
    throw new Error(
      `Kafka returns no records of partition ${partition} of the state topic from offset ${next}, and the fill ` +
        `needs the records up to offset ${end}. Either the in-sync replicas are behind the leader, or an open ` +
        'transaction of another producer holds these records back. End the transaction ' +
        '(kafka-transactions.sh find-hanging, abort)',
    )
  }

  /** @returns the progress after the next records. Undefined if the fill was aborted or changed. */
  const step = async (partition: number, fill: Fill, signal: AbortSignal): Promise<Fill | undefined> => {
    const fetched = await retryThroughOutage('state', signal, () => fetchSome(partition, fill, signal))
    if (!fetched?.value) return undefined
    const { records, nextOffset, unreadable } = fetched.value
    return inQueue(partition, async () => {
      const documents = documentsOf(records, projection)
      const to = { next: nextOffset, isComplete: fill.isComplete && unreadable === undefined }
      const done = await retryThroughOutage('Redis', signal, () => apply(partition, fill, to, documents))
      if (done?.value && unreadable) reportUnreadable(partition, unreadable)
      if (done?.value && documents.unusable > 0) {
        metrics.unusableStates.inc(documents.unusable)
        logger.warn(
          { event: 'unusable-states', partition, count: documents.unusable, from: fill.next, to: nextOffset },
          'the state topic has records that are not documents; these records were skipped',
        )
      }
      return done?.value
    })
  }

  const fillToEnd = async (partition: number, fill: Fill, signal: AbortSignal): Promise<Fill | undefined> => {
    const part = progress.begin(partition, fill)
    let reached: Fill | undefined = fill
    while (reached && BigInt(reached.next) < BigInt(reached.end)) {
      reached = signal.aborted ? undefined : await step(partition, reached, signal)
      if (reached) part.advance(reached)
    }
    if (!reached) part.abandon()
    return reached
  }

  /**
   * Moves the end of a fill to the current end of the partition.
   * @returns undefined if the fill was aborted or changed.
   */
  const extend = async (partition: number, fill: Fill, signal: AbortSignal): Promise<Fill | undefined> => {
    const end = await retryThroughOutage('state', signal, async () => {
      const high = (await stateSource?.watermarks())?.get(partition)?.high
      if (high === undefined) throw new Error(`partition ${partition} of the state topic has no leader`)
      return high
    })
    if (!end || BigInt(end.value) <= BigInt(fill.end)) return end && fill
    const extended = { next: fill.next, end: end.value, isComplete: fill.isComplete }
    const moved = await retryThroughOutage('Redis', signal, () => fillStore.moveFill(partition, fill, extended, []))
    return moved?.value
  }

  return async (partition, fill, signal) => {
    const reached = await fillToEnd(partition, fill, signal)
    // A fill may take days, because it waits while no projector runs. Meanwhile a repair, or a
    // projector of another projection, may publish a document again. Compaction then removes the
    // earlier copy, perhaps before the fill has read this copy.
    const extended = reached && (await extend(partition, reached, signal))
    const filled = extended && (await fillToEnd(partition, extended, signal))
    if (filled) logger.info({ event: 'filled', partition }, 'the fill of a partition from the state topic is complete')
    return filled
  }
}
