/** Reads parameters of requests. */
import { ProblemError } from './problem.ts'

export const invalid = (detail: string): ProblemError => new ProblemError('invalid-parameter', detail)

interface Range {
  readonly minimum: number
  readonly maximum: number
  /** The value if the parameter is missing. */
  readonly standard: number
}

/**
 * Reads a parameter that is a whole number.
 *
 * @throws ProblemError if the text is not a whole number in the range.
 */
export const wholeNumber = (text: unknown, name: string, { minimum, maximum, standard }: Range): number => {
  if (text === undefined) return standard
  const value = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (value >= minimum && value <= maximum) return value
  throw invalid(`${name} must be given once, as an integer from ${minimum} to ${maximum}.`)
}
