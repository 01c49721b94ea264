import { hash, timingSafeEqual } from 'node:crypto'
import { type ApiKey, type ReaderSettings, SCOPES, type Scope } from '@customer-stream/configuration'

/** The API key of a request, and its rights. */
export interface Client {
  /** Name of the key. `none` if READER_AUTH is off. */
  readonly name: string
  /** Dealers whose customers the key may see. Undefined: all dealers. */
  readonly dealers: ReadonlySet<string> | undefined
  has(scope: Scope): boolean
  /**
   * Returns true if the key may see customers of this dealer. `undefined`: customers without a
   * dealer.
   */
  maySee(dealerUuid: string | undefined): boolean
}

export const FAILED_CHECKS = ['key-missing', 'key-malformed', 'key-unknown'] as const
/**
 * The check that a request failed. An answer must not name it, because the name would help an
 * attacker.
 */
export type FailedCheck = (typeof FAILED_CHECKS)[number]

export type Authenticate = (authorization: string | undefined) => Client | FailedCheck

const bearer = /^Bearer +([!-~]+) *$/i

const clientOf = ({ name, scopes, dealers }: Omit<ApiKey, 'sha256'>): Client => {
  const visible = dealers.includes('*') ? undefined : new Set(dealers)
  return {
    name,
    dealers: visible,
    has: (scope) => scopes.includes(scope),
    maySee: (dealerUuid) => visible === undefined || (dealerUuid !== undefined && visible.has(dealerUuid)),
  }
}

/** Returns the same client without the scope `pii`. */
export const withoutReveal = (client: Client): Client => ({
  ...client,
  has: (scope) => scope !== 'pii' && client.has(scope),
})

const ANYBODY = clientOf({ name: 'none', scopes: SCOPES, dealers: ['*'] })

/**
 * Compares the digest with all keys in constant time. Otherwise the delay of the answer would
 * reveal how much of a digest matched.
 */
const findClient = (
  given: string,
  known: readonly { readonly digest: Buffer; readonly client: Client }[],
): Client | undefined => {
  const digest = hash('sha256', given, 'buffer')
  let found: Client | undefined
  for (const each of known) if (timingSafeEqual(each.digest, digest)) found = each.client
  return found
}

/**
 * Checks each request with the current keys of the settings, because the file of the keys may
 * change.
 */
export const createAuthenticate = (settings: Pick<ReaderSettings, 'READER_AUTH' | 'READER_API_KEYS'>): Authenticate => {
  if (settings.READER_AUTH === 'off') return () => ANYBODY
  const prepare = () => {
    const keys = settings.READER_API_KEYS
    return { keys, known: keys.map((key) => ({ digest: Buffer.from(key.sha256, 'hex'), client: clientOf(key) })) }
  }
  let prepared = prepare()
  return (authorization) => {
    if (prepared.keys !== settings.READER_API_KEYS) prepared = prepare()
    if (authorization === undefined) return 'key-missing'
    const given = bearer.exec(authorization)?.[1]
    return given === undefined ? 'key-malformed' : (findClient(given, prepared.known) ?? 'key-unknown')
  }
}
