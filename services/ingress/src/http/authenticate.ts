import { isAscii, isUtf8 } from 'node:buffer'
import { createHmac, createSecretKey, hash, type KeyObject, timingSafeEqual } from 'node:crypto'
import { declaredEncoding, decodeText } from '@customer-stream/schemas'

/**
 * Headers of a request. A repeated header matches no secret, because Node joins the values with
 * commas.
 */
export interface Credentials {
  readonly signature: string | undefined
  readonly token: string | undefined
  /** Content type of the body. Its charset helps to find the bytes that the sender has signed. */
  readonly contentType?: string | undefined
}

/**
 * Names of the matching secret and token. Metrics count requests by these names. So the metrics
 * show when the rotation of a secret is complete.
 */
export interface Authenticated {
  /** `none` if signatures are not checked. */
  readonly secret: string
  /** `none` if tokens are not checked. */
  readonly token: string
  /**
   * Charset of the body, if the sender signed the same text in another charset. Otherwise
   * undefined.
   */
  readonly encoding?: string
}

export const FAILED_CHECKS = [
  'signature-missing',
  'signature-malformed',
  'token-missing',
  'token-unknown',
  'signature-wrong',
] as const

/**
 * `proven`: the request has a known token, or its body has a correct signature. A stranger can send
 * neither. `claimed`: any other request.
 */
export const SENDERS = ['proven', 'claimed'] as const
export type Sender = (typeof SENDERS)[number]

/**
 * Result for a request that is not authentic. The answer must not contain these facts, because they
 * would help an attacker.
 */
export interface NotAuthenticated {
  /** The first check that the request fails. */
  readonly failedCheck: (typeof FAILED_CHECKS)[number]
  readonly sender: Sender
}

export interface Authenticate {
  (body: Buffer, credentials: Credentials): Authenticated | NotAuthenticated
  /** Names of the headers that each authentic request must have. */
  readonly requiredHeaders: readonly string[]
  /**
   * Returns `proven` if the token alone proves the sender. Needed for a request whose body has not
   * arrived completely.
   */
  senderOf(token: string | undefined): Sender
}

export const SIGNATURE_HEADER = 'mykaarma-signature-token'
export const TOKEN_HEADER = 'x-authorization-token'

const signatureForm = /^sha256=([0-9a-f]{64})$/i

const digest = (value: string): Buffer => hash('sha256', value, 'buffer')

/**
 * Encodes a text in a single-byte charset. Writes `?` for each character that the charset lacks, as
 * Java does.
 */
const encodeSingleByte = (text: string, encoding: string): Buffer | undefined => {
  const decoder = new TextDecoder(encoding)
  const byteOf = new Map<string, number>()
  for (let byte = 0xff; byte >= 0; byte--) byteOf.set(decoder.decode(Uint8Array.of(byte)), byte)
  // A single-byte charset has at least 0xf0 characters.
  if (byteOf.size < 0xf0) return undefined
  const question = 0x3f
  return Buffer.from(Array.from(text, (character) => byteOf.get(character) ?? question))
}

const encodeText = (text: string, encoding: string): Buffer | undefined => {
  if (encoding === 'utf-16le') return Buffer.from(text, 'utf16le')
  if (encoding === 'utf-16be') return Buffer.from(text, 'utf16le').swap16()
  return encodeSingleByte(text, encoding)
}

interface Transcoded {
  /** Bytes of the body's text in another charset. The sender may have signed these bytes. */
  readonly signed: Buffer
  /** Charset of the body, if the sender signed these bytes. */
  readonly encoding: string
}

/**
 * Encodes the body's text in another charset, because the sender may have signed the text in that
 * charset. Example: a program signs the text as UTF-8, and its HTTP client sends the text as
 * ISO-8859-1, or the reverse.
 */
