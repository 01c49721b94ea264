/**
 * Reads the state topic, and fills a Redis that has lost its data. The state topic is shorter than
 * the raw topic, because it has one document for each customer. New events are applied at the same
 * time. Redis keeps the newer version, so the order of documents and events does not matter.
 */
import type { Logger } from '@customer-stream/runtime'
import type { UnreadableBatch } from '@customer-stream/runtime/kafka'
import type { ChangelogSource } from './changelog-source.ts'
import { type DocumentOptions, type Documents, documentsOf } from './fill-documents.ts'
import type { FillProgress } from './fill-progress.ts'
import { type Fill, type FillStore, progressText } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import type { AppliedStates } from './state-store.ts'
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

/**
 * Number of fetches that are applied at the same time. While some fetches wait for Redis, another
 * fetch is parsed. More fetches would delay new events.
 */
const CONCURRENT = 4

/**
 * Customers for whom two facts are true: a lower projection has written the hash, and the hash is
 * newer than every document of the customer that the fill has read so far. The fill keeps this
 * hash, because a newer document may follow.
 */
interface KeptHashes {
  note(applied: AppliedStates): void
  /**
   * True until the fill has read, for each of these customers, a document that is at least as new
   * as the hash.
   */
  readonly mayRemain: boolean
}

/** Maximum number of these customers in memory. If a partition has more, `mayRemain` stays true. */
const MAX_KEPT = 20_000

/** @param isUnknown true if an earlier process has kept hashes. */
const createKeptHashes = (isUnknown: boolean): KeptHashes => {
  const customers = new Set<string>()
  let mayRemain = isUnknown
  return {
    note: ({ stored, kept }) => {
      if (mayRemain) return
      for (const { customerUuid } of stored) customers.delete(customerUuid)
      for (const { customerUuid } of kept) customers.add(customerUuid)
      mayRemain = customers.size > MAX_KEPT
    },
    get mayRemain() {
      return mayRemain || customers.size > 0
    },
  }
}

/**
 * The fill reports an outage after this many fetches in a row without records. Each of these
 * fetches waits 100 ms or more.
 */
const EMPTY_FETCHES = 20

const createStateReader = (stateSource: FillerDependencies['stateSource']) => ({
  /**
   * @returns undefined if the signal aborted.
   * @throws Error if Kafka returns no records for some time, so that the outage is reported.
   */
  fetchSome: async (partition: number, next: string, end: string, signal: AbortSignal) => {
    for (let fetches = 0; fetches < EMPTY_FETCHES; ) {
      if (signal.aborted) return undefined
      const fetched = await stateSource?.fetch(partition, next, end)
      if (fetched?.nextOffset !== next) return fetched
      if (!fetched.isDelayed) fetches += 1
    }
    throw new Error(
      `Kafka returns no records of partition ${partition} of the state topic from offset ${next}, and the fill ` +
        `needs the records up to offset ${end}. Either the in-sync replicas are behind the leader, or an open ` +
        'transaction of another producer holds these records back. In the second case, end the transaction ' +
        '(kafka-transactions.sh find-hanging, abort)',
    )
  },
  /** @throws Error if the partition has no leader. */
  watermarks: async (partition: number) => {
    const found = (await stateSource?.watermarks())?.get(partition)
    if (found === undefined) throw new Error(`partition ${partition} of the state topic has no leader`)
    return found
  },
})

const createReports = ({ metrics, logger }: Pick<FillerDependencies, 'metrics' | 'logger'>) => ({
  unreadable: (partition: number, { offset: from, nextOffset: to, error }: UnreadableBatch) => {
    metrics.unreadableStates.inc(Number(BigInt(to) - BigInt(from)))
    logger.error(
      { event: 'unreadable-states', partition, from, to, err: error },
      'records of the state topic cannot be read; the fill skips these records, and all records of the raw topic ' +
        'are applied after the fill. Customers whose raw records Kafka has deleted may be missing',
    )
  },
  unusable: (partition: number, count: number, from: string, to: string) => {
    metrics.unusableStates.inc(count)
    logger.warn(
      { event: 'unusable-states', partition, count, from, to },
      'the state topic has records that are not documents; these records were skipped',
    )
  },
})

/** Work of a fill between two changes of its stored progress. */
interface Step {
  readonly partition: number
  readonly fill: Fill
  /** Offset of the state topic to read from. */
  readonly from: string
  /**
   * Undefined if the step replaces the kept hashes. The step then does not move the stored
   * progress, which is already at the end.
   */
  readonly kept: KeptHashes | undefined
  readonly signal: AbortSignal
}

