/**
 * Applies the raw topic to Redis, partition by partition. A chunk of records goes through project → quarantine → store → position, in this order; only when
 * all of it is done has the position moved, by compare-and-set from the offset expected to the next. A projector that lost its partition without knowing can
 * undo nothing: the store goes by version, the position by compare. An outage never moves anything; it is waited for.
 */
import { type BackOff, createOccasionalLog, type Logger } from '@customer-stream/runtime'
import type { FetchedBatch, OutgoingRecord } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import { createOutages } from './outages.ts'
import { createPositions, type Positions, type PositionsDependencies } from './positions.ts'
import { type Projected, type ProjectOptions, project, type RawRecord } from './project.ts'
import { quarantineRecord } from './quarantine.ts'
import type { Store, StoreOutcome } from './store.ts'

export interface ProjectionDependencies {
  readonly store: Store
  readonly sendToQuarantine: (records: readonly OutgoingRecord[]) => Promise<void>
  readonly consumer: PositionsDependencies['consumer']
  readonly claim: PositionsDependencies['claim']
  readonly metrics: ProjectorMetrics
  readonly logger: Logger
}

export interface ProjectionOptions extends Pick<ProjectOptions, 'topic' | 'projection' | 'maxFutureMs'> {
  readonly quarantineTopic: string
  readonly chunkRecords: number
  readonly chunkBytes: number
  readonly backOff: BackOff
}

export interface Projection {
  readonly positions: Pick<Positions, 'assign' | 'assigned' | 'commit' | 'loadNewlyLed' | 'stop'>
  /** @returns the next offset to fetch; undefined when a seek was made or the batch's signal aborted. */
  onBatch(batch: FetchedBatch): Promise<string | undefined>
  /** Compares the positions of idle partitions with Redis. Rejects in an outage. */
  checkPositions(): Promise<void>
  /** What is being waited for, undefined when all goes well. */
  readonly waitingFor: string | undefined
  /** Milliseconds in which nothing was waited for; 0 while something is. */
  undisturbedMs(): number
}

const chunksOf = function* (records: readonly RawRecord[], maxRecords: number, maxBytes: number): Generator<readonly RawRecord[]> {
  for (let start = 0; start < records.length; ) {
    let end = start
    let bytes = 0
    while (
      end < records.length &&
      end - start < maxRecords &&
      (end === start || bytes + (records[end]?.value?.byteLength ?? 0) <= maxBytes)
    ) {
      bytes += records[end]?.value?.byteLength ?? 0
      end += 1
    }
    yield records.slice(start, end)
    start = end
  }
}

const after = (offset: string): string => String(BigInt(offset) + 1n)

export const createProjection = (deps: ProjectionDependencies, options: ProjectionOptions): Projection => {
  const { store, metrics, logger } = deps
  const { topic, projection, maxFutureMs, quarantineTopic } = options
  const outages = createOutages({ metrics, logger, backOff: options.backOff })
  const { insist } = outages
  const positions = createPositions({ store, consumer: deps.consumer, claim: deps.claim, insist, metrics, logger }, topic)
  const busy = new Set<number>()
  const sayMoved = createOccasionalLog((fields) =>
    logger.warn(fields, 'the position in Redis is not where it was left; going back to what Redis says'),
  )

  const count = (projected: Projected, stored: readonly StoreOutcome[], last: RawRecord) => {
    for (const outcome of stored) metrics.events.inc({ outcome })
    metrics.events.inc({ outcome: 'stale' }, projected.stale)
    metrics.events.inc({ outcome: 'duplicate' }, projected.duplicate)
    metrics.events.inc({ outcome: 'quarantined' }, projected.poison.length)
    for (const { reason } of projected.poison) metrics.quarantined.inc({ reason })
    metrics.freshnessSeconds.observe(Math.max(0, Date.now() - Number(last.timestamp)) / 1000)
  }

  /** @returns whether the chunk, which begins at `from`, is done with; false when the position was elsewhere or the work was aborted. */
  const applyChunk = async (
    batch: FetchedBatch,
    records: readonly RawRecord[],
    last: RawRecord,
    from: string,
    next: string,
  ): Promise<boolean> => {
    const { partition, signal, highWatermark } = batch
    const expected = positions.expected(partition)
    // It may have been read anew since the fetch.
    if (expected !== from) return false
    const measured = metrics.chunkSeconds.startTimer()
    const projected = project(records, { topic, partition, projection, maxFutureMs, now: Date.now() })
    if (projected.poison.length > 0) {
      const quarantined = projected.poison.map((poison) => quarantineRecord(poison, { topic, partition }, quarantineTopic))
      if (!(await insist('quarantine', signal, () => deps.sendToQuarantine(quarantined)))) return false
    }
    // One attempt: were only the move repeated, a Redis that failed over in between and lost what was applied would get the position without the data.
    let outcomes: readonly StoreOutcome[] = []
    const done = await insist('Redis', signal, async () => {
      const stored = await store.apply(projected.newest)
      // What an earlier attempt has applied is found there by this one.
      outcomes = stored.map((outcome, i) => (outcome === 'duplicate' && outcomes[i] === 'applied' ? 'applied' : outcome))
      return { moved: await store.movePosition(partition, expected, next) }
    })
    if (!done) return false
    // Also when the partition is lost by now: the position has moved, and nobody will read these records again.
    if (done.value.moved) {
      count(projected, outcomes, last)
      measured()
    }
    // A new assignment may have begun while this one waited; what it believes must not be overwritten.
    if (signal.aborted || positions.expected(partition) !== expected) return false
    if (!done.value.moved) {
      sayMoved({ partition, expected })
      metrics.rewinds.inc()
      await positions.reload(partition, signal)
      return false
    }
    positions.moved(partition, next, highWatermark)
    return true
  }

  /** Whether the fetch began where Redis' position says; if not, makes sure that the next one does. */
  const beganInPlace = async ({ partition, fetchedFrom, signal }: FetchedBatch): Promise<boolean> => {
    const expected = positions.expected(partition)
    if (expected === fetchedFrom) return true
    // Right after an assignment its reading is still under way, and seeks; a new rebalance must not wait for it.
    if (expected === undefined) await positions.untilLoaded(signal)
    // kafkajs moved by itself (the offset was out of range), or a seek was overtaken: ask again before judging.
    if (!signal.aborted && positions.expected(partition) === expected) await positions.reload(partition, signal)
    return false
  }

  const handle = async (batch: FetchedBatch): Promise<string | undefined> => {
    if (!(await beganInPlace(batch))) return undefined
    let from = batch.fetchedFrom
    for (const chunk of chunksOf(batch.records, options.chunkRecords, options.chunkBytes)) {
      const last = chunk.at(-1)
      if (!last || batch.signal.aborted) return undefined
      const next = last === batch.records.at(-1) ? batch.nextOffset : after(last.offset)
      if (!(await applyChunk(batch, chunk, last, from, next))) return undefined
      from = next
    }
    return batch.nextOffset
  }

  return {
    positions,
    onBatch: async (batch) => {
      busy.add(batch.partition)
      try {
        return await handle(batch)
      } finally {
        busy.delete(batch.partition)
      }
    },
    checkPositions: () => positions.check((partition) => busy.has(partition)),
    get waitingFor() {
      return outages.waitingFor
    },
    undisturbedMs: outages.undisturbedMs,
  }
}
