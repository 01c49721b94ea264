/**
 * JSON that keeps every number. `JSON.parse` rounds what a double cannot hold (`12345678901234567890`, `1e400`), and the vendor's ids are
 * 64-bit integers. Such a number is kept as the `JSON.rawJSON` object of its own text, which `JSON.stringify` writes back unchanged.
 */

interface RawNumber {
  readonly rawJSON: string
}

// Standard since V8 11.4 (Node 22), not yet in TypeScript's library.
const RawJson = JSON as typeof JSON & { rawJSON(text: string): RawNumber; isRawJSON(value: unknown): value is RawNumber }

/**
 * A double keeps 15 significant digits and exponents up to 308; a literal below both bounds survives `JSON.parse` exactly. A number follows a bracket, colon,
 * comma or blank, also one that is escaped within a string: hexadecimal ids in strings do not count.
 */
const inexactNumber = /(?:^|[[:,\s]|\\[nrt])-?(?:\d[\d.]{15,}|\d[\d.]*[eE][+-]?\d{3})/

/**
 * Whether a text may hold a number that `JSON.parse` would round. What is said of a text holds for the JSON in its strings too, so that a body and the payload in
 * it are searched once, unless the text spells characters as `\u00..`, digits perhaps.
 */
export const mayRound = (text: string): boolean => inexactNumber.test(text)
export const mayRoundWithin = (text: string): boolean => mayRound(text) || text.includes('\\u00')

const keepExact = (_key: string, value: unknown, context?: { source?: string }): unknown => {
  const source = context?.source
  if (typeof value !== 'number' || source === undefined || !inexactNumber.test(source) || JSON.stringify(value) === source) return value
  return RawJson.rawJSON(source)
}

/** True for a number that {@link parseJson} kept as its source text, to be read from `.rawJSON`. */
export const isRawNumber = (value: unknown): value is RawNumber => RawJson.isRawJSON(value)

/**
 * `JSON.parse` without loss of digits.
 * @param rounds false where the text is known to hold no number that would be rounded.
 * @throws SyntaxError when the text is not JSON; RangeError when it holds such a number and is nested too deep for a reviver (some thousand levels).
 */
export const parseJson = (text: string, rounds = mayRound(text)): unknown =>
  rounds ? JSON.parse(text, keepExact as Parameters<typeof JSON.parse>[1]) : JSON.parse(text)
