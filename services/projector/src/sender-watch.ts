/**
 * Watches the sender: finds differences from its documentation, finds silent dealers, and counts
 * the events of each dealer. A failure here is only logged, and never delays or changes an event.
 */
import { createThrottledLog, type Logger } from '@customer-stream/runtime'
import type { RedisClient } from '@customer-stream/runtime/redis'
import type { RawRecord } from '@customer-stream/schemas'
import { createDealerEvents, type IdentifiedEvent } from './dealer-events.ts'
import { createDealers } from './dealers.ts'
import { createDrift } from './drift.ts'
import type { ProjectorMetrics } from './metrics.ts'

export interface SenderWatch {
  /** Looks at a batch before it is applied. */
  sample(records: readonly RawRecord[]): void
  /** Looks at the events of a chunk that is being applied. */
  note(events: readonly IdentifiedEvent[]): void
  /** Stores the observations since the last call. */
  save(): Promise<void>
  /** Counts the silent dealers. */
  countSilent(): Promise<void>
}

const WARN_INTERVAL_MS = 600_000

export const createSenderWatch = (
  deps: {
    readonly redis: RedisClient
    readonly metrics: Pick<ProjectorMetrics, 'driftDifferences' | 'silentDealers'>
    readonly logger: Pick<Logger, 'warn'>
  },
  options: { readonly keyPrefix: string },
): SenderWatch => {
  const drift = createDrift(deps, options)
  const dealers = createDealers(deps, options)
  const dealerEvents = createDealerEvents(deps, options)
  const warn = createThrottledLog<{ err: unknown }>(
    (fields) =>
      deps.logger.warn(
        { event: 'sender-watch-failed', ...fields },
        'a check of the sender failed: differences from its documentation, silent dealers or counts of events; ' +
          'events are still applied',
      ),
    WARN_INTERVAL_MS,
  )
  const attempt = (work: () => void) => {
    try {
      work()
    } catch (error) {
      warn({ err: error })
    }
  }
  const logFailure = (error: unknown) => warn({ err: error })
  return {
    sample: (records) => attempt(() => drift.sample(records)),
    note: (events) =>
      attempt(() => {
        dealers.note(events)
        dealerEvents.note(events)
      }),
    save: async () => {
      await drift.save().catch(logFailure)
      await dealers.save().catch(logFailure)
      await dealerEvents.save().catch(logFailure)
    },
    countSilent: async () => {
      const count = await dealers.countSilent().catch(logFailure)
      if (count !== undefined) deps.metrics.silentDealers.set(count)
    },
  }
}
