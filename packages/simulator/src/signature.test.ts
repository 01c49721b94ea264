import { expect, test } from 'vitest'
import { sign, signingKey } from './signature.ts'

// The vector is test case 2 of RFC 4231.
const BODY = 'what do ya want for nothing?'
const SIGNATURE = 'sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'

test('a signature is the HMAC-SHA256 of the body in hex, as openssl prints it', () => {
  expect(sign(BODY, 'Jefe')).toBe(SIGNATURE)
})

test('text and bytes give the same signature, and so do a secret and its prepared key', () => {
  expect(sign(Buffer.from(BODY), signingKey('Jefe'))).toBe(SIGNATURE)
  expect(sign('José 🚗', 's')).toBe(sign(Buffer.from('José 🚗'), 's'))
})
