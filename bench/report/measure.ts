/**
 * Reads CPU time from the operating system, runs variants alternately, and returns median and
 * spread.
 */
import { readFileSync } from 'node:fs'

/** Median and spread of several runs. */
export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
}

const TICKS_PER_SECOND = 100

/**
 * Returns the CPU seconds (user and system) that a process has used. Works only on Linux, because
 * it reads /proc. The steps are 10 ms.
 */
export const cpuSeconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // Skip the second field: the command's name in brackets may contain blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** Returns resident memory in bytes. */
export const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024

export const figureOf = (values: readonly number[]): Figure => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median =
    sorted.length % 2 === 1 ? sorted[middle] : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
  return { median: median ?? Number.NaN, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

/**
 * Returns a percentile of the values.
 * @param share of the values that are at or below the percentile, from 0 to 1.
 */
export const percentile = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN
}

interface Point {
  readonly x: number
  readonly y: number
}

const FLOOR_PARTS = 10

/**
 * Returns the slope of the lower edge of a saw-tooth curve, in y per x. The curve of a heap is a
 * saw-tooth curve: only its minima show the memory that stays after a garbage collection.
 * The function cuts the points into ten equal parts and takes the minimum of each part. The result
 * is the median slope over all pairs of minima (Theil–Sen). A median hardly changes if two parts
 * lack a major garbage collection.
 */
export const slopeOfFloor = (points: readonly Point[]): number => {
  const cut = (part: number) => Math.floor((part * points.length) / FLOOR_PARTS)
  const minima = Array.from({ length: FLOOR_PARTS }, (_, part) =>
    points.slice(cut(part), cut(part + 1)).toSorted((a, b) => a.y - b.y),
  ).flatMap(([least]) => (least ? [least] : []))
  const slopes = minima.flatMap((from, i) => minima.slice(i + 1).map((to) => (to.y - from.y) / (to.x - from.x)))
  return figureOf(slopes).median
}

/** Returns the median and the 99th percentile of latencies in milliseconds. */
export const latencyOf = (times: readonly number[]) => ({
  'p50 ms': percentile(times, 0.5),
  'p99 ms': percentile(times, 0.99),
})

type Readings<Name extends string> = Readonly<Record<Name, number>>

/**
 * Runs all variants several times, alternately, so that other load on the machine affects all
 * variants alike.
 * @param variants functions that do the work once and return their readings.
 * @returns the figure of each reading, by variant.
 */
export const alternate = async <Variant extends string, Name extends string>(
  repetitions: number,
  variants: Readonly<Record<Variant, () => Promise<Readings<Name>>>>,
): Promise<Record<Variant, Record<Name, Figure>>> => {
  const names = Object.keys(variants) as Variant[]
  const read = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Variant, Readings<Name>[]>
  for (let repetition = 0; repetition < repetitions; repetition++) {
    // Reverse the order in every second round, because a drift of the machine would favour one
    // variant.
    for (const name of repetition % 2 === 0 ? names : names.toReversed()) read[name].push(await variants[name]())
  }
  const figures = (readings: readonly Readings<Name>[]) =>
    Object.fromEntries(
      Object.keys(readings[0] ?? {}).map((name) => [name, figureOf(readings.map((reading) => reading[name as Name]))]),
    )
  return Object.fromEntries(names.map((name) => [name, figures(read[name])])) as Record<Variant, Record<Name, Figure>>
}
