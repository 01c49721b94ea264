import { describe, expect, it } from 'vitest'
import { declaredEncoding, decodeText } from './charset.ts'

it.each([
  [undefined, undefined],
  ['text/plain', undefined],
  ['text/plain; charset=ISO-8859-1', 'windows-1252'],
  ['text/plain;charset="utf-8"', 'utf-8'],
  ['text/plain; boundary=x ; Charset = UTF-16', 'utf-16le'],
  ['text/plain; charset=ISO8859_1', 'windows-1252'],
  ['text/plain; charset=us-ascii', 'utf-8'],
  ['text/plain; charset=klingon', undefined],
  ['text/plain; charset=', undefined],
])('the encoding of the content type %s is %s', (contentType, encoding) => {
  expect(declaredEncoding(contentType)).toBe(encoding)
})

describe('decodeText', () => {
  const utf16be = Buffer.from('\ufeffé', 'utf16le').swap16()
  it.each([
    ['utf-8', Buffer.from('\ufeffé')],
    ['windows-1252', Buffer.from('é', 'latin1')],
    ['utf-16le', Buffer.from('é', 'utf16le')],
    ['utf-16be', Buffer.from('é', 'utf16le').swap16()],
    ['utf-16le', utf16be],
  ])('decodeText reads %s, and drops a byte order mark', (encoding, bytes) => {
    expect(decodeText(bytes, encoding)).toBe('é')
  })

  it.each([
    ['utf-8', [0xe9]],
    ['utf-16le', [0x00, 0xd8]],
    ['shift_jis', [0x80]],
  ])('decodeText refuses bytes that are not %s instead of replacing them', (encoding, bytes) => {
    expect(() => decodeText(Uint8Array.from(bytes), encoding)).toThrow(TypeError)
  })
})
