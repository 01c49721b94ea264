import { expect, it } from 'vitest'
import { judgeActivity, SLOT_MS, slotOf, startOfSlot, WEEKS, type WeekBits } from './dealer-activity.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const WEEK_MS = 7 * DAY_MS
/** A Thursday, 00:00 UTC, at which a week begins. */
const START = 2960 * WEEK_MS

/** Returns the bits of all slots from `from` to `to` in which `isActive` is true. */
const weeksOf = (from: number, to: number, isActive: (time: number) => boolean): Map<number, WeekBits> => {
  const weeks = new Map<number, Uint8Array>()
  for (let time = from; time < to; time += SLOT_MS) {
    if (!isActive(time)) continue
    const { week, bit } = slotOf(time)
    const bits = weeks.get(week) ?? new Uint8Array(252)
    weeks.set(week, bits)
    bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (7 - (bit & 7)))
  }
  return weeks
}
/**
 * Simulates a dealer that is open from 08:00 to 18:00 UTC on five days a week, and sends an event
 * in every second slot.
 */
const isOpen = (time: number) =>
  time % WEEK_MS < 5 * DAY_MS && time % DAY_MS >= 8 * HOUR_MS && time % DAY_MS < 18 * HOUR_MS
const isBusy = (time: number) => isOpen(time) && (time / SLOT_MS) % 2 === 0
/** Returns the state of a dealer that has sent events from START to `last`. */
const judge = (last: number, now: number, isActive = isBusy) => {
  const oldest = slotOf(now).week - WEEKS
  const weeks = [...weeksOf(START, last + 1, isActive)].filter(([week]) => week > oldest)
  return judgeActivity(new Map(weeks), last, now)
}

const at = (weeks: number, days: number, hours: number) => START + weeks * WEEK_MS + days * DAY_MS + hours * HOUR_MS

it.each([
  ['ten minutes in an open hour', at(5, 1, 12), at(5, 1, 12) + 2 * SLOT_MS, 'active'],
  ['three hours of an open day', at(5, 1, 12), at(5, 1, 15), 'silent'],
  ['a night', at(5, 1, 17.5), at(5, 2, 8), 'active'],
  ['the closed days', at(5, 4, 17.5), at(6, 0, 8), 'active'],
  ['the closed days and the next morning', at(5, 4, 17.5), at(6, 0, 12), 'silent'],
  ['three hours, with a rhythm of one whole week', at(2, 1, 12), at(2, 1, 15), 'new'],
  ['almost four weeks', at(5, 1, 12), at(9, 1, 11), 'silent'],
  ['almost four weeks after many weeks', at(30, 1, 12), at(34, 1, 11), 'silent'],
  ['months', at(5, 1, 12), at(30, 1, 12), 'gone'],
])('the state of a dealer is correct after a pause of %s', (_, last, now, state) => {
  expect(judge(last, now).state).toBe(state)
})

it('a dealer with few events is silent only after a long pause', () => {
  const isRare = (time: number) => time % DAY_MS === 12 * HOUR_MS && isOpen(time)
  expect(judge(at(5, 1, 12), at(5, 3, 12), isRare).state).toBe('active')
})

it('a dealer does not become silent if its opening hours change by one hour', () => {
  // Summer time has ended in week 5, so the dealer opens an hour later in UTC.
  const moved = (time: number) => isBusy(time < at(5, 0, 0) ? time : time - HOUR_MS)
  expect(judge(at(5, 1, 18.5), at(5, 2, 8.9), moved).state).toBe('active')
})

it('judgeActivity returns the active slots and their usual number for each hour of the last day', () => {
  const { lastDay, usualDay } = judge(at(5, 1, 12) + 2 * SLOT_MS, at(5, 1, 12) + 3 * SLOT_MS)
  expect(lastDay.length).toBe(24)
  expect(lastDay.slice(-5)).toEqual([6, 6, 6, 6, 2])
  expect(usualDay.slice(-5)).toEqual([6, 6, 6, 6, 6])
  expect(usualDay.slice(0, 5)).toEqual([6, 6, 6, 6, 6])
  expect(usualDay.slice(5, 19)).toEqual(Array(14).fill(0))
})

it('slotOf returns the last slot that has begun at the given time', () => {
  const time = at(3, 2, 1) + SLOT_MS + 7
  expect(startOfSlot(slotOf(time))).toBe(at(3, 2, 1) + SLOT_MS)
})

it('a dealer without activity is new', () => {
  expect(judgeActivity(new Map(), at(5, 1, 12), at(5, 2, 12)).state).toBe('new')
})
