import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'

export interface TlsFiles {
  /** Certificates in PEM format, one after another. */
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

const certificate = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----[^-]+-----END (TRUSTED |X509 )?CERTIFICATE-----/g

/**
 * Returns all certificates of a PEM text.
 * @throws an error that begins with the name of the setting.
 */
export const certificatesOf = (name: string, pem: string): X509Certificate[] => {
  const blocks = pem.match(certificate) ?? []
  if (blocks.length === 0) throw new Error(`${name} has no certificate in PEM format`)
  if (blocks.length < (pem.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----/g)?.length ?? 0))
    throw new Error(`${name} ends within a certificate`)
  return blocks.map((block, i) => {
    try {
      return new X509Certificate(block)
    } catch {
      throw new Error(`${name}: certificate ${i + 1} of ${blocks.length} is damaged`)
    }
  })
}

/**
 * Returns true if a client certificate has expired. Servers refuse a handshake with an expired
 * certificate.
 */
export const hasExpired = (name: string, pem: string | undefined): boolean =>
  pem !== undefined && certificatesOf(name, pem).some(({ validToDate }) => validToDate.getTime() < Date.now())

/**
 * Returns a sentence about a wrong certificate or key, or undefined. Without this check, Node
 * silently ignores an invalid authority, and reports a wrong key only at each connection.
 * @param prefix the beginning of the settings' names, for example `REDIS_TLS`.
 */
export const tlsProblem = (prefix: string, { ca, cert, key }: TlsFiles): string | undefined => {
  if ((cert === undefined) !== (key === undefined))
    return `${prefix}_CERT and ${prefix}_KEY belong together: give both or neither`
  try {
    if (ca !== undefined) certificatesOf(`${prefix}_CA`, ca)
    if (cert === undefined || key === undefined) return undefined
    const [own] = certificatesOf(`${prefix}_CERT`, cert) as [X509Certificate]
    return keyProblem(prefix, own, key) ?? refusal(prefix, cert, key)
  } catch (error) {
    return (error as Error).message
  }
}

const keyProblem = (prefix: string, own: X509Certificate, pem: string): string | undefined => {
  try {
    const key = createPrivateKey(pem)
    return own.checkPrivateKey(key)
      ? undefined
      : `${prefix}_KEY is not the key of the first certificate in ${prefix}_CERT`
  } catch {
    return `${prefix}_KEY has no private key in PEM format without a passphrase`
  }
}

/** Returns the problem if OpenSSL refuses the certificate, for example because its key is short. */
const refusal = (prefix: string, cert: string, key: string): string | undefined => {
  try {
    createSecureContext({ cert, key })
    return undefined
  } catch (error) {
    const { reason, message } = error as Error & { readonly reason?: string }
    return `${prefix}_CERT is refused by OpenSSL: ${reason ?? message}`
  }
}

type TlsSettings<Prefix extends string> = {
  readonly [Name in `${Prefix}_${'CA' | 'CERT' | 'KEY'}`]?: string | undefined
}

/**
 * Returns the authority, the certificate and the key as getters. A client reads the getters for
 * each new connection, so a connection uses the certificates that the settings have at that time.
 */
export const currentTls = <const Prefix extends string>(settings: TlsSettings<Prefix>, prefix: Prefix) => ({
  get ca() {
    return settings[`${prefix}_CA`]
  },
  get cert() {
    return settings[`${prefix}_CERT`]
  },
  get key() {
    return settings[`${prefix}_KEY`]
  },
})
