/**
 * Parses JSON without rounding numbers. `JSON.parse` rounds a number that a double cannot hold
 * (`12345678901234567890`, `1e400`). The vendor's ids are 64-bit integers, which a double cannot
 * hold. This parser returns such a number as a `JSON.rawJSON` object. The object has the text of
 * the number, and `JSON.stringify` writes this text unchanged.
 */

/**
 * A number that a double cannot hold, such as a 64-bit integer: an object of `JSON.rawJSON`. For an
 * integer, `BigInt(value.rawJSON)` returns the value.
 */
export interface RawNumber {
  readonly rawJSON: string
}

// V8 has `JSON.rawJSON` since version 11.4, but TypeScript's library does not declare it yet.
const RawJson = JSON as typeof JSON & {
  rawJSON(text: string): RawNumber
  isRawJSON(value: unknown): value is RawNumber
}
// Node 21 has `JSON.rawJSON` but not `Promise.withResolvers`, which the package subscriber needs.
if (typeof RawJson.rawJSON !== 'function' || typeof Promise.withResolvers !== 'function') {
  const missing = 'this JavaScript engine lacks JSON.rawJSON or Promise.withResolvers'
  throw new Error(`@customer-stream/schemas needs Node 22 or newer: ${missing}`)
}

/**
 * A double keeps 15 significant digits and exponents up to 308. So `JSON.parse` rounds no number
 * that has fewer than 16 digits and an exponent of fewer than 3 digits. In JSON, a bracket, colon,
 * comma or blank precedes a number. `inexactFirst` finds a number at the start of the text. If the
 * JSON is inside a string, its blanks are spaces and the escapes `\n`, `\r` and `\t`. The pattern
 * looks only for the letters of these escapes, because a pattern with the backslash takes longer. A
 * match inside a word costs time, but does no harm.
 */
const inexactNumber = /[[:,\snrt]-?\d(?:[\d.]{15}|[\d.]*[eE][+-]?\d{3})/
const inexactFirst = /^-?\d(?:[\d.]{15}|[\d.]*[eE][+-]?\d{3})/

/**
 * Returns true if a text may have a number that `JSON.parse` would round. Also searches JSON inside
 * the strings of the text, so one search covers a body and its payload. The search does not find
 * digits that are spelled as `\u00..`.
 */
export const mayRound = (text: string): boolean => inexactNumber.test(text) || inexactFirst.test(text)
/**
 * Like {@link mayRound}, but also returns true if digits inside strings may be spelled `\u00..`.
 */
export const mayRoundWithin = (text: string): boolean => mayRound(text) || text.includes('u00')

/**
 * Matches three parts of valid JSON: a quote that begins or ends a string, escapes in a string, and
 * a number that `JSON.parse` may round. The pattern never backtracks far.
 */
const token = /"|(?:\\.){1,99}|-?(?:\d[\d.]{15,}|\d[\d.]*[eE][+-]?\d{3})[\d.eE+-]*/gs

/**
 * Prefix of a string that takes the place of a number while a text is parsed. The prefix is random,
 * so no sender can know it.
 */
const marker = crypto.randomUUID()

const isExact = (literal: string): boolean => String(Number(literal)) === literal

const unmark = (value: unknown): unknown => {
  if (typeof value === 'string') return value.startsWith(marker) ? RawJson.rawJSON(value.slice(marker.length)) : value
  if (typeof value !== 'object' || value === null) return value
  const container = value as Record<string, unknown>
  for (const name of Object.keys(container)) {
    const member = container[name]
    if (typeof member !== 'string' && typeof member !== 'object') continue
    const unmarked = unmark(member)
    // The name may be `__proto__`. `JSON.parse` has made the member an own property, so the
    // assignment sets no prototype.
    if (unmarked !== member) container[name] = unmarked
  }
  return value
}

/**
 * Parses the text twice: once as it is, and once with markers in place of long numbers. A reviver
 * would be slower: V8 calls a reviver for each value, which takes a second for 1 MiB of small
 * values.
 */
const parseExactly = (text: string): unknown => {
  // Throws if the text is not JSON. Without this first parse, a number at a wrong place could
  // become a valid string.
  const rounded: unknown = JSON.parse(text)
  let inString = false
  let marked = 0
  const markedText = text.replace(token, (found) => {
    if (found === '"') inString = !inString
    if (inString || found === '"' || isExact(found)) return found
    marked += 1
    return `"${marker}${found}"`
  })
  return marked === 0 ? rounded : unmark(JSON.parse(markedText))
}

/** Returns true for a number that {@link parseJson} did not round. Its text is in `.rawJSON`. */
export const isRawNumber = (value: unknown): value is RawNumber => RawJson.isRawJSON(value)

/**
 * Parses a text like `JSON.parse`, but does not round numbers.
 * @param rounds false if the caller knows that the text has no number that would be rounded.
 * @throws SyntaxError if the text is not JSON. RangeError if the text is nested several thousand
 *   levels deep and has a number that would be rounded.
 */
export const parseJson = (text: string, rounds = mayRound(text)): unknown =>
  rounds ? parseExactly(text) : JSON.parse(text)
