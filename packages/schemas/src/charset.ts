/**
 * Decodes request bodies. JSON is UTF-8, but HTTP clients also send `text/plain` in another
 * charset, which the content type declares.
 */

const declaredCharset = /;\s*charset\s*=\s*(?:"([^"]*)"|([^\s;"]+))/i

/**
 * Returns the name that the Encoding Standard has for a charset. Undefined if the standard does not
 * have the charset.
 */
export const encodingOf = (charset: string): string | undefined => {
  // The Encoding Standard reads ASCII as windows-1252. Each ASCII text is also valid UTF-8.
  if (/^(?:us-)?ascii$|^ansi_x3/i.test(charset)) return 'utf-8'
  try {
    // Java writes `ISO8859_1` with an underscore. The Encoding Standard has `ISO8859-1`.
    return new TextDecoder(charset.replaceAll('_', '-')).encoding
  } catch {
    return undefined
  }
}

/**
 * Returns the charset that a content type declares. Undefined if the content type declares no
 * charset, or an unknown charset.
 */
export const declaredEncoding = (contentType: string | undefined): string | undefined => {
  const [, quoted, plain] = declaredCharset.exec(contentType ?? '') ?? []
  const charset = quoted ?? plain
  return charset === undefined ? undefined : encodingOf(charset)
}

// With `fatal` the decoder throws on broken bytes. Without `fatal` the decoder would replace these
// bytes, and a customer's data would change silently. The decoder drops a byte order mark.
const utf8 = new TextDecoder('utf-8', { fatal: true })
const startsWith = (bytes: Uint8Array, first: number, second: number): boolean =>
  bytes[0] === first && bytes[1] === second

/**
 * Decodes bytes.
 * @param encoding a name that {@link encodingOf} has returned. Default: UTF-8.
 * @throws TypeError if the bytes are not of this charset.
 */
export const decodeText = (bytes: Uint8Array, encoding = 'utf-8'): string => {
  if (encoding === 'utf-8') return utf8.decode(bytes)
  // Java writes "UTF-16" with a byte order mark and the most significant byte first.
  // The Encoding Standard reads "UTF-16" with the least significant byte first.
  const isBigEndian = encoding === 'utf-16le' && startsWith(bytes, 0xfe, 0xff)
  return new TextDecoder(isBigEndian ? 'utf-16be' : encoding, { fatal: true }).decode(bytes)
}
