/**
 * Writes a chunk in this order: customers to Redis, their documents to the state topic, then the
 * position. Without a state topic, Redis gets customers and position in one call.
 *
 * A document is published if its event was applied, or is the stored one (duplicate). So a chunk
 * that is applied again publishes what a crash has left out, and a stale event is never published.
 *
 * A projector that has lost its partition without knowing may publish an older document after its
 * successor has published a newer one. Then its own position does not move. It moves the position in
 * Redis back to the start of its chunk. So the successor applies these records again and publishes
 * what is current.
 */
import { answerOf, type Logger } from '@customer-stream/runtime'
import type { FetchedBatch, OutgoingRecord, VerifiedProducer } from '@customer-stream/runtime/kafka'
import { RAW_HEADERS } from '@customer-stream/schemas'
import type { Holds } from './holds.ts'
import type { ProjectorMetrics } from './metrics.ts'
import type { RetryThroughOutage } from './outages.ts'
import type { NewestCustomer } from './project.ts'
import type { AppliedChunk, ChunkOptions, Store } from './store.ts'

export interface ChunkWriterDependencies {
  readonly store: Pick<Store, 'applyChunk' | 'writeChunk' | 'moveAfter' | 'lowerPosition'>
  /** Sends to the state topic. Undefined if the state topic is switched off. */
  readonly state: Pick<VerifiedProducer, 'send'> | undefined
  readonly holds: Pick<Holds, 'isSent' | 'hasSent' | 'sendOrHold'>
  readonly retryThroughOutage: RetryThroughOutage
  readonly metrics: Pick<ProjectorMetrics, 'stateRecords' | 'stateRepairs'>
  readonly logger: Pick<Logger, 'warn'>
}

export interface ChunkWriter {
  /**
   * Writes a chunk and moves the position from `from` to `to`. Retries through outages.
   * @returns undefined if the work was aborted, or if the partition is paused.
   */
  write(
    batch: Pick<FetchedBatch, 'partition' | 'signal'>,
    newest: readonly NewestCustomer[],
    from: string,
    to: string,
    options: ChunkOptions,
  ): Promise<AppliedChunk | undefined>
  /** Waits a moment for positions that are being moved back. */
  stop(): Promise<void>
}

const MAX_STOP_MS = 2000

const stateRecord = (
  { customerUuid, document = '', record: { timestamp, headers } }: NewestCustomer,
  topic: string,
): OutgoingRecord => {
  const traceparent = headers?.[RAW_HEADERS.traceparent]?.toString()
  return {
    topic,
    key: Buffer.from(customerUuid),
    value: Buffer.from(document),
    timestamp: Number(timestamp),
    ...(traceparent !== undefined && { headers: { [RAW_HEADERS.traceparent]: traceparent } }),
  }
}

export const createChunkWriter = (deps: ChunkWriterDependencies, stateTopic: string | undefined): ChunkWriter => {
  const { store, state, holds, retryThroughOutage, metrics, logger } = deps
  const stopping = new AbortController()
  const repairs = new Set<Promise<unknown>>()

  const moveBack = (partition: number, from: string): void => {
    const repair = retryThroughOutage('Redis', stopping.signal, async () => {
      if (!(await store.lowerPosition(partition, from))) return
      metrics.stateRepairs.inc()
      logger.warn(
        { event: 'state-repaired', partition, offset: from },
        'published documents of a partition that another projector has; the records are applied again from here',
      )
    })
    repairs.add(repair)
    void repair.finally(() => repairs.delete(repair))
  }

  const publish = async (
    batch: Pick<FetchedBatch, 'partition' | 'signal'>,
    customers: readonly NewestCustomer[],
    topic: string,
    producer: Pick<VerifiedProducer, 'send'>,
    from: string,
  ): Promise<boolean> => {
    const { partition } = batch
    const open = customers.filter(({ record }) => !holds.isSent('state', partition, record.offset))
    if (open.length === 0) return true
    const isStored = await holds.sendOrHold(batch, {
      what: 'state',
      offsets: open.map(({ record }) => record.offset),
      send: () => producer.send(open.map((customer) => stateRecord(customer, topic))),
      // The partition may be lost by now, or be lost before the chunk is written again.
      onLate: () => moveBack(partition, from),
    })
    if (isStored) metrics.stateRecords.inc(open.length)
    return isStored
  }

  return {
    write: async (batch, newest, from, to, options) => {
      const { partition, signal } = batch
      if (state === undefined || stateTopic === undefined || newest.length === 0) {
        const done = await retryThroughOutage('Redis', signal, () =>
          store.applyChunk(newest, partition, from, to, options),
        )
        return done?.value
      }
      let mayBePublished = holds.hasSent('state', partition)
      const attempt = async (): Promise<AppliedChunk | undefined> => {
        const { isInPlace, stored, token } = await store.writeChunk(newest, partition, from, to, options)
        if (!isInPlace) return { moved: false, stored: [] }
        const current = newest.filter((_, i) => stored[i] !== 'stale')
        if (!(await publish(batch, current, stateTopic, state, from))) return undefined
        mayBePublished = true
        return { moved: await store.moveAfter(partition, from, to, token, options), stored }
      }
      const done = await retryThroughOutage('Redis', signal, attempt)
      if (mayBePublished && !done?.value?.moved) moveBack(partition, from)
      return done?.value
    },
    stop: async () => {
      await answerOf(() => Promise.all(repairs), MAX_STOP_MS).catch(() => undefined)
      stopping.abort()
    },
  }
}
