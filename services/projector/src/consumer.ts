/**
 * Applies the raw topic to Redis, partition by partition, and keeps the one rule about positions: Redis itself says how far it has been filled.
 *
 * A chunk of records goes through project → quarantine → store → position, in this order; only when all of it is done is the position moved, by
 * compare-and-set from the offset believed to the next. When that compare fails, or a fetch began elsewhere than believed, the position is read anew and
 * the consumer seeks there. So an emptied, restored or failed-over Redis heals itself, and a projector that lost its partition without knowing
 * can undo nothing: the store goes by version, the position by compare. An outage never moves anything; it is waited for.
 */
import { once } from 'node:events'
import { type BackOff, type Logger, untilDone } from '@customer-stream/runtime'
import type { FetchedBatch, OutgoingRecord, PartitionConsumer } from '@customer-stream/runtime/kafka'
import type { ProjectorMetrics } from './metrics.ts'
import { type ProjectOptions, project, type RawRecord } from './project.ts'
import { quarantineRecord } from './quarantine.ts'
import type { Store } from './store.ts'

/** Where a partition stands: what Redis holds, and where the next fetch must begin. They differ only where Kafka does not have what Redis asks for. */
interface Position {
  readonly stored: string
  readonly fetchFrom: string
}

export interface ProjectionDependencies {
  readonly store: Store
  readonly sendToQuarantine: (records: readonly OutgoingRecord[]) => Promise<void>
  readonly consumer: Pick<PartitionConsumer, 'seek' | 'commit' | 'watermarks'>
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
  onAssigned(partitions: readonly number[]): void
  onBatch(batch: FetchedBatch): Promise<string | undefined>
  /** Compares what is believed with what Redis holds, for partitions that are idle; where they differ, goes back to what Redis says. Rejects in an outage. */
  checkPositions(): Promise<void>
  /** Tells Kafka how far we are, for lag monitoring only. */
  commitProgress(): Promise<void>
  /** Measures the lag also of partitions on which nothing happens, or nothing can happen. Rejects while Kafka does not answer. */
  measureLag(): Promise<void>
  /** What is being waited for, undefined when all goes well. */
  readonly waitingFor: string | undefined
  stop(): void
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
  const { store, consumer, metrics, logger } = deps
  const { topic } = options
  let assignment = new AbortController()
  let assigned: readonly number[] = []
  const positions = new Map<number, Position>()
  const busy = new Set<number>()
  const committed = new Map<number, string>()
  let loading: Promise<void> = Promise.resolve()
  let waitingFor: string | undefined

