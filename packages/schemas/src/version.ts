import { isRawNumber } from './json.ts'
import { failed, ok, type Result } from './result.ts'

/**
 * Decides which of two events of one customer is newer: the one with the greater timestamp or, if
 * they are equal, the one whose id is greater by its UTF-8 bytes. Equal versions mean the same
 * event. Because the rule ignores arrival, repeats, disorder and replays all end in the same state.
 * The projector's Lua script applies the same rule in Redis.
 */
export interface Version {
  /** Time of the change by the sender's clock, Unix milliseconds, an integer from 1 to 2^53-1. */
  readonly timestamp: number
  /** The event's id, opaque and case-sensitive. */
  readonly id: string
}

export type VersionFault = 'missing-event-id' | 'invalid-event-id' | 'invalid-timestamp'

/**
 * Longest time by which an event may be newer than its own receipt. Otherwise an event from the far
 * future would block all updates of its customer until that day.
 */
export const MAX_FUTURE_MS = 24 * 60 * 60 * 1000

const readTimestamp = (value: unknown): number | undefined => {
  // A raw number has many digits, but may still be an integer: 1728542293678.000.
  const digits = isRawNumber(value)
    ? value.rawJSON
    : typeof value === 'string' && /^\d+$/.test(value)
      ? value
      : undefined
  const timestamp = digits === undefined ? value : Number(digits)
  return typeof timestamp === 'number' && Number.isSafeInteger(timestamp) && timestamp >= 1 ? timestamp : undefined
}

/**
 * Reads the version of an envelope: `id` is a non-empty string, `timestamp` an integer from 1 to
 * 2^53-1 or its digits.
 */
export const readVersion = (envelope: {
  readonly id?: unknown
  readonly timestamp?: unknown
}): Result<Version, VersionFault> => {
  const { id } = envelope
  if (id === undefined || id === null || id === '') return failed('missing-event-id', 'the event has no id')
  if (typeof id !== 'string') return failed('invalid-event-id', `the id is a ${typeof id}, not a string`)
  // A lone surrogate has no UTF-8 form, so two different ids would become the same bytes in Redis.
  if (!id.isWellFormed()) return failed('invalid-event-id', 'the id holds a lone surrogate')
  const timestamp = readTimestamp(envelope.timestamp)
  if (timestamp === undefined) return failed('invalid-timestamp', 'the timestamp is not an integer from 1 to 2^53-1')
  return ok({ timestamp, id })
}

// UTF-8 sorts by code point. UTF-16 code units do too, except for surrogates, which sort before
// U+E000..U+FFFF. This function moves surrogates behind that range.
const inCodePointOrder = (unit: number): number =>
  unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit

const compareUtf8 = (a: string, b: string): number => {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return inCodePointOrder(x) - inCodePointOrder(y)
  }
  return a.length - b.length
}

/**
 * Negative if `a` is older than `b`, positive if it is newer, 0 if both are the same event. A total
 * order.
 */
export const compareVersions = (a: Version, b: Version): number => a.timestamp - b.timestamp || compareUtf8(a.id, b.id)

/** What a reader does with an event. */
export type Decision =
  /** The event is newer than the held one, or there is none: it replaces the state. */
  | 'apply'
  /** The event is the held one. */
  | 'duplicate'
  /** The event is older than the held one. */
  | 'stale'

/**
 * Decides what becomes of an event or a state document.
 * @param held the version stored beside the customer's state; undefined if there is none.
 */
export const decide = (held: Version | undefined, next: Version): Decision => {
  const order = held === undefined ? 1 : compareVersions(next, held)
  return order > 0 ? 'apply' : order === 0 ? 'duplicate' : 'stale'
}

const encoder = new TextEncoder()

/**
 * Returns the version as bytes that sort like the version: compared by memcmp, a shorter one first
 * if it begins the longer one. Databases compare binary columns so, hence
 * `UPDATE … WHERE version < ?` applies the version rule. The bytes are the timestamp as a 64-bit
 * big-endian integer, then the id in UTF-8.
 * @throws RangeError if the timestamp is not an integer from 1 to 2^53-1.
 */
export const versionBytes = ({ timestamp, id }: Version): Uint8Array<ArrayBuffer> => {
  if (!Number.isSafeInteger(timestamp) || timestamp < 1) throw new RangeError(`${timestamp} is not a valid timestamp`)
  const text = encoder.encode(id)
  const bytes = new Uint8Array(8 + text.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(timestamp))
  bytes.set(text, 8)
  return bytes
}

/**
 * True if the event's timestamp is later than `receivedAt` by more than `maxFutureMs`. The rule
 * uses the record only and no clock, so a replay decides the same.
 * @param receivedAt the record's timestamp, Unix milliseconds.
 */
export const isTooFarInFuture = (version: Version, receivedAt: number, maxFutureMs: number = MAX_FUTURE_MS): boolean =>
  version.timestamp - receivedAt > maxFutureMs
