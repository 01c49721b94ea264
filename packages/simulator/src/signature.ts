import { createHmac, createSecretKey, type KeyObject } from 'node:crypto'

/** Prepares the key for a secret. An HMAC with a raw key takes five times as long (Node 24). */
export function signingKey(secret: string): KeyObject {
  return createSecretKey(secret, 'utf8')
}

/**
 * Returns the value of the header `mykaarma-signature-token`: `sha256=` and the HMAC-SHA256 of the
 * raw body in lower-case hex.
 */
export function sign(body: Uint8Array | string, secret: string | KeyObject): string {
  const key = typeof secret === 'string' ? signingKey(secret) : secret
  return `sha256=${createHmac('sha256', key).update(body).digest('hex')}`
}
