/**
 * The activity of a dealer: the slots of five minutes in which its events arrived. A slot is one
 * bit, so an event that is applied twice changes nothing. The bits of some weeks are the dealer's
 * rhythm. The rhythm shows whether a pause of the dealer is unusual.
 */
import { DEFAULT_KEY_PREFIX } from './keys.ts'

const MINUTE_MS = 60_000
export const SLOT_MS = 5 * MINUTE_MS
export const HOUR_MS = 60 * MINUTE_MS
const WEEK_MS = 7 * 24 * HOUR_MS
const SLOTS_PER_HOUR = HOUR_MS / SLOT_MS
export const HOURS_PER_WEEK = WEEK_MS / HOUR_MS

/** Number of weeks of a dealer's rhythm, all before the week of the dealer's last event. */
const RHYTHM_WEEKS = 5
/**
 * Number of weeks whose bits are needed, including the current week. These weeks cover the rhythm,
 * and the pause until a dealer counts as gone. One more week is needed, because the first week of a
 * dealer is not whole.
 */
export const WEEKS = 10

/** A dealer is silent if the probability of its pause is at most this number. */
const IMPROBABLE = 1e-4
/** Minimum weeks of a rhythm. A shorter rhythm cannot show whether a pause is unusual. */
const MIN_WEEKS = 2
/** Time without an event after which a dealer counts as gone. */
const GONE_MS = 4 * WEEK_MS

/** A bit of a dealer's activity. */
export interface ActivitySlot {
  /** Weeks since 1970-01-01T00:00Z, rounded down. */
  readonly week: number
  /** Number of the bit in the string of the week, 0 to 2015. */
  readonly bit: number
}

/** Returns the slot that contains a time. `at`: Unix milliseconds. */
export const slotOf = (at: number): ActivitySlot => ({
  week: Math.floor(at / WEEK_MS),
  bit: Math.floor((at % WEEK_MS) / SLOT_MS),
})

/** Returns the time at which a slot begins, Unix milliseconds. */
export const startOfSlot = ({ week, bit }: ActivitySlot): number => week * WEEK_MS + bit * SLOT_MS

/**
 * Returns the key of a Redis string with the bits of one week. The key expires {@link
 * ACTIVITY_TTL_MS} after its last change.
 */
export const activityKey = (dealerUuid: string, week: number, prefix: string = DEFAULT_KEY_PREFIX): string =>
  `${prefix}dealer:{${dealerUuid}}:${week}`

/** Time to live of an {@link activityKey}, in milliseconds. */
export const ACTIVITY_TTL_MS = (WEEKS + 1) * WEEK_MS

/**
 * Returns the key of the sorted set of all dealers. Score: time of receipt of the last event, Unix
 * milliseconds.
 */
export const dealersKey = (prefix: string = DEFAULT_KEY_PREFIX): string => `${prefix}dealers`

/** The bits of one week, as Redis returns them. Empty if the week has no event. */
export type WeekBits = Uint8Array

const isActive = (bits: WeekBits | undefined, bit: number): boolean =>
  (((bits?.[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) === 1

/**
 * - `active`: the pause since the last event is usual.
 * - `silent`: a pause of this length is improbable in the dealer's rhythm.
 * - `gone`: the dealer has sent no event for four weeks.
 * - `new`: the rhythm is shorter than two whole weeks. It cannot show whether a pause is unusual.
 */
export type DealerState = 'active' | 'silent' | 'gone' | 'new'

export interface DealerActivity {
  readonly state: DealerState
  /** Active slots of each hour of the last day, oldest first, 24 numbers from 0 to 12. */
  readonly lastDay: readonly number[]
  /** Usual number of active slots in each of these hours, 24 numbers from 0 to 12. */
  readonly usualDay: readonly number[]
}

/** Returns the numbers of the weeks whose bits {@link judgeActivity} needs, the newest first. */
export const weeksUntil = (now: number): readonly number[] =>
  Array.from({ length: WEEKS }, (_, i) => slotOf(now).week - i)

/** Returns the number of active slots of the hour that begins at this time. */
export const activeSlots = (weeks: ReadonlyMap<number, WeekBits>, hourStart: number): number => {
  let count = 0
  for (let slot = 0; slot < SLOTS_PER_HOUR; slot++) {
    const { week, bit } = slotOf(hourStart + slot * SLOT_MS)
    if (isActive(weeks.get(week), bit)) count += 1
  }
  return count
}

/**
 * Returns the whole weeks of a dealer's rhythm: after the week of its first event, before the week
 * of its last event.
 */
export const weeksOfRhythm = (weeks: ReadonlyMap<number, WeekBits>, last: number): readonly number[] => {
  const pauseWeek = Math.floor(last / WEEK_MS)
  const first = Math.min(...[...weeks].flatMap(([week, bits]) => (bits.some((byte) => byte !== 0) ? [week] : [])))
  return Array.from({ length: RHYTHM_WEEKS }, (_, i) => pauseWeek - 1 - i).filter((week) => week > first)
}

/** Returns the beginnings of the last 24 hours, oldest first. The last hour is the current hour. */
export const hoursUntil = (now: number): readonly number[] => {
  const thisHour = Math.floor(now / HOUR_MS) * HOUR_MS
  return Array.from({ length: 24 }, (_, i) => thisHour - (23 - i) * HOUR_MS)
}

/**
 * Judges the activity of a dealer.
 * @param weeks the bits of each week, by the number of the week.
 * @param last time of receipt of the last event, Unix milliseconds. `now` has the same unit.
 */
export const judgeActivity = (weeks: ReadonlyMap<number, WeekBits>, last: number, now: number): DealerActivity => {
  const known = weeksOfRhythm(weeks, last)
  /** Share of active slots in each hour of the week. */
  const shares = Array.from({ length: HOURS_PER_WEEK }, (_, i) => {
    const active = known.reduce((sum, week) => sum + activeSlots(weeks, week * WEEK_MS + i * HOUR_MS), 0)
    return active / Math.max(1, known.length * SLOTS_PER_HOUR)
  })
  /**
   * Returns the lowest share of three hours: this hour, the hour before and the hour after, because
   * summer time moves a rhythm by an hour.
   */
  const shareAt = (at: number) => {
    const hourOfWeek = Math.floor((at % WEEK_MS) / HOUR_MS)
    const around = [hourOfWeek + HOURS_PER_WEEK - 1, hourOfWeek, hourOfWeek + 1].map(
      (each) => shares[each % HOURS_PER_WEEK] ?? 0,
    )
    return Math.min(...around)
  }
  const stateNow = (): DealerState => {
    if (now - last >= GONE_MS) return 'gone'
    if (known.length < MIN_WEEKS) return 'new'
    let probability = 1
    for (let at = last + SLOT_MS; at <= now && probability > IMPROBABLE; at += SLOT_MS) probability *= 1 - shareAt(at)
    return probability <= IMPROBABLE ? 'silent' : 'active'
  }
  const hours = hoursUntil(now)
  return {
    state: stateNow(),
    lastDay: hours.map((hour) => activeSlots(weeks, hour)),
    usualDay: hours.map((hour) => (shares[Math.floor((hour % WEEK_MS) / HOUR_MS)] ?? 0) * SLOTS_PER_HOUR),
  }
}
