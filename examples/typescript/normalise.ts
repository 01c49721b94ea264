/** Makes terms for an index by phone number, e-mail address or VIN. Null if there is no term. */
import { type CountryCode, parsePhoneNumberFromString } from 'libphonenumber-js/max'

/**
 * Returns a phone number as E.164, without its extension.
 * @param country the country of a number without a country code, such as US.
 */
export const phone = (input: string, country: CountryCode): string | null => {
  const number = parsePhoneNumberFromString(input, country)
  // Do not use isValid, because it depends on the version of the library.
  return number?.isPossible() ? number.number : null
}

export const email = (input: string): string | null => input.trim().toLowerCase().normalize('NFC') || null

export const vin = (input: string): string | null => input.replaceAll(/\s/g, '').toUpperCase() || null
