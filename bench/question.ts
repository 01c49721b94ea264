import type { Brokers } from '@customer-stream/testing'
import type { Figure } from './measure.ts'

/** One line of the table: a target, the figure met with, and the verdict. */
export interface Line {
  readonly what: string
  readonly target: string
  readonly figure: string
  readonly met: boolean
}

/** A curve without a target: how a figure changes as something grows. */
export interface Curve {
  readonly title: string
  /** Also the file's name, in kebab-case. */
  readonly name: string
  readonly x: string
  readonly y: string
  /** Where the values of x span orders of magnitude. */
  readonly logX: boolean
  readonly series: readonly { readonly name: string; readonly points: readonly { readonly x: number; readonly y: Figure }[] }[]
}

export interface Answer {
  readonly lines: readonly Line[]
  /** Everything that was read, by variant and name of the reading. */
  readonly readings: Readonly<Record<string, Readonly<Record<string, Figure>>>>
  readonly curves?: readonly Curve[]
  /** Sentences for the page: how it was measured, what stands out. */
  readonly notes: readonly string[]
}

export interface Bench {
  readonly brokers: Brokers
  /** 1, or less for a quick look: times and amounts are multiplied by it. */
  readonly scale: number
  say(line: string): void
}

/** One question, one file. */
export interface Question {
  readonly name: string
  readonly title: string
  ask(bench: Bench): Promise<Answer>
}
