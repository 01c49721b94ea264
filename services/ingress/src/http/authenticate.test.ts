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
  expect(authenticate(body, { signature, token })).toHaveProperty('failedCheck')
})

it.each([
  ['signature-missing', 'claimed', undefined, undefined],
  ['signature-missing', 'proven', undefined, 'token-1'],
  ['signature-malformed', 'claimed', 'sha256=00', 'token-3'],
  ['signature-malformed', 'proven', `${sign('secret-1')}, ${sign('secret-1')}`, 'token-1'],
  ['token-missing', 'claimed', sign('secret-3'), undefined],
  ['token-missing', 'proven', sign('secret-1'), undefined],
  ['token-unknown', 'claimed', sign('secret-3'), 'token-3'],
  ['token-unknown', 'proven', sign('secret-1'), 'token-3'],
  ['signature-wrong', 'proven', sign('secret-3'), 'token-1'],
])('the refusal names the failed check "%s", and the sender is %s', (failedCheck, sender, signature, token) => {
  expect(authenticate(body, { signature, token })).toEqual({ failedCheck, sender })
})

it('a known token proves the sender before the body arrives', () => {
  expect(['token-2', 'token-3', '', undefined].map(authenticate.senderOf)).toEqual([
    'proven',
    'claimed',
    'claimed',
    'claimed',
  ])
})

it('only a configured check can fail, and a sender that fails the only check is not proven', () => {
  const unsigned = createAuthenticate({ tokens })
  expect(unsigned(body, { signature: undefined, token: 'token-3' })).toEqual({
    failedCheck: 'token-unknown',
    sender: 'claimed',
  })
  const withoutToken = createAuthenticate({ secrets })
  expect(withoutToken(body, { signature: sign('secret-3'), token: undefined })).toEqual({
    failedCheck: 'signature-wrong',
    sender: 'claimed',
  })
  expect(withoutToken.senderOf('token-1')).toBe('claimed')
})