export const createFiller = (deps: FillerDependencies, options: DocumentOptions): FillPartition => {
  const { store, fillStore, progress, retryThroughOutage, logger } = deps
  const stateReader = createStateReader(deps.stateSource)
  const reports = createReports(deps)
  /** For each queue: settles when the last task of the queue has ended. */
  const queues: Promise<unknown>[] = Array.from({ length: CONCURRENT }, () => Promise.resolve())
  const inQueue = <T>(partition: number, work: () => Promise<T>): Promise<T> => {
    const queue = partition % CONCURRENT
    const done = (queues[queue] ?? Promise.resolve()).then(work)
    queues[queue] = done.catch(() => undefined)
    return done
  }

  const apply = async (
    { partition, fill, kept }: Step,
    { customers, erased }: Documents,
    read: Pick<Fill, 'next' | 'isComplete'>,
  ): Promise<Fill | undefined> => {
    const keepsNewer = kept !== undefined
    const place = { ...fill, progress: progressText(fill), keepsNewer }
    const applied = await store.applyStates([...customers.values()], partition, place)
    for (const [customerUuid, at] of erased) await store.deleteErased(customerUuid, at)
    kept?.note(applied)
    const { next, isComplete, hasKept } = fill
    const to = kept ? { ...read, hasKept: kept.mayRemain } : { next, isComplete, hasKept }
    return fillStore.moveFill(partition, fill, to, applied)
  }

  /**
   * Applies the next documents.
   * @returns the fill and the offset after these documents. Undefined if the fill was aborted or
   *   changed.
   */
  const run = async (step: Step): Promise<Pick<Step, 'fill' | 'from'> | undefined> => {
    const { partition, fill, from, kept, signal } = step
    const fetch = () => stateReader.fetchSome(partition, from, fill.end, signal)
    const fetched = await retryThroughOutage('state', signal, fetch)
    if (!fetched?.value) return undefined
    const { records, nextOffset: next, unreadable } = fetched.value
    return inQueue(partition, async () => {
      const documents = documentsOf(records, options)
      const read = { next, isComplete: fill.isComplete && unreadable === undefined }
      const done = await retryThroughOutage('Redis', signal, () => apply(step, documents, read))
      if (!done?.value) return undefined
      if (kept && unreadable) reports.unreadable(partition, unreadable)
      if (kept && documents.unusable > 0) reports.unusable(partition, documents.unusable, from, next)
      return { fill: done.value, from: next }
    })
  }

  const runToEnd = async (first: Step): Promise<Fill | undefined> => {
    const { partition, signal } = first
    const part = progress.begin(partition, { ...first.fill, next: first.from })
    let step: Step | undefined = first
    while (step && BigInt(step.from) < BigInt(step.fill.end)) {
      const done: Pick<Step, 'fill' | 'from'> | undefined = signal.aborted ? undefined : await run(step)
      if (done) part.advance({ ...done.fill, next: done.from })
      step = done && { ...first, ...done }
    }
    if (!step) part.abandon()
    return step?.fill
  }

  /**
   * Moves the end of a fill to the current end of the partition.
   * @returns undefined if the fill was aborted or changed.
   */
  const extend = async (partition: number, fill: Fill, signal: AbortSignal): Promise<Fill | undefined> => {
    const marks = await retryThroughOutage('state', signal, () => stateReader.watermarks(partition))
    if (!marks || BigInt(marks.value.high) <= BigInt(fill.end)) return marks && fill
    const { next, isComplete, hasKept } = fill
    const extended = { next, end: marks.value.high, isComplete, hasKept }
    const moved = await retryThroughOutage('Redis', signal, () => fillStore.moveFill(partition, fill, extended))
    return moved?.value
  }

  /** Replaces the kept hashes that are newer than every document. Reads all documents again. */
  const replaceKept = async (partition: number, fill: Fill, signal: AbortSignal): Promise<Fill | undefined> => {
    const marks = await retryThroughOutage('state', signal, () => stateReader.watermarks(partition))
    return marks && runToEnd({ partition, fill, from: marks.value.low, kept: undefined, signal })
  }

  return async (partition, fill, signal) => {
    const kept = createKeptHashes(fill.hasKept)
    const reached = await runToEnd({ partition, fill, from: fill.next, kept, signal })
    // A fill may take days, because it waits while no projector runs. Meanwhile a repair, or a
    // projector of another projection, may publish a document again. Compaction then removes the
    // earlier copy, perhaps before the fill has read this copy.
    const extended = reached && (await extend(partition, reached, signal))
    const complete = extended && (await runToEnd({ partition, fill: extended, from: extended.next, kept, signal }))
    const filled = complete?.hasKept ? await replaceKept(partition, complete, signal) : complete
    if (filled) logger.info({ event: 'filled', partition }, 'the fill of a partition from the state topic is complete')
    return filled
  }
}
