import { isRawNumber } from './json.ts'
import { failed, ok, type Result } from './result.ts'

/**
 * Which of two events of one customer is newer. Of two versions the newer has the greater `(timestamp, id)`: the number first, then the id by its UTF-8
 * bytes. Equal means the same event. The rule does not look at arrival, so repeats, disorder and replays all end in the same state; the projector's
 * Lua script applies the same rule inside Redis.
 */
export interface Version {
  /** Time of the change by the sender's clock, Unix milliseconds, an integer from 1 to 2^53-1. */
  readonly timestamp: number
  /** The event's id, opaque and case-sensitive. */
  readonly id: string
}

export type VersionFault = 'missing-event-id' | 'invalid-event-id' | 'invalid-timestamp'

/** An event that claims to be younger than its own receipt by more than this would freeze its customer until that day. */
export const MAX_FUTURE_MS = 24 * 60 * 60 * 1000

const readTimestamp = (value: unknown): number | undefined => {
  // A raw number is one with many digits, which may still be a whole one: 1728542293678.000.
  const digits = isRawNumber(value) ? value.rawJSON : typeof value === 'string' && /^\d+$/.test(value) ? value : undefined
  const timestamp = digits === undefined ? value : Number(digits)
  return typeof timestamp === 'number' && Number.isSafeInteger(timestamp) && timestamp >= 1 ? timestamp : undefined
}

/** Reads the version from an envelope: `id` a non-empty string, `timestamp` an integer from 1 to 2^53-1 or a string of digits. */
export const readVersion = (envelope: { readonly id?: unknown; readonly timestamp?: unknown }): Result<Version, VersionFault> => {
  const { id } = envelope
  if (id === undefined || id === null || id === '') return failed('missing-event-id', 'the event has no id')
  if (typeof id !== 'string') return failed('invalid-event-id', `the id is a ${typeof id}, not a string`)
  // A lone surrogate has no UTF-8 form: two different ids would become the same bytes in Redis.
  if (!id.isWellFormed()) return failed('invalid-event-id', 'the id holds a lone surrogate')
  const timestamp = readTimestamp(envelope.timestamp)
  if (timestamp === undefined) return failed('invalid-timestamp', 'the timestamp is not an integer from 1 to 2^53-1')
  return ok({ timestamp, id })
}

// UTF-8 orders by code point. UTF-16 code units do so too, except that surrogates stand below U+E000..U+FFFF: lift them above.
const inCodePointOrder = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit)

const compareUtf8 = (a: string, b: string): number => {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return inCodePointOrder(x) - inCodePointOrder(y)
  }
  return a.length - b.length
}

/** Negative when `a` is older than `b`, positive when it is newer, 0 when both are the same event. A total order. */
export const compareVersions = (a: Version, b: Version): number => a.timestamp - b.timestamp || compareUtf8(a.id, b.id)

/**
 * Whether the event lies further in the future than is believable. Looks only at the record, never at the clock, so that a replay decides alike.
 * @param receivedAt the record's timestamp, Unix milliseconds.
 */
export const isTooFarInFuture = (version: Version, receivedAt: number, maxFutureMs: number = MAX_FUTURE_MS): boolean =>
  version.timestamp - receivedAt > maxFutureMs
