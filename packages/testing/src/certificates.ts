import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'

/** A certificate and its private key, both PEM. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface Authority {
  /** Certificate of the authority, in PEM format. */
  readonly ca: string
  /**
   * Issues a certificate.
   * @param hosts names and addresses of the server. Empty for a client.
   * @param notAfter the time at which the certificate expires. Default: in one day.
   */
  issue(name: string, hosts?: readonly string[], notAfter?: Date): Certificate
  /** Issues a certificate for a client, with a key that OpenSSL refuses because it is too short. */
  issueWeak(name: string): Certificate
}

const DAY_MS = 86_400_000

interface Issuer {
  readonly name: string
  readonly key: KeyObject
}

const tomorrow = () => new Date(Date.now() + DAY_MS)

interface Made {
  readonly name: string
  readonly extensions?: readonly Buffer[]
  readonly notAfter?: Date
  /** Default: the certificate signs itself. */
  readonly issuer?: Issuer
  /**
   * Default: a key of P-256. With an RSA key, a handshake would take a broker ten times as much CPU
   * time.
   */
  readonly rsaBits?: number
}

/**
 * Encodes a value in DER (X.690), the encoding of certificates. node-forge makes no certificates
 * with EC keys, and @peculiar/x509 would add 14 packages to replace 20 lines.
 */
const der = (tag: number, ...parts: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
const sequence = (...parts: readonly Uint8Array[]) => der(0x30, ...parts)
const bits = (content: Uint8Array) => der(0x03, Buffer.of(0), content)
const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))
/** Returns a name that has only a commonName. */
const distinguishedName = (name: string) => sequence(der(0x31, sequence(oid('550403'), der(0x0c, Buffer.from(name)))))
const time = (date: Date) => der(0x17, Buffer.from(`${date.toISOString().slice(2, 19).replaceAll(/[-T:]/g, '')}Z`))
const extension = (id: string, value: Uint8Array) => sequence(oid(id), der(0x04, value))
const AUTHORITY = extension('551d13', sequence(der(0x01, Buffer.of(0xff)))) // basicConstraints: cA
const ECDSA_WITH_SHA256 = sequence(oid('2a8648ce3d040302'))

/** Returns the extension subjectAltName. */
const altNames = (hosts: readonly string[]): Buffer => {
  const address = (host: string) => Buffer.from(host.split('.').map(Number))
  const names = hosts.map((host) => (isIP(host) ? der(0x87, address(host)) : der(0x82, Buffer.from(host))))
  return extension('551d11', sequence(...names))
}

const create = ({ name, extensions = [], notAfter = tomorrow(), issuer, rsaBits }: Made) => {
  const { privateKey: key, publicKey } =
    rsaBits === undefined
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: rsaBits })
  const signed = sequence(
    der(0xa0, der(0x02, Buffer.of(2))), // version 3
    der(0x02, Buffer.of(1), randomBytes(8)), // serial number
    ECDSA_WITH_SHA256,
    distinguishedName(issuer?.name ?? name),
    sequence(time(new Date(Math.min(Date.now(), notAfter.getTime()) - DAY_MS)), time(notAfter)),
    distinguishedName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length > 0 ? [der(0xa3, sequence(...extensions))] : []),
  )
  const certificate = sequence(signed, ECDSA_WITH_SHA256, bits(sign('sha256', signed, issuer?.key ?? key)))
  const lines = certificate.toString('base64').replaceAll(/.{64}/g, '$&\n').trimEnd()
  return {
    key,
    // Kafka reads a key only as PKCS #8.
    pem: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
  }
}

/**
 * Creates an authority and its certificates, for tests of TLS.
 * @param end the time at which the authority's own certificate expires. Default: in one day.
 */
export const createAuthority = (name = 'test authority', end = tomorrow()): Authority => {
  const { key, cert } = create({ name, extensions: [AUTHORITY], notAfter: end })
  const issue = (made: Made): Certificate => {
    const issued = create({ ...made, issuer: { name, key } })
    return { cert: issued.cert, key: issued.pem }
  }
  return {
    ca: cert,
    issue: (subject, hosts = [], notAfter = tomorrow()) => {
      const extensions = hosts.length > 0 ? [altNames(hosts)] : []
      return issue({ name: subject, extensions, notAfter })
    },
    issueWeak: (subject) => issue({ name: subject, rsaBits: 1024 }),
  }
}
