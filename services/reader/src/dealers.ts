/** Lists dealers with their activity, which the projectors store in Redis. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  activityKey,
  countEvents,
  countedWeeks,
  type DealerActivity,
  type DealerEvents,
  dealersKey,
  eventCountsKey,
  type IndexTerm,
  indexKey,
  judgeActivity,
  type WeekBits,
  weeksUntil,
} from '@customer-stream/schemas'
import type { Positions } from './positions.ts'

export interface Dealer extends DealerActivity, DealerEvents {
  readonly dealerUuid: string
  /** Time of receipt of the last event, Unix milliseconds. */
  readonly lastEventAt: number
  /** Undefined if Redis has no index of dealers. */
  readonly customers: number | undefined
}

export interface DealersOptions {
  readonly maySee: (dealerUuid: string) => boolean
  /** The last dealer of the previous page. Undefined for the first page. */
  readonly after: string | undefined
  readonly limit: number
}

export type DealersPage =
  /** Dealers in the order of their ids. `next` is undefined on the last page. */
  | { readonly kind: 'page'; readonly dealers: readonly Dealer[]; readonly next: string | undefined }
  /** Redis was emptied, so dealers may be missing. */
  | { readonly kind: 'filling' }

export type ListDealers = (options: DealersOptions) => Promise<DealersPage>

/** Number of dealers that are checked before other work may run. One dealer takes about 0.1 ms. */
const DEALERS_PER_TURN = 20

export const createListDealers = (
  { redis, positions, now = Date.now }: { redis: RedisClient; positions: Positions; now?: () => number },
  keyPrefix: string,
): ListDealers => {
  const readKnown = async (): Promise<{ readonly dealerUuid: string; readonly lastEventAt: number }[]> => {
    const reply = await redis.zrange(dealersKey(keyPrefix), '0', '-1', 'WITHSCORES')
    return reply.flatMap((dealerUuid, i) => (i % 2 === 0 ? [{ dealerUuid, lastEventAt: Number(reply[i + 1]) }] : []))
  }

  const readDealer = async (dealerUuid: string, lastEventAt: number, hasIndex: boolean): Promise<Dealer> => {
    const at = now()
    const term: IndexTerm = `dealer:${dealerUuid}`
    const numbers = weeksUntil(at)
    const [customers, ...bits] = await Promise.all([
      hasIndex ? redis.zcard(indexKey(term, keyPrefix)) : undefined,
      ...numbers.map((week) => redis.getBuffer(activityKey(dealerUuid, week, keyPrefix))),
    ])
    const weeks = new Map<number, WeekBits>(numbers.map((week, i) => [week, bits[i] ?? new Uint8Array()]))
    const counted = countedWeeks(weeks, lastEventAt, at)
    const found = await Promise.all(counted.map((week) => redis.getBuffer(eventCountsKey(dealerUuid, week, keyPrefix))))
    const counts = new Map(counted.map((week, i) => [week, found[i] ?? new Uint8Array()]))
    const events = countEvents(weeks, counts, lastEventAt, at)
    return { dealerUuid, lastEventAt, customers, ...judgeActivity(weeks, lastEventAt, at), ...events }
  }

  return async ({ maySee, after, limit }) => {
    const { indexes, isFilled } = await positions.read()
    // Check before the other reads, because the fill may end during these reads.
    if (!isFilled) return { kind: 'filling' }
    const known = (await readKnown())
      .filter(({ dealerUuid }) => maySee(dealerUuid) && (after === undefined || dealerUuid > after))
      .sort((a, b) => (a.dealerUuid < b.dealerUuid ? -1 : 1))
    const hasIndex = indexes?.indexes.includes('dealer') ?? false
    const dealers: Dealer[] = []
    for (let from = 0; from < Math.min(limit, known.length); from += DEALERS_PER_TURN) {
      const turn = known.slice(from, Math.min(limit, from + DEALERS_PER_TURN))
      dealers.push(...(await Promise.all(turn.map((each) => readDealer(each.dealerUuid, each.lastEventAt, hasIndex)))))
      await nextTurn()
    }
    // Read the positions again, because Redis may have been emptied during the other reads.
    if (!(await positions.read()).isFilled) return { kind: 'filling' }
    return { kind: 'page', dealers, next: known.length > limit ? dealers.at(-1)?.dealerUuid : undefined }
  }
}
