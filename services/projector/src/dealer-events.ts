/** Counts the events of each dealer by hour, and stores the counts in Redis. */
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  ACTIVITY_TTL_MS,
  COUNTED_MS,
  EVENT_IDS_TTL_MS,
  eventCountPlace,
  eventCountsKey,
  eventIdsKey,
  hourOf,
} from '@customer-stream/schemas'
import { dealerOf, type ReceivedEvent } from './dealers.ts'
import { all, script } from './position-hash.ts'

/** Maximum number of ids in one call. Redis answers no other client during the call. */
const IDS_PER_CALL = 1000
/** Maximum number of calls at the same time. One call after the other needs twice the CPU time. */
const CALLS_AT_ONCE = 50

export interface IdentifiedEvent extends ReceivedEvent {
  readonly version: { readonly id: string }
}

export interface DealerEvents {
  /** Remembers these events. */
  note(events: readonly IdentifiedEvent[]): void
  /** Stores the noted events. Rejects in an outage. The next call then stores these events, too. */
  save(): Promise<void>
}

type Scripts = RedisClient & {
  countEvents(ids: string, counts: string, ...args: readonly (string | number)[]): Promise<number>
}

/** Maximum length of an id. Only the end of a longer id is used. */
const MAX_ID_LENGTH = 200

/**
 * Returns the hash of an id (FNV-1a). The id itself would keep the whole text of its event in
 * memory. Two ids of one hour rarely have the same hash.
 */
const numberOf = (id: string): number => {
  let number = 0x811c9dc5
  for (let i = Math.max(0, id.length - MAX_ID_LENGTH); i < id.length; i++)
    number = Math.imul(number ^ id.charCodeAt(i), 0x01000193)
  return number
}

export const createDealerEvents = (
  { redis, now = Date.now }: { readonly redis: RedisClient; readonly now?: () => number },
  /** `maxNoted`: maximum number of events between two saves. Further events are not counted. */
  { keyPrefix, maxNoted = 500_000 }: { readonly keyPrefix: string; readonly maxNoted?: number },
): DealerEvents => {
  redis.defineCommand('countEvents', { lua: script('count-events'), numberOfKeys: 2 })
  const scripts = redis as Scripts
  /**
   * Hashes of ids, by dealer and hour. A list may have an id twice, because Redis counts the id
   * once.
   */
  const noted = new Map<string, Map<number, number[]>>()
  let size = 0

  const idsOf = (dealerUuid: string, hour: number): number[] => {
    const known = noted.get(dealerUuid)?.get(hour)
    if (known) return known
    const ids: number[] = []
    noted.set(dealerUuid, (noted.get(dealerUuid) ?? new Map<number, number[]>()).set(hour, ids))
    return ids
  }

  const forget = (dealerUuid: string, hour: number): void => {
    const hours = noted.get(dealerUuid)
    hours?.delete(hour)
    if (hours?.size === 0) noted.delete(dealerUuid)
  }

  const store = async (dealerUuid: string, hour: number, ids: number[]): Promise<void> => {
    const { week, index } = eventCountPlace(hour)
    const keys = [eventIdsKey(dealerUuid, hour, keyPrefix), eventCountsKey(dealerUuid, week, keyPrefix)] as const
    while (ids.length > 0) {
      const part = ids.slice(0, IDS_PER_CALL)
      await scripts.countEvents(...keys, index, EVENT_IDS_TTL_MS, ACTIVITY_TTL_MS, ...part)
      // Ids that arrived during the call are at the end of the list.
      ids.splice(0, part.length)
      size -= part.length
    }
  }

  return {
    note: (events) => {
      const oldest = now() - COUNTED_MS
      for (const event of events) {
        const at = Number(event.record.timestamp)
        const dealerUuid = at > oldest && size < maxNoted ? dealerOf(event) : undefined
        if (dealerUuid === undefined) continue
        idsOf(dealerUuid, hourOf(at)).push(numberOf(event.version.id))
        size += 1
      }
    },
    save: async () => {
      const oldest = hourOf(now() - COUNTED_MS)
      const stores: (() => Promise<void>)[] = []
      for (const [dealerUuid, hours] of noted)
        for (const [hour, ids] of hours) {
          if (hour < oldest) size -= ids.splice(0).length
          if (ids.length > 0) stores.push(() => store(dealerUuid, hour, ids))
          // The dealer may never send another event, so its empty list must be removed.
          else forget(dealerUuid, hour)
        }
      for (let i = 0; i < stores.length; i += CALLS_AT_ONCE)
        await all(stores.slice(i, i + CALLS_AT_ONCE).map((each) => each()))
    },
  }
}
