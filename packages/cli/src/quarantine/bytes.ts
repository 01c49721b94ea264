/** Bytes of a record for a terminal. */
import { declaredEncoding, decodeText } from '@customer-stream/schemas'
import { printable } from '../terminal-text.ts'

const BYTES_A_LINE = 16

/** Returns the text of the bytes. Undefined if the bytes are not in the declared charset. */
export const readText = (bytes: Uint8Array, contentType: string | undefined): string | undefined => {
  try {
    return decodeText(bytes, declaredEncoding(contentType))
  } catch {
    return undefined
  }
}

/** Escapes all characters that can control a terminal, except line breaks and tabs. */
export const escaped = (text: string): string => text.replaceAll(/[^\n\t]+/g, printable)

const isVisible = (byte: number): boolean => byte >= 0x20 && byte < 0x7f

/** Yields the lines of a hex dump: offset, bytes and ASCII characters. */
export function* hexLines(bytes: Uint8Array): Generator<string> {
  for (let at = 0; at < bytes.length; at += BYTES_A_LINE) {
    const part = [...bytes.subarray(at, at + BYTES_A_LINE)]
    const hex = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const ascii = part.map((byte) => (isVisible(byte) ? String.fromCharCode(byte) : '.')).join('')
    yield `${at.toString(16).padStart(8, '0')}  ${hex.padEnd(3 * BYTES_A_LINE)} ${ascii}`
  }
}
