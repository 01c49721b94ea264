/** The terms by which a customer is found in Redis. */
import { type CustomerState, type IndexName, type IndexTerm, indexNames } from '@customer-stream/schemas'
import { normaliseEmail, normalisePhone, normaliseVin } from './normalise.ts'

export interface IndexOptions {
  readonly indexes: readonly IndexName[]
  /** ISO 3166 code of the country of phone numbers without a country code. */
  readonly country: string
}

/** Maximum length of a value, in UTF-16 code units. A longer value has no term. */
const MAX_LENGTH = 512

/**
 * Returns the normalised texts of one field of all objects in the list. The sender may send any
 * JSON value as `list`.
 */
const valuesIn = (list: unknown, field: string, normalise: (text: string) => string | undefined): string[] => {
  const values: string[] = []
  if (!Array.isArray(list)) return values
  for (const item of list) {
    const text = item?.[field]
    const value = typeof text === 'string' ? normalise(text) : undefined
    if (value !== undefined) values.push(value)
  }
  return values
}

/** Returns the values of one index. Values may repeat. */
const valuesOf = (
  index: IndexName,
  { customer, vehicles, dealerUuid }: Pick<CustomerState, 'customer' | 'vehicles' | 'dealerUuid'>,
  country: string,
): readonly string[] => {
  switch (index) {
    case 'phone':
      return valuesIn(customer.phoneNumbers, 'phoneNumber', (text) => normalisePhone(text, country))
    case 'email':
      return valuesIn(customer.emails, 'emailAddress', normaliseEmail)
    case 'vin':
      return valuesIn(vehicles, 'vin', normaliseVin)
    case 'key': {
      const { customerKey } = customer
      return typeof dealerUuid === 'string' && typeof customerKey === 'string' ? [`${dealerUuid}/${customerKey}`] : []
    }
    case 'dealer':
      return typeof dealerUuid === 'string' ? [dealerUuid] : []
  }
}

/** Names of the indexes, in the order of their terms. */
const sortedNames = indexNames.toSorted()

const withoutRepeats = (terms: readonly IndexTerm[]): IndexTerm[] =>
  terms.toSorted().filter((term, i, sorted) => term !== sorted[i - 1])

/** Returns the terms of a customer: sorted, without repeats. */
export const indexTerms = (
  customer: Pick<CustomerState, 'customer' | 'vehicles' | 'dealerUuid'>,
  { indexes, country }: IndexOptions,
): readonly IndexTerm[] => {
  const terms: IndexTerm[] = []
  for (const index of sortedNames) {
    if (!indexes.includes(index)) continue
    const own: IndexTerm[] = []
    // Redis stores a lone surrogate as U+FFFD. Use the same form here, so that this term equals the
    // term that is read from Redis.
    for (const value of valuesOf(index, customer, country))
      if (value.length <= MAX_LENGTH) own.push(`${index}:${value.toWellFormed()}`)
    for (const term of own.length > 1 ? withoutRepeats(own) : own) terms.push(term)
  }
  return terms
}
