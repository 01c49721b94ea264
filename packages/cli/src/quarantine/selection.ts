/** Options that select records of quarantine. */
import { type Filters, type Place, placeOf, readPlace, type Selection } from '@customer-stream/quarantine'
import type { Given } from '@customer-stream/runtime/command-line'
import { FILTER_OPTIONS } from './options.ts'

export const FILTER_USAGE = `  --reason REASON       only records with this reason, e.g. not-utf8
  --since TIME          only records received at this time or later, for example
                        2026-11-24T06:00:00Z
  --until TIME          only records received before this time
  --customer ID         only records that name this customer
  --limit N             at most this number of records`

/** The line about settings in the usage of each quarantine command. */
export const SETTINGS_USAGE = `  The settings of the services (KAFKA_BROKERS and others) are read from the
  environment. Redis is not needed.`

const timeOf = (name: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const value = Date.parse(text)
  if (Number.isNaN(value)) throw new Error(`--${name} is not a valid time: ${text}`)
  return value
}

/**
 * Reads a whole number.
 * @throws Error that names the option and its range.
 */
export const numberOf = (name: string, text: string, least: number, most: number): number => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most)) throw new Error(`--${name} must be a whole number from ${least} to ${most}`)
  return value
}

export const readFilters = (texts: Given['texts']): { readonly filters: Filters; readonly limit: number } => {
  const sinceMs = timeOf('since', texts.since)
  const untilMs = timeOf('until', texts.until)
  if (sinceMs !== undefined && untilMs !== undefined && untilMs <= sinceMs)
    throw new Error('--until must be after --since')
  return {
    filters: {
      ...(texts.reason !== undefined && { reason: texts.reason }),
      ...(sinceMs !== undefined && { sinceMs }),
      ...(untilMs !== undefined && { untilMs }),
      ...(texts.customer !== undefined && { customer: texts.customer }),
    },
    limit: texts.limit === undefined ? Number.POSITIVE_INFINITY : numberOf('limit', texts.limit, 0, 1e15),
  }
}

const inOrder = (a: Place, b: Place): number =>
  a.partition - b.partition || (BigInt(a.offset) < BigInt(b.offset) ? -1 : 1)

/**
 * Reads the selection of a command that changes something. A command without a selection changes
 * nothing.
 */
export const readSelection = ({ texts, words }: Pick<Given, 'texts' | 'words'>): Selection => {
  const { filters, limit } = readFilters(texts)
  const named = Object.keys(FILTER_OPTIONS).filter((name) => texts[name] !== undefined)
  if (words.length > 0 && named.length > 0)
    throw new Error(`either name records, or use ${named.map((name) => `--${name}`).join(' and ')}`)
  if (words.length === 0 && named.length === 0)
    throw new Error('nothing is selected: name records as PARTITION/OFFSET, or use a filter such as --reason')
  if (words.length === 0) return { places: undefined, filters, limit }
  const places = new Map(words.map(readPlace).map((place) => [placeOf(place), place]))
  return { places: [...places.values()].sort(inOrder), filters, limit }
}
