import { createHmac, createSecretKey, hash, timingSafeEqual } from 'node:crypto'

/** The two headers by which the sender proves itself, as Node gives them: a header sent twice comes joined by a comma, and so matches nothing. */
export interface Credentials {
  readonly signature: string | undefined
  readonly token: string | undefined
}

/** Names of the secret and the token that matched, for the metrics that show when an old one is no longer used. */
export interface Authenticated {
  readonly secret: string
  readonly token: string
}

export type Authenticate = (body: Uint8Array, credentials: Credentials) => Authenticated | undefined

const signatureForm = /^sha256=([0-9a-f]{64})$/i

const digest = (value: string): Buffer => hash('sha256', value, 'buffer')

/**
 * Checks the signature over the raw body and the static token. Every secret and every token is tried and every comparison takes constant time, so
 * the answer's delay tells nothing of which part failed, nor how far it matched.
 */
export const createAuthenticate = (secrets: ReadonlyMap<string, string>, tokens: ReadonlyMap<string, string>): Authenticate => {
  // A KeyObject once: createHmac with a raw key costs five times as much on Node 24.
  const keys = [...secrets].map(([name, secret]) => ({ name, key: createSecretKey(Buffer.from(secret)) }))
  // Digests have one length, as timingSafeEqual demands, and hide the token's.
  const digests = [...tokens].map(([name, token]) => ({ name, digest: digest(token) }))
  const nothing = Buffer.alloc(32)

  return (body, { signature, token }) => {
    const hex = signatureForm.exec(signature ?? '')?.[1]
    const given = hex === undefined ? nothing : Buffer.from(hex, 'hex')
    const givenToken = digest(token ?? '')
    let secretName: string | undefined
    let tokenName: string | undefined
    for (const { name, key } of keys) {
      if (timingSafeEqual(createHmac('sha256', key).update(body).digest(), given)) secretName = name
    }
    for (const { name, digest } of digests) {
      if (timingSafeEqual(digest, givenToken)) tokenName = name
    }
    return hex !== undefined && secretName !== undefined && token !== undefined && tokenName !== undefined
      ? { secret: secretName, token: tokenName }
      : undefined
  }
}