  /** Waits out an outage of what `attempt` needs; undefined once aborted. */
  const insist = async <T>(what: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<{ readonly value: T } | undefined> => {
    let failed = false
    const done = await untilDone(attempt, {
      signal,
      backOff: options.backOff,
      onFailure: (error, failures) => {
        failed = true
        waitingFor = `${what}: ${error.message}`
        metrics.failures.inc({ operation: what })
        if (failures === 1 || failures % 20 === 0) logger.warn({ err: error, failures }, `waiting for ${what}`)
      },
    })
    if (failed) {
      waitingFor = undefined
      if (done) logger.info(`${what} works again`)
    }
    return done
  }

  /** Turns what Redis holds into a place to fetch from; one that Kafka does not have means the start of what it has. */
  const resolve = (partition: number, stored: string, low: string, high: string): Position => {
    if (/^\d+$/.test(stored) && BigInt(stored) >= BigInt(low) && BigInt(stored) <= BigInt(high)) return { stored, fetchFrom: stored }
    logger.error({ partition, stored, low, high }, 'Kafka does not hold the offset that Redis asks for; starting from the oldest record')
    return { stored, fetchFrom: low }
  }

  const countLag = (partition: number, next: string, highWatermark: string) => {
    metrics.lag.set(
      { consumergroup: metrics.group, topic, partition: String(partition) },
      Math.max(0, Number(BigInt(highWatermark) - BigInt(next))),
    )
  }

  /** Reads positions from Redis, believes them, and seeks. Waits as long as it takes. */
  const load = async (partitions: readonly number[], signal: AbortSignal): Promise<void> => {
    const read = await insist('positions', signal, async () => {
      const watermarks = await consumer.watermarks()
      const stored = await store.positions(partitions)
      for (const [partition, offset] of stored) {
        if (offset !== undefined) continue
        // Before anything is applied: were there no position yet, a Redis emptied in between could not be told from one just begun.
        const { low = '0' } = watermarks.get(partition) ?? {}
        await store.movePosition(partition, undefined, low)
      }
      // Read after the positions: one moved meanwhile by the partition's last owner must not seem to lie beyond the end.
      return { stored: await store.positions(partitions), watermarks: await consumer.watermarks() }
    })
    if (!read || signal.aborted) return
    for (const partition of partitions) {
      const { low = '0', high = '0' } = read.value.watermarks.get(partition) ?? {}
      const position = resolve(partition, read.value.stored.get(partition) ?? '', low, high)
      positions.set(partition, position)
      consumer.seek(partition, position.fetchFrom)
      countLag(partition, position.fetchFrom, high)
    }
  }

  /**
   * @param from where the chunk begins; the belief may have changed since the fetch.
   * @returns whether the chunk is done with; false when the position was elsewhere or the work was aborted.
   */
  const applyChunk = async (
    partition: number,
    records: readonly RawRecord[],
    from: string,
    next: string,
    signal: AbortSignal,
  ): Promise<boolean> => {
    const believed = positions.get(partition)
    if (believed?.fetchFrom !== from) return false
    const startedAt = performance.now()
    const { projection, maxFutureMs } = options
    const projected = project(records, { topic, partition, projection, maxFutureMs, now: Date.now() })
    if (projected.poison.length > 0) {
      const quarantined = projected.poison.map((poison) => quarantineRecord(poison, { topic, partition }, options.quarantineTopic))
      if (!(await insist('quarantine', signal, () => deps.sendToQuarantine(quarantined)))) return false
    }
    // One attempt: were only the move repeated, a Redis that failed over in between and lost what was applied would get the position without the data.
    const done = await insist('Redis', signal, async () => ({
      outcomes: await store.apply(projected.newest),
      moved: await store.movePosition(partition, believed.stored, next),
    }))
    // A new assignment may have begun while this one waited; what it believes must not be overwritten.
    if (!done || signal.aborted || positions.get(partition) !== believed) return false
    if (!done.value.moved) {
      logger.warn({ partition, believed: believed.stored }, 'the position in Redis is not where it was left; going back to what Redis says')
      metrics.rewinds.inc()
      // The old belief stays until the new one is there: a load that is aborted must leave something that fails again.
      await load([partition], signal)
      return false
    }
    positions.set(partition, { stored: next, fetchFrom: next })
    for (const outcome of done.value.outcomes) metrics.events.inc({ outcome })
    metrics.events.inc({ outcome: 'stale' }, projected.stale)
    metrics.events.inc({ outcome: 'duplicate' }, projected.duplicate)
    for (const { reason } of projected.poison) {
      metrics.events.inc({ outcome: 'quarantined' })
      metrics.quarantined.inc({ reason })
    }
    metrics.chunkSeconds.observe((performance.now() - startedAt) / 1000)
    const last = records.at(-1)
    if (last) metrics.freshnessSeconds.observe(Math.max(0, Date.now() - Number(last.timestamp)) / 1000)
    return true
  }

  /** Whether the fetch began where Redis' position says; if not, makes sure that the next one does. */
  const beganInPlace = async ({ partition, fetchedFrom, signal }: FetchedBatch): Promise<boolean> => {
    const believed = positions.get(partition)
    if (believed?.fetchFrom === fetchedFrom) return true
    // Right after an assignment its load is still under way, and seeks; a new rebalance must not wait for it.
    if (!believed) await Promise.race([loading, once(signal, 'abort')])
    // kafkajs moved by itself (the offset was out of range), or a seek was overtaken: ask again before judging.
    if (!signal.aborted && positions.get(partition) === believed) await load([partition], signal)
    return false
  }

  const handle = async (batch: FetchedBatch): Promise<string | undefined> => {
    const { partition, signal } = batch
    if (!(await beganInPlace(batch))) return undefined
    const chunks = [...chunksOf(batch.records, options.chunkRecords, options.chunkBytes)]
    let from = batch.fetchedFrom
    for (const [i, chunk] of chunks.entries()) {
      const last = chunk.at(-1)
      if (!last || signal.aborted) return undefined
      const next = i === chunks.length - 1 ? batch.nextOffset : after(last.offset)
      if (!(await applyChunk(partition, chunk, from, next, signal))) return undefined
      from = next
      countLag(partition, next, batch.highWatermark)
    }
    return batch.nextOffset
  }

  return {
    onAssigned: (partitions) => {
      assignment.abort()
      assignment = new AbortController()
      assigned = partitions
      positions.clear()
      metrics.lag.reset()
      metrics.assignedPartitions.set(partitions.length)
      committed.clear()
      loading = load(partitions, assignment.signal)
    },
    onBatch: async (batch) => {
      busy.add(batch.partition)
      try {
        return await handle(batch)
      } finally {
        busy.delete(batch.partition)
      }
    },
    checkPositions: async () => {
      const { signal } = assignment
      const idle = assigned.flatMap((partition) => {
        const position = positions.get(partition)
        return position && !busy.has(partition) ? [{ partition, position }] : []
      })
      const stored = await store.positions(idle.map(({ partition }) => partition))
      const moved = idle.filter(
        ({ partition, position }) =>
          stored.get(partition) !== position.stored && positions.get(partition) === position && !busy.has(partition),
      )
      if (moved.length === 0 || signal.aborted) return
      logger.warn(
        { partitions: moved.map(({ partition }) => partition) },
        'Redis was emptied, restored or filled by another; going back to what it says',
      )
      metrics.rewinds.inc(moved.length)
      await load(
        moved.map(({ partition }) => partition),
        signal,
      )
    },
    commitProgress: async () => {
      const progress = new Map<number, string>()
      for (const [partition, { stored }] of positions) if (committed.get(partition) !== stored) progress.set(partition, stored)
      if (progress.size === 0) return
      if (await consumer.commit(progress)) for (const [partition, offset] of progress) committed.set(partition, offset)
    },
    measureLag: async () => {
      const watermarks = await consumer.watermarks()
      for (const [partition, { fetchFrom }] of positions) countLag(partition, fetchFrom, watermarks.get(partition)?.high ?? fetchFrom)
    },
    get waitingFor() {
      return waitingFor
    },
    stop: () => assignment.abort(),
  }
}
