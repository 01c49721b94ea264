import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import forge from 'node-forge'

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
   * @param notAfter the end of the certificate. Default: in a day.
   */
  issue(name: string, hosts?: readonly string[], notAfter?: Date): Certificate
  /** Issues a certificate for a client, with a key that OpenSSL refuses because it is too short. */
  issueWeak(name: string): Certificate
}

const DAY_MS = 86_400_000

interface Issuer {
  readonly name: string
  readonly key: forge.pki.rsa.PrivateKey
}

const tomorrow = () => new Date(Date.now() + DAY_MS)

interface Made {
  readonly name: string
  readonly extensions?: readonly object[]
  readonly notAfter?: Date
  /** Default: the certificate signs itself. */
  readonly issuer?: Issuer
  readonly keyBits?: number
}

const create = ({ name, extensions = [], notAfter = tomorrow(), issuer, keyBits = 2048 }: Made) => {
  // Node generates the keys, because forge is slow at this.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: keyBits })
  const key = forge.pki.privateKeyFromPem(privateKey.export({ type: 'pkcs1', format: 'pem' }).toString())
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = forge.pki.setRsaPublicKey(key.n, key.e)
  certificate.serialNumber = `01${randomBytes(8).toString('hex')}`
  certificate.validity.notBefore = new Date(Math.min(Date.now(), notAfter.getTime()) - DAY_MS)
  certificate.validity.notAfter = notAfter
  certificate.setSubject([{ name: 'commonName', value: name }])
  certificate.setIssuer([{ name: 'commonName', value: issuer?.name ?? name }])
  certificate.setExtensions([...extensions])
  certificate.sign(issuer?.key ?? key, forge.md.sha256.create())
  // Kafka reads a key only as PKCS #8.
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { key, pem, cert: forge.pki.certificateToPem(certificate) }
}

/**
 * Creates an authority and its certificates, for tests of TLS.
 * @param end the end of the authority's own certificate. Default: in a day.
 */
export const createAuthority = (name = 'test authority', end = tomorrow()): Authority => {
  const { key, cert } = create({ name, extensions: [{ name: 'basicConstraints', cA: true }], notAfter: end })
  const issue = (made: Made): Certificate => {
    const issued = create({ ...made, issuer: { name, key } })
    return { cert: issued.cert, key: issued.pem }
  }
  return {
    ca: cert,
    issue: (subject, hosts = [], notAfter = tomorrow()) => {
      const altNames = hosts.map((host) => (isIP(host) ? { type: 7, ip: host } : { type: 2, value: host }))
      const extensions = altNames.length > 0 ? [{ name: 'subjectAltName', altNames }] : []
      return issue({ name: subject, extensions, notAfter })
    },
    issueWeak: (subject) => issue({ name: subject, keyBits: 1024 }),
  }
}
