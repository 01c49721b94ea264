import { failed, ok, type Result } from './result.ts'

/** The reasons why the key of a record is not a customerUuid. */
export type KeyFault =
  | 'missing-key'
  /** The bytes of the key are not UTF-8. */
  | 'invalid-key'

// `ignoreBOM: true` keeps a byte order mark, which in a key is part of the customerUuid.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads the customerUuid, which is the key in the state topic and in the erasures topic. */
export const readKey = (key: Uint8Array | null): Result<string, KeyFault> => {
  if (key === null || key.length === 0) return failed('missing-key', 'the record has no key')
  try {
    return ok(decoder.decode(key))
  } catch {
    return failed('invalid-key', 'the key is not UTF-8')
  }
}
