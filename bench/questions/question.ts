import type { Brokers } from '@customer-stream/testing'
import type { Figure } from '../report/measure.ts'

/**
 * One line of the table: a target, the measured figure, and whether the figure meets the target.
 */
export interface Line {
  readonly what: string
  readonly target: string
  readonly figure: string
  readonly met: boolean
}

interface Ratio {
  readonly what: string
  readonly figure: Figure
  readonly base: Figure
  readonly baseName: string
  readonly atMost: number
  readonly unit: string
}

/** Returns the line of a figure that is compared with another figure of the same run. */
export const ratioLine = ({ what, figure, base, baseName, atMost, unit }: Ratio): Line => {
  const ratio = figure.median / base.median
  const digits = unit === 'ms' ? 2 : 0
  return {
    what,
    target: `≤ ${atMost} × ${baseName}`,
    figure:
      `${ratio.toFixed(2)} × (${figure.median.toFixed(digits)} ${unit} against ` +
      `${base.median.toFixed(digits)} ${unit})`,
    met: ratio <= atMost,
  }
}

/** Curve without a target, which shows how one figure changes while another figure grows. */
export interface Curve {
  readonly title: string
  /** Title of the curve. The name of the file is this title in kebab-case. */
  readonly name: string
  readonly x: string
  readonly y: string
  /** True if the values of x span orders of magnitude. */
  readonly logX: boolean
  readonly series: readonly {
    readonly name: string
    readonly points: readonly { readonly x: number; readonly y: Figure }[]
  }[]
}

export interface Answer {
  readonly lines: readonly Line[]
  /** All readings, by variant and name. */
  readonly readings: Readonly<Record<string, Readonly<Record<string, Figure>>>>
  readonly curves?: readonly Curve[]
  /** Sentences for the page: the method, and remarkable results. */
  readonly notes: readonly string[]
}

export interface Bench {
  readonly brokers: Brokers
  /** Factor for times and amounts: 1, or less for a quick run. */
  readonly scale: number
  say(line: string): void
}

/** Question of the benchmark. Each question has its own file. */
export interface Question {
  readonly name: string
  readonly title: string
  /**
   * True if the question takes long. The benchmark then asks it only if the command line names it.
   */
  readonly onlyIfNamed?: boolean
  /** True if wrk sends the requests of this question. */
  readonly needsWrk?: boolean
  ask(bench: Bench): Promise<Answer>
}
