/** Counts the events of each dealer by hour, and stores the counts in Redis. */
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
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
/** Maximum number of lists of ids in one call. One list takes about 10 µs. */
const LISTS_PER_CALL = 250
/**
 * Maximum number of calls at the same time. Calls one after another would need twice the CPU time.
 */
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
  countEvents(keyCount: number, ...keysAndArguments: readonly (string | number)[]): Promise<readonly string[]>
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

/** Hashes of ids of a dealer's events in one hour. */
interface Ids {
  readonly dealerUuid: string
  readonly hour: number
  readonly ids: readonly number[]
}

/** Splits lists of ids, in order, into calls. A long list is split into parts for several calls. */
const callsOf = (lists: Iterable<Ids>, listsPerCall: number): Ids[][] => {
  const calls: Ids[][] = []
  let left = 0
  for (const { dealerUuid, hour, ids } of lists) {
    for (let from = 0; from < ids.length; ) {
      if (left === 0 || calls.at(-1)?.length === listsPerCall) {
        calls.push([])
        left = IDS_PER_CALL
      }
      const part = ids.slice(from, from + left)
      calls.at(-1)?.push({ dealerUuid, hour, ids: part })
      from += part.length
      left -= part.length
    }
  }
  return calls
}

export const createDealerEvents = (
  { redis, now = Date.now }: { readonly redis: RedisClient; readonly now?: () => number },
  /** `maxNoted`: maximum number of events between two saves. Further events are not counted. */
  { keyPrefix, maxNoted = 500_000 }: { readonly keyPrefix: string; readonly maxNoted?: number },
): DealerEvents => {
  redis.defineCommand('countEvents', { lua: script('count-events') })
  const scripts = redis as Scripts
  // On Redis Cluster the keys of two dealers are in different slots.
  const listsPerCall = isCluster(redis) ? 1 : LISTS_PER_CALL
  /**
   * Ids by dealer and hour. A list may have an id twice, because Redis counts a repeated id only
   * once.
   */
  let noted = new Map<string, Map<number, number[]>>()
  /** Number of ids that are noted or being stored. */
  let size = 0

  const idsOf = (dealerUuid: string, hour: number): number[] => {
    const known = noted.get(dealerUuid)?.get(hour)
    if (known) return known
    const ids: number[] = []
    noted.set(dealerUuid, (noted.get(dealerUuid) ?? new Map<number, number[]>()).set(hour, ids))
    return ids
  }

  const noteAgain = ({ dealerUuid, hour, ids }: Ids): void => {
    idsOf(dealerUuid, hour).push(...ids)
  }

  /** Removes all noted ids. @returns the ids of the hours whose events Redis still counts. */
  const takeNoted = (): Ids[] => {
    const oldest = hourOf(now() - COUNTED_MS)
    const lists: Ids[] = []
    for (const [dealerUuid, hours] of noted)
      for (const [hour, ids] of hours) {
        if (hour < oldest) size -= ids.length
        else lists.push({ dealerUuid, hour, ids })
      }
    noted = new Map()
    return lists
  }

  const store = async (lists: readonly Ids[]): Promise<void> => {
    const keys: string[] = []
    const args: number[] = [EVENT_IDS_TTL_MS, ACTIVITY_TTL_MS]
    for (const { dealerUuid, hour, ids } of lists) {
      const { week, index } = eventCountPlace(hour)
      keys.push(eventIdsKey(dealerUuid, hour, keyPrefix), eventCountsKey(dealerUuid, week, keyPrefix))
      args.push(index, ids.length, ...ids)
    }
    let refusals: readonly string[] = []
    try {
      refusals = await scripts.countEvents(keys.length, ...keys, ...args)
    } finally {
      for (const [i, list] of lists.entries()) {
        if (refusals[i] === '') size -= list.ids.length
        else noteAgain(list)
      }
    }
    const refusal = refusals.find((each) => each !== '')
    if (refusal !== undefined) throw new Error(refusal)
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
      const calls = callsOf(takeNoted(), listsPerCall)
      try {
        while (calls.length > 0) await all(calls.splice(0, CALLS_AT_ONCE).map(store))
      } finally {
        for (const list of calls.flat()) noteAgain(list)
      }
    },
  }
}
