/**
 * Fills a lost Redis from the state topic. The state topic is shorter than the raw topic, because
 * it has one document for each customer. New events are applied at the same time. Redis keeps the
 * newer version, so the order of documents and events does not matter.
 */
import type { Logger } from '@customer-stream/runtime'
import type { FetchedRecord } from '@customer-stream/runtime/kafka'
import { type CustomerHash, readStateRecord, stateToHash } from '@customer-stream/schemas'
import type { FillProgress } from './fill-progress.ts'
import type { Fill, FillStore } from './fill-store.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import type { StateSource } from './state-source.ts'
import type { Store } from './store.ts'

export interface FillerDependencies {
  readonly store: Pick<Store, 'applyStates' | 'deleteErased'>
  readonly fillStore: Pick<FillStore, 'moveFill'>
  readonly stateSource: Pick<StateSource, 'fetch'> | undefined
  readonly retryThroughOutage: RetryThroughOutage
  readonly progress: Pick<FillProgress, 'begin' | 'advance' | 'abandon'>
  readonly metrics: Pick<ProjectorMetrics, 'unusableStates'>
  readonly logger: Pick<Logger, 'info' | 'warn'>
}

/**
 * Fills a partition, from the stored progress on.
 * @returns the fill at its end. Undefined if the signal aborted, or if another process has changed
 *   the progress.
 */
export type FillPartition = (partition: number, fill: Fill, signal: AbortSignal) => Promise<Fill | undefined>

interface Documents {
  /** The last document of each customer, by customer. */
  readonly customers: ReadonlyMap<string, CustomerHash>
  /** Time of the last tombstone of each customer, Unix milliseconds. */
  readonly erased: ReadonlyMap<string, number>
  /** Number of records that are neither documents nor tombstones. */
  readonly unusable: number
}

/** Reads the records from the last to the first, and keeps the last usable one of each customer. */
const documentsOf = (records: readonly FetchedRecord[], projection: number): Documents => {
  const customers = new Map<string, CustomerHash>()
  const erased = new Map<string, number>()
  let unusable = 0
  for (const record of records.toReversed()) {
    const key = record.key?.toString() ?? ''
    if (customers.has(key) || erased.has(key)) continue
    const found = readStateRecord(record)
    const { customerUuid, state } = found.ok ? found.value : { customerUuid: key, state: undefined }
    const hash = state ? stateToHash(state, { appliedAt: Date.now(), projection }) : undefined
    if (hash?.ok) customers.set(customerUuid, hash.value)
    else if (state === null) erased.set(customerUuid, Number(record.timestamp))
    else unusable += 1
  }
  return { customers, erased, unusable }
}

/**
 * Number of fetches that are applied at the same time. While one fetch waits for Redis, the other
 * is parsed. A greater number would delay new events.
 */
const CONCURRENT = 2

export const createFiller = (
  deps: FillerDependencies,
  { projection }: { readonly projection: number },
): FillPartition => {
  const { store, fillStore, stateSource, progress, retryThroughOutage, metrics, logger } = deps
  /** Ends of the last work in each turn. New work of a turn waits for this end. */
  const turns: Promise<unknown>[] = Array.from({ length: CONCURRENT }, () => Promise.resolve())
  const inTurn = <T>(partition: number, work: () => Promise<T>): Promise<T> => {
    const turn = partition % CONCURRENT
    const done = (turns[turn] ?? Promise.resolve()).then(work)
    turns[turn] = done.catch(() => undefined)
    return done
  }

  const apply = async (
    partition: number,
    fill: Fill,
    nextOffset: string,
    { customers, erased }: Documents,
  ): Promise<Fill | undefined> => {
    const stored = await store.applyStates([...customers.values()], partition, fill)
    for (const [customerUuid, at] of erased) await store.deleteErased(customerUuid, at)
    return fillStore.moveFill(partition, fill, nextOffset, stored)
  }

  /** @returns the progress after the next records. Undefined if the fill was aborted or changed. */
  const step = async (partition: number, fill: Fill, signal: AbortSignal): Promise<Fill | undefined> => {
    const fetched = await retryThroughOutage('state', signal, async () =>
      stateSource?.fetch(partition, fill.next, fill.end),
    )
    if (!fetched?.value) return undefined
    const { records, nextOffset } = fetched.value
    if (nextOffset === fill.next) return fill
    return inTurn(partition, async () => {
      const documents = documentsOf(records, projection)
      const done = await retryThroughOutage('Redis', signal, () => apply(partition, fill, nextOffset, documents))
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

  return async (partition, fill, signal) => {
    progress.begin(partition, fill)
    let reached: Fill | undefined = fill
    while (reached && BigInt(reached.next) < BigInt(reached.end)) {
      reached = signal.aborted ? undefined : await step(partition, reached, signal)
      if (reached) progress.advance(partition, reached)
    }
    if (reached) logger.info({ event: 'filled', partition }, 'a partition is filled from the state topic')
    else progress.abandon(partition)
    return reached
  }
}
