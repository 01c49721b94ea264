/** The charset of a request body. JSON is UTF-8, but HTTP clients also send `text/plain` in the charset that they declare. */

const declaredCharset = /;\s*charset\s*=\s*(?:"([^"]*)"|([^\s;"]+))/i

/** The Encoding Standard's name of a charset; undefined if it knows none of this name. */
export const encodingOf = (charset: string): string | undefined => {
  // ASCII is also UTF-8. The Encoding Standard takes it for windows-1252.
  if (/^(?:us-)?ascii$|^ansi_x3/i.test(charset)) return 'utf-8'
  try {
    // Java writes `ISO8859_1`.
    return new TextDecoder(charset.replaceAll('_', '-')).encoding
  } catch {
    return undefined
  }
}

/** The charset that a content type declares; undefined if it declares none, or one that nobody knows. */
export const declaredEncoding = (contentType: string | undefined): string | undefined => {
  const [, quoted, plain] = declaredCharset.exec(contentType ?? '') ?? []
  const charset = quoted ?? plain
  return charset === undefined ? undefined : encodingOf(charset)
}

// Fatal: replacing broken bytes would change a customer's data without a word. A byte order mark is dropped.
const utf8 = new TextDecoder('utf-8', { fatal: true })
const startsWith = (bytes: Uint8Array, first: number, second: number): boolean => bytes[0] === first && bytes[1] === second

/**
 * The text of bytes in a charset.
 * @param encoding as {@link encodingOf} names it.
 * @throws TypeError if the bytes are not of this charset.
 */
export const decodeText = (bytes: Uint8Array, encoding = 'utf-8'): string => {
  if (encoding === 'utf-8') return utf8.decode(bytes)
  // Java writes "UTF-16" with a byte order mark, the most significant byte first. The Encoding Standard takes it for the other order.
  const isBigEndian = encoding === 'utf-16le' && startsWith(bytes, 0xfe, 0xff)
  return new TextDecoder(isBigEndian ? 'utf-16be' : encoding, { fatal: true }).decode(bytes)
}
