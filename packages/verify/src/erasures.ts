/**
 * Checks that erased customers have no hash in Redis and no document in the state topic. Also
 * checks that Redis has their marks.
 */
import type { Evidence, LastState } from './evidence.ts'

/** Greatest timestamp of an event. An erasure with this timestamp covers all events. */
export const FOREVER = Number.MAX_SAFE_INTEGER

/** Adds a record of the erasures topic to the evidence. Ignores a record that is not an erasure. */
export const noteErasure = (
  evidence: Pick<Evidence, 'erasure'>,
  { key, value }: { readonly key: Buffer | null; readonly value: Buffer | null },
): void => {
  if (key === null || key.length === 0 || value === null) return
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  try {
    const customerUuid = utf8.decode(key)
    const { erasedAt, scope, reason, requestedBy } = Object(
      JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(value)),
    )
    const isText = (text: unknown) => typeof text === 'string' && [...text].length <= 1000
    if (!Number.isSafeInteger(erasedAt) || erasedAt < 1 || !isText(reason) || !isText(requestedBy)) return
    if (scope === 'forever' || scope === 'until-now')
      evidence.erasure(customerUuid, scope === 'forever' ? FOREVER : erasedAt)
  } catch (error) {
    // The decoder throws a TypeError. The parser throws a SyntaxError.
    if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error
  }
}

/**
 * Checks the hash of a customer whose events are all erased.
 * @param exact true if no event has arrived since the customers topic was read.
 * @returns the problem, or undefined.
 */
export const compareErasedHash = (
  hash: Readonly<Record<string, string>>,
  upTo: number,
  exact: boolean,
): string | undefined =>
  Object.keys(hash).length > 0 && (exact || !(Number(hash._eventTimestamp) > upTo))
    ? 'was erased but is in Redis'
    : undefined

/**
 * Checks the mark of an erased customer. Without the mark, the next event would bring the customer
 * back.
 * @param mark scope and erasedAt of the mark. Null if Redis has no mark.
 * @returns the problem, or undefined.
 */
export const compareMark = (
  [scope, erasedAt]: readonly (string | null | undefined)[],
  upTo: number,
  exact: boolean,
): string | undefined => {
  if (!scope) return 'was erased but has no mark in Redis; write the erasure again'
  const marked = scope === 'forever' ? FOREVER : Number(erasedAt)
  // A later erasure of the customer may have replaced the mark after the topic was read.
  return exact && marked !== upTo ? 'has the mark of another erasure in Redis; write the erasure again' : undefined
}

/**
 * Checks the last record of an erased customer in the state topic.
 * @param last null for a tombstone. Undefined if there is no record. Kafka removes a tombstone
 *   after some time.
 */
export const compareErasedState = (
  last: LastState | null | undefined,
  upTo: number,
  exact: boolean,
): string | undefined => {
  if (last === null) return undefined
  if (last === undefined) return exact ? 'was erased but has no tombstone in the state topic' : undefined
  return exact || last.timestamp <= upTo ? 'was erased but is in the state topic' : undefined
}