const transcode = (body: Buffer, contentType: string | undefined): Transcoded | undefined => {
  const declared = declaredEncoding(contentType)
  const other = declared === undefined || declared === 'utf-8' ? 'windows-1252' : declared
  const isUtf16 = other.startsWith('utf-16')
  // An ASCII text has the same bytes in all single-byte charsets and in UTF-8.
  if (isAscii(body) && !isUtf16) return undefined
  try {
    const sentAsUtf8 = isUtf8(body) && !(isUtf16 && body.includes(0))
    if (!sentAsUtf8) return { signed: Buffer.from(decodeText(body, other)), encoding: other }
    const signed = encodeText(decodeText(body), other)
    return signed && { signed, encoding: 'utf-8' }
  } catch {
    return undefined
  }
}

/**
 * Checks the static token, and the signature over the raw body. Skips a check that is switched off.
 * Compares all secrets and tokens in constant time. Otherwise the delay of the answer would reveal
 * how much of a secret matched. Transcodes only the body of a request with a correct token, because
 * transcoding takes time.
 */
export const createAuthenticate = ({
  secrets,
  tokens,
}: {
  secrets?: ReadonlyMap<string, string> | undefined
  tokens?: ReadonlyMap<string, string> | undefined
}): Authenticate => {
  // Create each KeyObject once, because `createHmac` with a raw key takes five times as long.
  const keys = secrets && [...secrets].map(([name, secret]) => ({ name, key: createSecretKey(Buffer.from(secret)) }))
  // Compare digests, because `timingSafeEqual` needs inputs of equal length. Digests also hide the
  // token's length.
  const digests = tokens && [...tokens].map(([name, token]) => ({ name, digest: digest(token) }))

  const tokenName = (token: string | undefined): string | undefined => {
    if (!digests) return 'none'
    const given = digest(token ?? '')
    let found: string | undefined
    for (const { name, digest: expected } of digests) {
      if (timingSafeEqual(expected, given)) found = name
    }
    return token === undefined ? undefined : found
  }
  const secretName = (
    signed: Buffer,
    given: Buffer,
    known: readonly { name: string; key: KeyObject }[],
  ): string | undefined => {
    let found: string | undefined
    for (const { name, key } of known) {
      if (timingSafeEqual(createHmac('sha256', key).update(signed).digest(), given)) found = name
    }
    return found
  }
  const nothing = Buffer.alloc(32)
  const senderOf = (token: string | undefined): Sender =>
    digests && tokenName(token) !== undefined ? 'proven' : 'claimed'

  const authenticate = (
    body: Buffer,
    { signature, token: givenToken, contentType }: Credentials,
  ): Authenticated | NotAuthenticated => {
    const token = tokenName(givenToken)
    const failed = (failedCheck: NotAuthenticated['failedCheck'], signedBy?: string): NotAuthenticated => ({
      failedCheck,
      sender: signedBy === undefined ? senderOf(givenToken) : 'proven',
    })
    const failedToken = givenToken === undefined ? 'token-missing' : 'token-unknown'
    if (!keys) return token === undefined ? failed(failedToken) : { secret: 'none', token }
    const hex = signatureForm.exec(signature ?? '')?.[1]
    const given = hex === undefined ? nothing : Buffer.from(hex, 'hex')
    const secret = secretName(body, given, keys)
    if (hex === undefined) return failed(signature === undefined ? 'signature-missing' : 'signature-malformed')
    if (token === undefined) return failed(failedToken, secret)
    if (secret !== undefined) return { secret, token }
    const transcoded = transcode(body, contentType)
    if (!transcoded) return failed('signature-wrong')
    const otherSecret = secretName(transcoded.signed, given, keys)
    if (otherSecret === undefined) return failed('signature-wrong')
    return { secret: otherSecret, token, encoding: transcoded.encoding }
  }
  return Object.assign(authenticate, {
    senderOf,
    requiredHeaders: [...(keys ? [SIGNATURE_HEADER] : []), ...(digests ? [TOKEN_HEADER] : [])],
  })
}
