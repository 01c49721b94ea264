/**
 * The form in which a phone number, an e-mail address or a VIN is indexed and looked up. All
 * spellings of one value have the same form. `normalise.json` of @customer-stream/schemas has
 * examples for programs in other languages.
 */
import { createRequire } from 'node:module'
import type { CountryCode } from 'libphonenumber-js/max'

type Library = typeof import('libphonenumber-js/max')

let parse: Library['parsePhoneNumberFromString'] | undefined

/** Loads the library when the first number needs it, because the load takes 40 ms of CPU time. */
const library = (): Library['parsePhoneNumberFromString'] =>
  (createRequire(import.meta.url)('libphonenumber-js/max') as Library).parsePhoneNumberFromString

const unlessEmpty = (text: string): string | undefined => (text === '' ? undefined : text)

/**
 * Matches a number of North America in a usual spelling. The groups are the country code, the area
 * code with or without brackets, and the rest in two parts. For such a number the library is not
 * called, because each call takes 7 µs.
 */
const NORTH_AMERICAN = /^(\+?1[-. ]?)?(?:\(([2-9]\d\d)\) ?|([2-9]\d\d)[-. ]?)(\d{3})[-. ]?(\d{4})$/
/** Countries with the country code 1. */
const northAmerica: ReadonlySet<string> = new Set(
  'AG AI AS BB BM BS CA DM DO GD GU JM KN KY LC MP MS PR SX TC TT US VC VG VI'.split(' '),
)

/**
 * Returns a phone number as E.164 without its extension, e.g. `+14152002671`. Undefined if the text
 * is not a possible phone number.
 *
 * A possible number has a length that its country uses. Its area code is not checked, because the
 * library may not know a new area code. The customer would then not be found.
 * @param country ISO 3166 code of the country of numbers without a country code.
 */
export const normalisePhone = (text: string, country: string): string | undefined => {
  const [, code, area, sameArea, next, last] = NORTH_AMERICAN.exec(text) ?? []
  if (last !== undefined && (code?.startsWith('+') || northAmerica.has(country)))
    return `+1${area ?? sameArea}${next}${last}`
  parse ??= library()
  const number = parse(text, country as CountryCode)
  return number?.isPossible() ? number.number : undefined
}

/** Returns the address without white space at its ends, in lower case, in NFC. */
export const normaliseEmail = (text: string): string | undefined =>
  unlessEmpty(text.trim().toLowerCase().normalize('NFC'))

/** Returns the VIN in upper case, without white space. */
export const normaliseVin = (text: string): string | undefined => unlessEmpty(text.replaceAll(/\s/g, '').toUpperCase())
