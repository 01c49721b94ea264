/** Indexes in Redis: the values by which a customer is found, and the keys. */
import { DEFAULT_KEY_PREFIX } from './keys.ts'

export const indexNames = ['phone', 'email', 'vin', 'key', 'dealer'] as const
export type IndexName = (typeof indexNames)[number]

/**
 * A value by which a customer is found, with the name of its index: `phone:+14152002671`,
 * `email:ada@example.com`, `vin:1GD312CG0BF081737`, `key:<dealerUuid>/<customerKey>`,
 * `dealer:<dealerUuid>`.
 */
export type IndexTerm = `${IndexName}:${string}`

/**
 * Returns the key of a term. The key has a sorted set of customers. Member: customerUuid. Score:
 * Unix milliseconds. In the index `dealer`, the score is the timestamp of the customer's newest
 * event. In the other indexes, the score is the timestamp of the event that has added the entry. A
 * member is only a candidate. The customer has the term only if {@link currentTerms} of its hash
 * has the term.
 */
export const indexKey = (term: IndexTerm, prefix: string = DEFAULT_KEY_PREFIX): string => {
  const at = term.indexOf(':')
  return `${prefix}index:${term.slice(0, at)}:{${term.slice(at + 1)}}`
}

/**
 * Returns the terms of each event in the field `_index` of a hash. The newest event is the last.
 * The field is a JSON array of the terms of one event. While entries are added or removed, the
 * field has its pending form: a `?`, then one line for each event. A line has the JSON array of its
 * event. An empty line is an event without terms.
 */
const events = (index: string): readonly (readonly IndexTerm[])[] =>
  (index.startsWith('?') ? index.slice(1) : index).split('\n').map((line) => (line === '' ? [] : JSON.parse(line)))

/**
 * Returns true while the projector adds or removes entries of the customer. If false, Redis has an
 * entry for each of the {@link currentTerms}.
 * @param index the field `_index` of the hash. Undefined if the hash lacks this field.
 */
export const isPending = (index: string | undefined): boolean => index?.startsWith('?') ?? false

/**
 * Returns the terms of the event that a hash holds.
 * @param index the field `_index` of the hash. Undefined if the hash lacks this field.
 */
export const currentTerms = (index: string | undefined): readonly IndexTerm[] => events(index ?? '').at(-1) ?? []

/** Returns the terms under which Redis may have entries of the customer, without repeats. */
export const filedTerms = (index: string | undefined): readonly IndexTerm[] => [...new Set(events(index ?? '').flat())]
