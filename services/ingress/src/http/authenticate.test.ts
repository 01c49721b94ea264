import { createHmac } from 'node:crypto'
import { expect, it } from 'vitest'
import { createAuthenticate } from './authenticate.ts'

const body = Buffer.from('{"id": "e",  "n": 12345678901234567890}')
const sign = (secret: string, bytes: Uint8Array = body) =>
  `sha256=${createHmac('sha256', secret).update(bytes).digest('hex')}`
const secrets = new Map([
  ['old', 'secret-1'],
  ['new', 'secret-2'],
])
const tokens = new Map([
  ['a', 'token-1'],
  ['b', 'token-2'],
])
const authenticate = createAuthenticate({ secrets, tokens })

it('authentication accepts any valid pair of secret and token, and returns their names', () => {
  expect(authenticate(body, { signature: sign('secret-1'), token: 'token-2' })).toEqual({ secret: 'old', token: 'b' })
  expect(authenticate(body, { signature: sign('secret-2'), token: 'token-1' })).toEqual({ secret: 'new', token: 'a' })
})

it('authentication accepts a signature in upper case', () => {
  expect(authenticate(body, { signature: sign('secret-1').toUpperCase(), token: 'token-1' })).toBeDefined()
})

it.each([
  ['no signature', undefined, 'token-1'],
  ['an empty signature', '', 'token-1'],
  ['a signature without its prefix', sign('secret-1').slice(7), 'token-1'],
  ['a truncated signature', sign('secret-1').slice(0, -2), 'token-1'],
  ['a signature with extra characters', `${sign('secret-1')}00`, 'token-1'],
  ['two signatures', `${sign('secret-1')}, ${sign('secret-1')}`, 'token-1'],
  ['another secret', sign('secret-3'), 'token-1'],
  ['another body', sign('secret-1', Buffer.from('{}')), 'token-1'],
  ['all zeros', `sha256=${'0'.repeat(64)}`, 'token-1'],
  ['no token', sign('secret-1'), undefined],
  ['an empty token', sign('secret-1'), ''],
  ['a wrong token', sign('secret-1'), 'token-3'],
  ['the beginning of a token', sign('secret-1'), 'token-'],
  ['two tokens', sign('secret-1'), 'token-1, token-1'],
])('authentication refuses %s', (_, signature, token) => {
  expect(authenticate(body, { signature, token })).toBeUndefined()
})

it.each([
  ['signature missing', undefined, undefined],
  ['signature malformed', `${sign('secret-1')}, ${sign('secret-1')}`, 'token-1'],
  ['token missing', sign('secret-1'), undefined],
  ['token unknown', sign('secret-1'), 'token-3'],
  ['signature wrong', sign('secret-3'), 'token-1'],
])('the check "%s" is named for the log', (check, signature, token) => {
  expect(authenticate.failedCheck({ signature, token })).toBe(check)
})

it('only a configured check can fail', () => {
  const unsigned = createAuthenticate({ tokens })
  expect(unsigned.failedCheck({ signature: undefined, token: 'token-3' })).toBe('token unknown')
  const withoutToken = createAuthenticate({ secrets })
  expect(withoutToken.failedCheck({ signature: sign('secret-3'), token: undefined })).toBe('signature wrong')
})
