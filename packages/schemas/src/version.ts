import { isRawNumber } from './json.ts'
import { failed, ok, type Result } from './result.ts'

/**
 * Version of an event. The newer of two events of one customer has the greater timestamp. If the
 * timestamps are equal, the newer event has the id with the greater UTF-8 bytes. Equal versions
 * mean the same event. The rule ignores the order of arrival, so repeats, disorder and replays end
 * in the same state. The projector's Lua script applies the same rule in Redis.
 */
export interface Version {
  /** Time of the change by the sender's clock, Unix milliseconds, an integer from 1 to 2^53-1. */
  readonly timestamp: number
  /** The event's id, opaque and case-sensitive. */
  readonly id: string
}

export type VersionFault = 'missing-event-id' | 'invalid-event-id' | 'invalid-timestamp'

/**
 * Maximum time by which an event's timestamp may be later than its receipt: 24 hours. Without this
 * limit, an event from the far future would block all updates of its customer until that day.
 */
export const MAX_FUTURE_MS = 24 * 60 * 60 * 1000

const readTimestamp = (value: unknown): number | undefined => {
  // A raw number has many digits, but may still be a valid integer, such as 1728542293678.000.
  const digits = isRawNumber(value)
    ? value.rawJSON
    : typeof value === 'string' && /^\d+$/.test(value)
      ? value
      : undefined
  const timestamp = digits === undefined ? value : Number(digits)
  return typeof timestamp === 'number' && Number.isSafeInteger(timestamp) && timestamp >= 1 ? timestamp : undefined
}

/**
 * Reads the version of an envelope. `id` must be a non-empty string. `timestamp` must be an integer
 * from 1 to 2^53-1, as a number or as a string of digits.
 */
export const readVersion = (envelope: {
  readonly id?: unknown
  readonly timestamp?: unknown
}): Result<Version, VersionFault> => {
  const { id } = envelope
  if (id === undefined || id === null || id === '') return failed('missing-event-id', 'the event has no id')
  if (typeof id !== 'string') return failed('invalid-event-id', `the id is a ${typeof id}, not a string`)
  // A lone surrogate has no UTF-8 form, so two different ids would become the same bytes in Redis.
  if (!id.isWellFormed()) return failed('invalid-event-id', 'the id has a lone surrogate')
  const timestamp = readTimestamp(envelope.timestamp)
  if (timestamp === undefined) return failed('invalid-timestamp', 'the timestamp is not an integer from 1 to 2^53-1')
  return ok({ timestamp, id })
}

// Returns a number that sorts UTF-16 code units like UTF-8 bytes. The two orders differ only for
// surrogates, which UTF-16 sorts before U+E000..U+FFFF and UTF-8 after that range.
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
 * Returns a negative number if `a` is older than `b`, a positive number if `a` is newer, and 0 if
 * both are the same event. This is a total order.
 */
export const compareVersions = (a: Version, b: Version): number => a.timestamp - b.timestamp || compareUtf8(a.id, b.id)

/**
 * Decision about an event. The stored version is the version that your program has stored beside
 * the customer's state.
 */
export type Decision =
  /** The event is newer than the stored version, or no version is stored. Replace the state. */
  | 'apply'
  /** The event has the stored version. Ignore the event. */
  | 'duplicate'
  /** The event is older than the stored version. Ignore the event. */
  | 'stale'

/**
 * Decides whether your program must apply an event or a state document.
 * @param held the version stored beside the customer's state. Undefined if no version is stored.
 */
export const decide = (held: Version | undefined, next: Version): Decision => {
  const order = held === undefined ? 1 : compareVersions(next, held)
  return order > 0 ? 'apply' : order === 0 ? 'duplicate' : 'stale'
}

const encoder = new TextEncoder()

/**
 * Returns bytes that sort like the version: the timestamp as a 64-bit big-endian integer, then the
 * id in UTF-8. Databases compare binary columns byte by byte, and put a prefix before the longer
 * value. So `UPDATE … WHERE version < ?` applies the version rule.
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
 * Returns true if the event's timestamp is later than `receivedAt` by more than `maxFutureMs`. The
 * rule does not use the current time, so a replay has the same result.
 * @param receivedAt the record's timestamp, Unix milliseconds.
 */
export const isTooFarInFuture = (version: Version, receivedAt: number, maxFutureMs: number = MAX_FUTURE_MS): boolean =>
  version.timestamp - receivedAt > maxFutureMs
