import { createHash } from 'node:crypto'

export const sha256 = (body: string | Uint8Array): string => createHash('sha256').update(body).digest('hex')

/** What tells one event's bytes from all others'. The key belongs to it, since a subscriber finds a customer's events in one partition by it. */
export const fingerprint = (customerUuid: string | null, bodySha256: string): string => `${customerUuid ?? ''} ${bodySha256}`
