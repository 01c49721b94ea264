import { createAuthority } from '@customer-stream/testing/certificates'
import { expect, it } from 'vitest'
import { tlsProblem } from './tls.ts'

const authority = createAuthority()
const { cert, key } = authority.issue('client')
const { key: otherKey } = authority.issue('other')
const bundle = Array.from({ length: 10 }, (_, i) => createAuthority(`authority ${i}`).ca)

it('TLS authorities, a certificate and its key are accepted', () => {
  expect(tlsProblem('X', {})).toBeUndefined()
  expect(tlsProblem('X', { ca: bundle.join('n# a comment\n'), cert: cert + authority.ca, key })).toBeUndefined()
})

it.each([
  ['a certificate without a key', { cert }, 'X_CERT and X_KEY belong together'],
  ['a key without a certificate', { key }, 'X_CERT and X_KEY belong together'],
  ['an authority that is not PEM', { ca: 'garbage' }, 'X_CA has no certificate in PEM format'],
  ['an authority that is a key', { ca: key }, 'X_CA has no certificate in PEM format'],
  [
    'a bundle with one damaged certificate',
    { ca: [...bundle, authority.ca.replace('MII', 'AAA')].join('') },
    'X_CA: certificate 11 of 11 is damaged',
  ],
  ['a bundle that is cut off', { ca: bundle.join('').slice(0, -100) }, 'X_CA ends within a certificate'],
  ['a certificate that is not PEM', { cert: 'garbage', key }, 'X_CERT has no certificate in PEM format'],
  ['a key that is not PEM', { cert, key: 'garbage' }, 'X_KEY has no private key in PEM format without a passphrase'],
  [
    'the key of another certificate',
    { cert, key: otherKey },
    'X_KEY is not the key of the first certificate in X_CERT',
  ],
  ['a key that is too short', authority.issueWeak('weak'), 'X_CERT is refused by OpenSSL: ee key too small'],
])('the TLS settings refuse %s', (_, files, problem) => {
  expect(tlsProblem('X', files)).toContain(problem)
})
