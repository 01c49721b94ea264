/**
 * The number of a dealer's events in each hour. A HyperLogLog holds the ids of the events of an
 * hour, so an event that is delivered or read again counts once. The number may be wrong by about 1
 * %. Redis keeps the number after the ids have expired.
 */
import {
  activeSlots,
  HOUR_MS,
  HOURS_PER_WEEK,
  hoursUntil,
  type WeekBits,
  weeksOfRhythm,
  weeksUntil,
} from './dealer-activity.ts'

/**
 * An event is counted only within this time after its receipt. The ids of older events have
 * expired, so an older event could count twice.
 */
export const COUNTED_MS = 25 * HOUR_MS
/** Time to live of the ids of an hour after their last change. */
export const EVENT_IDS_TTL_MS = COUNTED_MS + 2 * HOUR_MS

/** Returns the hour of a time, in hours since 1970. */
export const hourOf = (at: number): number => Math.floor(at / HOUR_MS)

/**
 * Returns the place at which the number of an hour's events is stored: the week, and the index in
 * the string of this week.
 */
export const eventCountPlace = (hour: number): { readonly week: number; readonly index: number } => ({
  week: Math.floor(hour / HOURS_PER_WEEK),
  index: hour % HOURS_PER_WEEK,
})

/** Number of events in each hour of one week, as Redis returns them: big-endian, 32 bits each. */
export type WeekCounts = Uint8Array

export interface DealerEvents {
  /** Events of each hour of the last day, oldest first, 24 values. Null: not known. */
  readonly eventsByHour: readonly (number | null)[]
  /** Average of the same hours in up to five earlier weeks. Null: not known. */
  readonly usualEventsByHour: readonly (number | null)[]
}

/** Returns the weeks whose {@link WeekCounts} are needed by {@link countEvents}. */
export const countedWeeks = (weeks: ReadonlyMap<number, WeekBits>, last: number, now: number): readonly number[] => [
  ...new Set([...weeksUntil(now).slice(0, 2), ...weeksOfRhythm(weeks, last)]),
]

/**
 * Returns the events of a dealer by hour.
 * @param weeks the bits of each week, as for `judgeActivity`.
 * @param counts the counts of {@link countedWeeks}, by the number of the week.
 * @param last time of receipt of the last event, Unix milliseconds.
 */
export const countEvents = (
  weeks: ReadonlyMap<number, WeekBits>,
  counts: ReadonlyMap<number, WeekCounts>,
  last: number,
  now: number,
): DealerEvents => {
  const eventsIn = (hour: number): number | null => {
    const { week, index } = eventCountPlace(hour)
    const numbers = counts.get(week)
    const isStored = numbers !== undefined && numbers.byteLength >= 4 * (index + 1)
    const events = isStored ? new DataView(numbers.buffer, numbers.byteOffset).getUint32(4 * index) : 0
    // If an hour has active slots but no number, its events were applied too late, or by a
    // projector that did not count events.
    return events === 0 && activeSlots(weeks, hour * HOUR_MS) > 0 ? null : events
  }
  // If a week has active slots but no number at all, no projector counted its events. Leave out the
  // whole week, because its hours without a number would make the average too low.
  const isCounted = (week: number) =>
    (counts.get(week)?.byteLength ?? 0) > 0 || !weeks.get(week)?.some((byte) => byte !== 0)
  const rhythm = weeksOfRhythm(weeks, last).filter(isCounted)
  const usual = (hour: number): number | null => {
    const { index } = eventCountPlace(hour)
    const known = rhythm.map((week) => eventsIn(week * HOURS_PER_WEEK + index)).filter((events) => events !== null)
    return known.length === 0 ? null : known.reduce((a, b) => a + b, 0) / known.length
  }
  const hours = hoursUntil(now).map(hourOf)
  return { eventsByHour: hours.map(eventsIn), usualEventsByHour: hours.map(usual) }
}
