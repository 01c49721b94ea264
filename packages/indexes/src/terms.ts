/** The terms by which a customer is found in Redis. */
import type { CustomerState, IndexName, IndexTerm } from '@customer-stream/schemas'
import { normaliseEmail, normalisePhone, normaliseVin } from './normalise.ts'

export interface IndexOptions {
  readonly indexes: readonly IndexName[]
  /** ISO 3166 code of the country of phone numbers without a country code. */
  readonly country: string
}

/** Maximum length of a value, in UTF-16 code units. A longer value has no term. */
const MAX_LENGTH = 512

/** Returns the texts of a field of all objects in a list. The sender may send any JSON. */
const textsOf = (list: unknown, field: string): string[] =>
  (Array.isArray(list) ? list : []).map((item) => item?.[field]).filter((text) => typeof text === 'string')

/** Returns the values of one index. Undefined if it has no value. Values may repeat. */
const valuesOf = (
  index: IndexName,
  { customer, vehicles, dealerUuid }: Pick<CustomerState, 'customer' | 'vehicles' | 'dealerUuid'>,
  country: string,
): readonly (string | undefined)[] => {
  switch (index) {
    case 'phone':
      return textsOf(customer.phoneNumbers, 'phoneNumber').map((text) => normalisePhone(text, country))
    case 'email':
      return textsOf(customer.emails, 'emailAddress').map(normaliseEmail)
    case 'vin':
      return textsOf(vehicles, 'vin').map(normaliseVin)
    case 'key': {
      const { customerKey } = customer
      return typeof dealerUuid === 'string' && typeof customerKey === 'string' ? [`${dealerUuid}/${customerKey}`] : []
    }
    case 'dealer':
      return typeof dealerUuid === 'string' ? [dealerUuid] : []
  }
}

/** Returns the terms of a customer: sorted, without repeats. */
export const indexTerms = (
  customer: Pick<CustomerState, 'customer' | 'vehicles' | 'dealerUuid'>,
  { indexes, country }: IndexOptions,
): readonly IndexTerm[] => {
  const terms = new Set<IndexTerm>()
  // Redis stores a lone surrogate as U+FFFD. A term that is read from Redis must be equal.
  for (const index of indexes)
    for (const value of valuesOf(index, customer, country))
      if (value !== undefined && value.length <= MAX_LENGTH) terms.add(`${index}:${value.toWellFormed()}`)
  return [...terms].sort()
}
