import { readVersion, type Version } from './version.ts'

/** ASCII without control characters, quotes and backslashes. JSON has no escapes in this text. */
const plain = /^[ !\x23-\x5b\x5d-\x7e]+$/

const NAME = '"customerUuid"'

/**
 * Returns true if the payload names this customer and no other customer. Returns false if the
 * payload contains `\u00`, which may be an escaped character of the name.
 */
const isOf = (customerUuid: string, payload: string): boolean => {
  const member = `${NAME}:"${customerUuid}"`
  let at = payload.indexOf(NAME)
  if (at < 0 || payload.includes('\\u00')) return false
  for (; at >= 0; at = payload.indexOf(NAME, at + member.length)) if (!payload.startsWith(member, at)) return false
  return true
}

/**
 * Reads the version of a customers event without parsing its payload. This takes a third of the
 * time that parsing the event takes. The event may still be unusable. But if `parseEvent` and
 * `readVersion` succeed, they return this customer and this version.
 *
 * The bytes are read as ISO-8859-1, which is faster than UTF-8. The compared texts are ASCII, and
 * ASCII has the same bytes in both charsets.
 * @param body the bytes of a record without a header `content-type`.
 * @returns undefined if the customer or the version is uncertain.
 */
export const peekVersion = (body: Buffer, customerUuid: string): Version | undefined => {
  if (!plain.test(customerUuid)) return undefined
  let envelope: { id?: unknown; timestamp?: unknown; type?: unknown; payload?: unknown } | null
  try {
    envelope = JSON.parse(body.toString('latin1'))
  } catch {
    return undefined
  }
  if (envelope?.type !== 'customers' || typeof envelope.payload !== 'string') return undefined
  const version = readVersion(envelope)
  return version.ok && plain.test(version.value.id) && isOf(customerUuid, envelope.payload) ? version.value : undefined
}
