import { expect, it } from 'vitest'
import { HOUR_MS, HOURS_PER_WEEK, SLOT_MS, slotOf } from './dealer-activity.ts'
import { countEvents, countedWeeks, eventCountPlace, hourOf } from './dealer-events.ts'

const WEEK_MS = HOURS_PER_WEEK * HOUR_MS
/** Time 10.5 hours after the start of a week, so that the last 24 hours are in two weeks. */
const NOW = 2970 * WEEK_MS + 10.5 * HOUR_MS

/** Makes the stored values of a dealer with an active slot and some events in each hour. */
const setUp = (hours: number, eventsIn: (ago: number) => number) => {
  const bits = new Map<number, Uint8Array>()
  const counts = new Map<number, Uint8Array>()
  const bytesOf = (map: Map<number, Uint8Array>, week: number, size: number) => {
    if (!map.has(week)) map.set(week, new Uint8Array(size))
    return map.get(week)!
  }
  for (let ago = 0; ago < hours; ago++) {
    const at = NOW - ago * HOUR_MS
    const { week, bit } = slotOf(at - (at % SLOT_MS))
    bytesOf(bits, week, 252)[bit >> 3]! |= 1 << (7 - (bit & 7))
    const place = eventCountPlace(hourOf(at))
    new DataView(bytesOf(counts, place.week, 672).buffer).setUint32(4 * place.index, eventsIn(ago))
  }
  return { bits, counts }
}

it('the events of the last day are counted by hour, and the current hour is the last', () => {
  const { bits, counts } = setUp(30, (ago) => 100_000 + ago)
  const { eventsByHour, usualEventsByHour } = countEvents(bits, counts, NOW, NOW)
  expect(eventsByHour).toEqual(Array.from({ length: 24 }, (_, i) => 100_000 + 23 - i))
  expect(usualEventsByHour).toEqual(Array(24).fill(null))
})

it('the usual number of events in an hour is the average of the same hour in the previous weeks', () => {
  // The three whole weeks have 10, 20 and 30 events an hour.
  const { bits, counts } = setUp(3.5 * HOURS_PER_WEEK, (ago) => 10 * Math.floor((ago + 157) / HOURS_PER_WEEK))
  const { usualEventsByHour } = countEvents(bits, counts, NOW, NOW)
  expect(usualEventsByHour).toEqual(Array(24).fill(20))
  expect(countedWeeks(bits, NOW, NOW)).toEqual([2970, 2969, 2968, 2967])
})

it('the number of events in an hour is null if only active slots are stored, and 0 if nothing is stored', () => {
  const { bits, counts } = setUp(3, (ago) => (ago === 1 ? 0 : 5))
  const { eventsByHour } = countEvents(bits, counts, NOW, NOW)
  expect(eventsByHour.slice(-5)).toEqual([0, 0, 5, null, 5])
  expect(countEvents(bits, new Map(), NOW, NOW).eventsByHour.slice(-5)).toEqual([0, 0, null, null, null])
})

it('the usual number of events in an hour leaves out a week in which no projector counted events', () => {
  const { bits, counts } = setUp(3.5 * HOURS_PER_WEEK, () => 10)
  // In the week before last, no projector counted, and the dealer sent events in one hour only.
  counts.delete(2968)
  bits.set(2968, Uint8Array.of(1))
  expect(countEvents(bits, counts, NOW, NOW).usualEventsByHour).toEqual(Array(24).fill(10))
})

it('the stored numbers of a week may end after the last hour with events', () => {
  const { bits, counts } = setUp(1, () => 7)
  const { week, index } = eventCountPlace(hourOf(NOW))
  const cut = new Map([[week, Buffer.from(counts.get(week)!.subarray(0, 4 * (index + 1)))]])
  expect(countEvents(bits, cut, NOW + HOUR_MS, NOW + HOUR_MS).eventsByHour.slice(-2)).toEqual([7, 0])
})
