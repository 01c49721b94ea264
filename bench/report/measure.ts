/**
 * Measures CPU by the operating system, variants in turn within one run, and the median and spread
 * of repetitions.
 */
import { readFileSync } from 'node:fs'

/** Median and spread of the repetitions. */
export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
}

const TICKS_PER_SECOND = 100

/**
 * Returns the CPU seconds (user and system) that a process has used. Reads /proc: Linux only, steps
 * of 10 ms.
 */
export const cpuSeconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field is the command's name in brackets, which may contain blanks.
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

/** @param share between 0 and 1. */
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
 * Slope of the lower edge of a saw-tooth curve, in y per x. A heap in use is such a curve: it also
 * contains garbage, and only its minima show what stays after a collection.
 *
 * The points are cut into ten equal parts, and the slope goes through the minima of the parts: it
 * is the median of the slopes of all pairs of minima (Theil–Sen). Because of the median, two parts
 * without a major collection hardly change the result.
 */
export const slopeOfFloor = (points: readonly Point[]): number => {
  const cut = (part: number) => Math.floor((part * points.length) / FLOOR_PARTS)
  const minima = Array.from({ length: FLOOR_PARTS }, (_, part) =>
    points.slice(cut(part), cut(part + 1)).toSorted((a, b) => a.y - b.y),
  ).flatMap(([least]) => (least ? [least] : []))
  const slopes = minima.flatMap((from, i) => minima.slice(i + 1).map((to) => (to.y - from.y) / (to.x - from.x)))
  return figureOf(slopes).median
}

/** Median and 99th percentile of latencies in milliseconds. */
export const latencyOf = (times: readonly number[]) => ({
  'p50 ms': percentile(times, 0.5),
  'p99 ms': percentile(times, 0.99),
})

type Readings<Name extends string> = Readonly<Record<Name, number>>

/**
 * Runs the variants in turn several times, so other load on the machine affects all of them alike.
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
    // Every second round runs in reverse order. Otherwise a drift of the machine would favour one
    // variant.
    for (const name of repetition % 2 === 0 ? names : names.toReversed()) read[name].push(await variants[name]())
  }
  const figures = (readings: readonly Readings<Name>[]) =>
    Object.fromEntries(
      Object.keys(readings[0] ?? {}).map((name) => [name, figureOf(readings.map((reading) => reading[name as Name]))]),
    )
  return Object.fromEntries(names.map((name) => [name, figures(read[name])])) as Record<Variant, Record<Name, Figure>>
}
