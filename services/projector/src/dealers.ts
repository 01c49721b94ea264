/**
 * Stores in Redis when events of each dealer arrived, and finds dealers that are silent although
 * they usually send events.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Logger } from '@customer-stream/runtime'
import { isCluster, type RedisClient } from '@customer-stream/runtime/redis'
import {
  ACTIVITY_TTL_MS,
  activityKey,
  type CustomerHash,
  type DealerActivity,
  dealersKey,
  judgeActivity,
  slotOf,
  startOfSlot,
  type WeekBits,
  weeksUntil,
} from '@customer-stream/schemas'
import { all } from './position-hash.ts'

/** Maximum length of a dealer's id. Longer ids are not stored. */
const MAX_ID_LENGTH = 200
/** Number of dealers that are checked before other work may run. One dealer takes about 0.1 ms. */
const DEALERS_PER_TURN = 20
/** Number of dealers that are stored at a time. */
const DEALERS_PER_CALL = 20

/** An event that was received: the hash of its customer, and the record. */
export interface ReceivedEvent extends Pick<CustomerHash, 'fieldsAndValues'> {
  readonly record: { readonly timestamp: string }
}

export interface Dealers {
  /** Remembers the arrival of these events. */
  note(events: readonly ReceivedEvent[]): void
  /**
   * Stores the arrivals since the last call. Rejects in an outage. The next call then stores them.
   */
  save(): Promise<void>
  /** Returns the number of silent dealers, and logs each dealer that has become silent. */
  countSilent(): Promise<number>
}

/** Arrivals of one dealer: the last time, and the bits of each week. */
interface Arrivals {
  last: number
  readonly weeks: Map<number, Set<number>>
}

/**
 * Returns the id of the event's dealer. Undefined if the event has no dealer, or if the id is too
 * long.
 */
export const dealerOf = ({ fieldsAndValues: [field, value] }: ReceivedEvent): string | undefined =>
  field === 'dealerUuid' && value !== undefined && value !== '' && value.length <= MAX_ID_LENGTH ? value : undefined

/** Adds an arrival. Ignores a new dealer if `maxDealers` dealers are already noted. */
const addArrival = (noted: Map<string, Arrivals>, maxDealers: number, dealerUuid: string, at: number): void => {
  let arrivals = noted.get(dealerUuid)
  if (arrivals === undefined) {
    if (noted.size >= maxDealers) return
    arrivals = { last: at, weeks: new Map() }
    noted.set(dealerUuid, arrivals)
  }
  arrivals.last = Math.max(arrivals.last, at)
  const { week, bit } = slotOf(at)
  const bits = arrivals.weeks.get(week)
  if (bits) bits.add(bit)
  else arrivals.weeks.set(week, new Set([bit]))
}

const storeArrivals = async (
  redis: RedisClient,
  keyPrefix: string,
  arrivals: readonly (readonly [dealerUuid: string, Arrivals])[],
) => {
  const slots = arrivals.flatMap(([dealerUuid, { weeks }]) =>
    [...weeks].flatMap(([week, bits]) => {
      const key = activityKey(dealerUuid, week, keyPrefix)
      const sets = [...bits].flatMap((bit) => ['SET', 'u1', bit, 1])
      return [
        ['bitfield', key, ...sets],
        ['pexpire', key, ACTIVITY_TTL_MS],
      ]
    }),
  )
  const lasts = arrivals.flatMap(([dealerUuid, { last }]) => [last, dealerUuid])
  const commands = [['zadd', dealersKey(keyPrefix), 'GT', ...lasts], ...slots]
  if (isCluster(redis)) {
    await all(commands.map(([name, ...args]) => redis.call(String(name), ...args)))
    return
  }
  // One write to the socket for all commands. On Redis Cluster their keys are in different slots.
  const replies = (await redis.pipeline(commands).exec()) ?? []
  for (const [error] of replies) if (error) throw error
}

const activityOf = async (
  redis: RedisClient,
  keyPrefix: string,
  { dealerUuid, last, now }: { readonly dealerUuid: string; readonly last: number; readonly now: number },
): Promise<DealerActivity> => {
  const numbers = weeksUntil(now)
  const bits = await all(numbers.map((week) => redis.getBuffer(activityKey(dealerUuid, week, keyPrefix))))
  const weeks = new Map<number, WeekBits>(numbers.map((week, i) => [week, bits[i] ?? new Uint8Array()]))
  return judgeActivity(weeks, last, now)
}

export const createDealers = (
  {
    redis,
    logger,
    now = Date.now,
  }: { readonly redis: RedisClient; readonly logger: Pick<Logger, 'warn'>; readonly now?: () => number },
  /** `maxDealers`: maximum number of dealers between two saves. Further dealers are ignored. */
  { keyPrefix, maxDealers = 10_000 }: { readonly keyPrefix: string; readonly maxDealers?: number },
): Dealers => {
  let noted = new Map<string, Arrivals>()
  let silent = new Set<string>()
  const add = (dealerUuid: string, at: number) => addArrival(noted, maxDealers, dealerUuid, at)

  return {
    note: (events) => {
      for (const event of events) {
        const dealerUuid = dealerOf(event)
        const at = Number(event.record.timestamp)
        if (dealerUuid !== undefined && now() - at < ACTIVITY_TTL_MS) add(dealerUuid, at)
      }
    },
    save: async () => {
      if (noted.size === 0) return
      const arrivals = noted
      noted = new Map()
      try {
        // Store some dealers at a time, because each may have thousands of bits after a rebuild.
        const dealers = [...arrivals]
        for (let i = 0; i < dealers.length; i += DEALERS_PER_CALL) {
          const some = dealers.slice(i, i + DEALERS_PER_CALL)
          await storeArrivals(redis, keyPrefix, some)
          for (const [dealerUuid] of some) arrivals.delete(dealerUuid)
        }
      } catch (error) {
        for (const [dealerUuid, { last, weeks }] of arrivals) {
          add(dealerUuid, last)
          for (const [week, bits] of weeks) for (const bit of bits) add(dealerUuid, startOfSlot({ week, bit }))
        }
        throw error
      }
    },
    countSilent: async () => {
      const entries = await redis.zrange(dealersKey(keyPrefix), '0', '-1', 'WITHSCORES')
      const found = new Set<string>()
      for (let i = 0; i < entries.length; i += 2) {
        const [dealerUuid = '', last] = entries.slice(i, i + 2)
        const { state } = await activityOf(redis, keyPrefix, { dealerUuid, last: Number(last), now: now() })
        if (state === 'silent') found.add(dealerUuid)
        if (state === 'silent' && !silent.has(dealerUuid))
          logger.warn(
            { event: 'dealer-silent', dealerUuid, last: new Date(Number(last)).toISOString() },
            'a dealer sends no events although it usually does at these hours; check its webhook at the vendor',
          )
        if (i % (2 * DEALERS_PER_TURN) === 0) await nextTurn()
      }
      silent = found
      return found.size
    },
  }
}
