/**
 * Compares a sample of the events with the vendor's documentation, and stores the differences in
 * Redis.
 */
import type { Logger } from '@customer-stream/runtime'
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  contentTypeOf,
  type Drift,
  differencesOf,
  driftField,
  driftKey,
  parseEvent,
  type RawRecord,
} from '@customer-stream/schemas'
import type { ProjectorMetrics } from './metrics.ts'
import { script } from './position-hash.ts'

/**
 * After a comparison of duration t, a pause of 499 t follows. So comparisons take 0.2 % of the
 * time.
 */
const PAUSE = 499
/** Maximum number of differences in memory and in Redis. */
const MAX_DIFFERENCES = 1000

export interface DriftDependencies {
  readonly redis: RedisClient
  readonly metrics: Pick<ProjectorMetrics, 'driftDifferences'>
  readonly logger: Pick<Logger, 'warn'>
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number
}

export interface DriftFinder {
  /** Compares at most one of the records. */
  sample(records: readonly RawRecord[]): void
  /**
   * Stores the differences that were found since the last call. Rejects in an outage. The next call
   * then stores these differences.
   */
  save(): Promise<void>
}

type Scripts = RedisClient & { mergeDrift(key: string, ...args: (string | number)[]): Promise<number[]> }

const differencesIn = (record: RawRecord) => {
  const parsed = parseEvent(record.value ?? new Uint8Array(), { contentType: contentTypeOf(record) })
  return parsed.ok && parsed.value.kind === 'customers' ? differencesOf(parsed.value) : []
}

export const createDrift = (
  { redis, metrics, logger, now = () => performance.now() }: DriftDependencies,
  { keyPrefix }: { readonly keyPrefix: string },
): DriftFinder => {
  redis.defineCommand('mergeDrift', { lua: script('merge-drift'), numberOfKeys: 1 })
  const scripts = redis as Scripts
  let nextAt = 0
  /** Differences that are not in Redis yet, by field. */
  let found = new Map<string, Drift>()

  const add = (drift: Drift) => {
    const field = driftField(drift)
    const known = found.get(field)
    if (!known && found.size >= MAX_DIFFERENCES) return
    const { first, last, events } = known ?? { ...drift, events: 0 }
    found.set(field, {
      ...drift,
      first: Math.min(first, drift.first),
      last: Math.max(last, drift.last),
      events: events + drift.events,
    })
  }

  return {
    sample: (records) => {
      const startedAt = now()
      const record = records.at(-1)
      if (record === undefined || startedAt < nextAt) return
      try {
        const at = Number(record.timestamp)
        const differences = new Map(differencesIn(record).map((each) => [driftField(each), each]))
        for (const difference of differences.values()) add({ ...difference, first: at, last: at, events: 1 })
      } finally {
        const endedAt = now()
        nextAt = endedAt + PAUSE * (endedAt - startedAt)
      }
    },
    save: async () => {
      const differences = [...found.values()]
      found = new Map()
      const args = differences.flatMap((each) => [driftField(each), each.first, each.last, each.events])
      try {
        const [stored = 0, ...isNew] = await scripts.mergeDrift(driftKey(keyPrefix), MAX_DIFFERENCES, ...args)
        metrics.driftDifferences.set(stored)
        for (const [i, { kind, path, type }] of differences.entries())
          if (isNew[i] === 1)
            logger.warn({ event: 'drift', kind, path, type }, 'the sender’s events differ from the documentation')
      } catch (error) {
        for (const each of differences) add(each)
        throw error
      }
    },
  }
}
