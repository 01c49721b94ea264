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
}

const DAY_MS = 86_400_000

interface Issuer {
  readonly name: string
  readonly key: forge.pki.rsa.PrivateKey
}

const tomorrow = () => new Date(Date.now() + DAY_MS)

/** Creates a certificate. Without an issuer, the certificate signs itself. */
const create = (name: string, extensions: readonly object[], notAfter: Date, issuer?: Issuer) => {
  // Node generates the keys, because forge is slow at this.
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
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
  return { key, cert: forge.pki.certificateToPem(certificate) }
}

/** Creates an authority and its certificates, for tests of TLS. */
export const createAuthority = (name = 'test authority'): Authority => {
  const { key, cert } = create(name, [{ name: 'basicConstraints', cA: true }], tomorrow())
  return {
    ca: cert,
    issue: (subject, hosts = [], notAfter = tomorrow()) => {
      const altNames = hosts.map((host) => (isIP(host) ? { type: 7, ip: host } : { type: 2, value: host }))
      const extensions = altNames.length > 0 ? [{ name: 'subjectAltName', altNames }] : []
      const issued = create(subject, extensions, notAfter, { name, key })
      return { cert: issued.cert, key: forge.pki.privateKeyToPem(issued.key) }
    },
  }
}
