import { isAscii, isUtf8 } from 'node:buffer'
import { createHmac, createSecretKey, hash, type KeyObject, timingSafeEqual } from 'node:crypto'
import { declaredEncoding, decodeText } from '@customer-stream/schemas'

/** Headers of a request as Node gives them: a header sent twice comes joined by a comma, and so matches nothing. */
export interface Credentials {
  readonly signature: string | undefined
  readonly token: string | undefined
  /** Content type of the body: its charset may be needed to find the bytes that were signed. */
  readonly contentType?: string | undefined
}

/** Names of the secret and the token that matched, for the metrics that show when an old one is no longer used. */
export interface Authenticated {
  /** `none` if signatures are not checked. */
  readonly secret: string
  /** `none` if tokens are not checked. */
  readonly token: string
  /** Charset of the body, if the signature was over the same text in another charset and so proved it. */
  readonly encoding?: string
}

export interface Authenticate {
  (body: Buffer, credentials: Credentials): Authenticated | undefined
  /** Request headers without which no request is authentic. */
  readonly requiredHeaders: readonly string[]
}

export const SIGNATURE_HEADER = 'mykaarma-signature-token'
export const TOKEN_HEADER = 'x-authorization-token'

const signatureForm = /^sha256=([0-9a-f]{64})$/i

const digest = (value: string): Buffer => hash('sha256', value, 'buffer')

/** Encodes a text in a charset of one byte a character. As in Java, `?` stands for characters that it lacks. */
const encodeSingleByte = (text: string, encoding: string): Buffer | undefined => {
  const decoder = new TextDecoder(encoding)
  const byteOf = new Map<string, number>()
  for (let byte = 0xff; byte >= 0; byte--) byteOf.set(decoder.decode(Uint8Array.of(byte)), byte)
  // Fewer characters than bytes: the charset has characters of several bytes.
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
  /** Bytes that the sender may have signed. */
  readonly signed: Buffer
  /** Charset of the body as it was sent, if they are the ones. */
  readonly encoding: string
}

/**
 * The body's text in the charset that the sender may have signed: an HTTP client that is given a text signs its UTF-8, and then writes
 * it as ISO-8859-1 if no charset was set, a default of some Java clients. Or the other way round.
 */
const transcode = (body: Buffer, contentType: string | undefined): Transcoded | undefined => {
  const declared = declaredEncoding(contentType)
  const other = declared === undefined || declared === 'utf-8' ? 'windows-1252' : declared
  const isUtf16 = other.startsWith('utf-16')
  // In charsets that contain ASCII both forms are the same bytes.
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
 * Checks the signature over the raw body and the static token, each only if its secrets are given. Every secret and every token is tried
 * and every comparison takes constant time, so the answer's delay does not tell how far a secret matched. The body is transcoded only
 * for a sender whose token is right: no one else can spend this time.
 */
export const createAuthenticate = ({
  secrets,
  tokens,
}: {
  secrets?: ReadonlyMap<string, string> | undefined
  tokens?: ReadonlyMap<string, string> | undefined
}): Authenticate => {
  // A KeyObject once: createHmac with a raw key costs five times as much on Node 24.
  const keys = secrets && [...secrets].map(([name, secret]) => ({ name, key: createSecretKey(Buffer.from(secret)) }))
  // Digests have one length, as timingSafeEqual demands, and hide the token's.
  const digests = tokens && [...tokens].map(([name, token]) => ({ name, digest: digest(token) }))

  const tokenName = (token: string | undefined): string | undefined => {
    if (!digests) return 'none'
    const given = digest(token ?? '')
    let found: string | undefined
    for (const { name, digest } of digests) {
      if (timingSafeEqual(digest, given)) found = name
    }
    return token === undefined ? undefined : found
  }
  const secretName = (signed: Buffer, given: Buffer, known: readonly { name: string; key: KeyObject }[]): string | undefined => {
    let found: string | undefined
    for (const { name, key } of known) {
      if (timingSafeEqual(createHmac('sha256', key).update(signed).digest(), given)) found = name
    }
    return found
  }
  const nothing = Buffer.alloc(32)

  const authenticate = (body: Buffer, { signature, token: givenToken, contentType }: Credentials): Authenticated | undefined => {
    const token = tokenName(givenToken)
    if (!keys) return token === undefined ? undefined : { secret: 'none', token }
    const hex = signatureForm.exec(signature ?? '')?.[1]
    const given = hex === undefined ? nothing : Buffer.from(hex, 'hex')
    const secret = secretName(body, given, keys)
    if (hex === undefined || token === undefined) return undefined
    if (secret !== undefined) return { secret, token }
    const transcoded = transcode(body, contentType)
    if (!transcoded) return undefined
    const otherSecret = secretName(transcoded.signed, given, keys)
    return otherSecret === undefined ? undefined : { secret: otherSecret, token, encoding: transcoded.encoding }
  }
  return Object.assign(authenticate, { requiredHeaders: [...(keys ? [SIGNATURE_HEADER] : []), ...(digests ? [TOKEN_HEADER] : [])] })
}
