import { createHash } from 'node:crypto'

export const sha256 = (body: string | Uint8Array): string => createHash('sha256').update(body).digest('hex')

/**
 * Returns a text that identifies an event's key and bytes. The key is part of the text, because the
 * key decides in which partition subscribers find a customer's events.
 */
export const fingerprint = (customerUuid: string | null, bodySha256: string): string =>
  `${customerUuid ?? ''} ${bodySha256}`
