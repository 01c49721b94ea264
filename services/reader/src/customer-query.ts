/** The body of a search: exactly one value by which customers are found. */
import { normaliseEmail, normalisePhone, normaliseVin } from '@customer-stream/indexes'
import type { IndexName, IndexTerm } from '@customer-stream/schemas'

export interface CustomerQuery {
  readonly index: Exclude<IndexName, 'dealer'>
  readonly text: string
  /** Present only for the index `key`. */
  readonly dealer?: string
}

/** Maximum number of characters of a value. A longer value has no term. */
const MAX_CHARACTERS = 512

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= MAX_CHARACTERS

/** Returns undefined if the body is not a query. */
export const readQuery = (body: unknown): CustomerQuery | undefined => {
  if (typeof body !== 'object' || body === null) return undefined
  const { phone, email, vin, dealer, key } = body as Record<string, unknown>
  const names = Object.keys(body).toSorted().join()
  if (names === 'phone' && isText(phone)) return { index: 'phone', text: phone }
  if (names === 'email' && isText(email)) return { index: 'email', text: email }
  if (names === 'vin' && isText(vin)) return { index: 'vin', text: vin }
  return names === 'dealer,key' && isText(dealer) && isText(key) ? { index: 'key', text: key, dealer } : undefined
}

const indexedValue = ({ index, text, dealer }: CustomerQuery, country: string): string | undefined => {
  switch (index) {
    case 'phone':
      return normalisePhone(text, country)
    case 'email':
      return normaliseEmail(text)
    case 'vin':
      return normaliseVin(text)
    case 'key':
      return `${dealer}/${text}`
  }
}

/**
 * Returns the term under which the projector puts customers with this value into the index.
 * @returns undefined if the value has no term, for example if it is not a phone number.
 */
export const termOf = (query: CustomerQuery, country: string): IndexTerm | undefined => {
  const value = indexedValue(query, country)
  return value === undefined || value.length > MAX_CHARACTERS ? undefined : `${query.index}:${value.toWellFormed()}`
}
