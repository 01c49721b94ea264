/**
 * An erasure: the value of a record in the erasures topic. The key of the record is the
 * customerUuid. If a key has several records, only the last record is used. An erasure has no data
 * of the customer.
 */
import { type Static, Type } from '@sinclair/typebox'
import { decodeText } from './charset.ts'
import { type KeyFault, readKey } from './record-key.ts'
import { failed, ok, type Result } from './result.ts'
import type { Version } from './version.ts'

/** Maximum code points of each text of an erasure. JSON Schema counts code points too. */
export const MAX_ERASURE_TEXT = 1000

export const Erasure = Type.Object(
  {
    erasedAt: Type.Integer({
      description: 'Time of the erasure, Unix milliseconds.',
      minimum: 1,
      maximum: Number.MAX_SAFE_INTEGER,
    }),
    scope: Type.Union([Type.Literal('forever'), Type.Literal('until-now')], {
      description:
        'The events that are erased. `forever`: all events. `until-now`: events with a timestamp up to `erasedAt`.',
    }),
    reason: Type.String({ description: 'Why the customer was erased.', maxLength: MAX_ERASURE_TEXT }),
    requestedBy: Type.String({ description: 'The person who asked for the erasure.', maxLength: MAX_ERASURE_TEXT }),
  },
  { $id: 'Erasure', description: 'A customer was erased.' },
)
export type Erasure = Static<typeof Erasure>

/** The reasons why a record of the erasures topic erases nothing. */
export type ErasureFault =
  | KeyFault
  /**
   * The record is a tombstone. A tombstone erases nothing, and does not undo an earlier erasure.
   */
  | 'missing-value'
  /** The value is not an erasure. */
  | 'not-an-erasure'

/** Content of a record of the erasures topic. */
export interface ErasureRecord {
  readonly customerUuid: string
  readonly erasure: Erasure
}

const isText = (value: unknown): value is string => typeof value === 'string' && [...value].length <= MAX_ERASURE_TEXT

const TEXT = `must be a text of at most ${MAX_ERASURE_TEXT} characters`

/**
 * Returns a text that names the first missing or invalid member, and its required form. Undefined
 * if all members are valid.
 */
const wrongMember = ({ erasedAt, scope, reason, requestedBy }: Readonly<Record<string, unknown>>) => {
  if (!Number.isSafeInteger(erasedAt) || (erasedAt as number) < 1)
    return 'erasedAt must be Unix milliseconds, as a number'
  if (scope !== 'forever' && scope !== 'until-now') return 'scope must be "forever" or "until-now"'
  if (!isText(reason)) return `reason ${TEXT}`
  return isText(requestedBy) ? undefined : `requestedBy ${TEXT}`
}

/**
 * Reads a record of the erasures topic. Never throws.
 * @returns the erasure, or the {@link ErasureFault} that makes the record unusable.
 */
export const readErasureRecord = (record: {
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
}): Result<ErasureRecord, ErasureFault> => {
  const { value } = record
  const key = readKey(record.key)
  if (!key.ok) return key
  const customerUuid = key.value
  if (value === null) return failed('missing-value', 'the record is a tombstone, which does not undo an erasure')
  let parsed: unknown
  try {
    parsed = JSON.parse(decodeText(value))
  } catch {
    return failed('not-an-erasure', 'the value is not JSON in UTF-8')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return failed('not-an-erasure', 'the value is JSON, but not an object')
  const wrong = wrongMember(parsed as Record<string, unknown>)
  return wrong === undefined ? ok({ customerUuid, erasure: parsed as Erasure }) : failed('not-an-erasure', wrong)
}

/**
 * Returns the text of an erasure, which is the value of its record in the erasures topic.
 * @throws RangeError that names the first missing or invalid member.
 */
export const writeErasure = (erasure: Erasure): string => {
  const wrong = wrongMember(erasure)
  if (wrong !== undefined) throw new RangeError(`the erasure is invalid: ${wrong}`)
  const { erasedAt, scope, reason, requestedBy } = erasure
  return JSON.stringify({ erasedAt, scope, reason, requestedBy })
}

/**
 * Returns true if an erasure erases an event with this version. The erasure must be the last
 * erasure of the customer.
 */
export const isErased = ({ scope, erasedAt }: Pick<Erasure, 'scope' | 'erasedAt'>, version: Version): boolean =>
  scope === 'forever' || version.timestamp <= erasedAt
