import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { mountVolume, type ServiceName } from '@customer-stream/testing'
import { type Authority, createAuthority } from '@customer-stream/testing/certificates'
import { blocked, refusingNothing, type Scenario, type Symptom } from './scenario.ts'
import { type Site, type SiteEnv, withoutLogin } from './site.ts'

const SERVICES = ['ingress', 'projector'] as const

/** Client certificate of a service. Without `notAfter` it expires in a day. */
interface Client {
  readonly authority: Authority
  readonly name: string
  readonly notAfter?: Date
}

/** Mounts the certificates of a service, and returns the settings that name the files. */
const mount = (folder: string, service: ServiceName, kafka: Client, redis: Client) => {
  const volume = join(folder, `volume-${service}`)
  const issue = ({ authority, name, notAfter }: Client) => authority.issue(name, [], notAfter)
  const [forKafka, forRedis] = [issue(kafka), issue(redis)]
  mountVolume(volume, {
    'kafka.crt': forKafka.cert,
    'kafka.key': forKafka.key,
    'redis.crt': forRedis.cert,
    'redis.key': forRedis.key,
  })
  return {
    kafka: { KAFKA_SSL_CERT_FILE: join(volume, 'kafka.crt'), KAFKA_SSL_KEY_FILE: join(volume, 'kafka.key') },
    redis: { REDIS_TLS_CERT_FILE: join(volume, 'redis.crt'), REDIS_TLS_KEY_FILE: join(volume, 'redis.key') },
  }
}

const inFiles: SiteEnv = ({ brokers }, folder, { userOf }) => {
  const { authority, addresses } = brokers.kafka
  const shared = {
    ...withoutLogin(addresses.mutualTls),
    KAFKA_SSL: 'true',
    KAFKA_SSL_CA: authority.ca,
    SECRET_FILES_CHECK_MS: '500',
  }
  const [ingress, projector] = SERVICES.map((service) => {
    const client = { authority, name: userOf(service) }
    return mount(folder, service, client, client)
  })
  return {
    ingress: { ...shared, ...ingress!.kafka },
    projector: { ...shared, ...projector!.kafka, REDIS_TLS_CA: authority.ca, ...projector!.redis },
  }
}

/** Resolves when both services use the certificates in their files. */
const untilUsed = (site: Site) =>
  waitUntil(
    'both services use the changed certificates',
    () => Promise.all(SERVICES.map((service) => site[service].log())),
    (logs) => logs.every((log) => log.includes('secrets-changed')),
  )

/** Closes all connections, because a server keeps connections whose certificate has expired. */
const closeConnections = async (site: Site): Promise<void> => {
  site.shared.brokers.kafka.closeMutualTls()
  await site.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
}

const logged = (service: ServiceName, words: RegExp): Symptom => ({
  see: async (site) => (words.test(await site[service].log()) ? `${service}: the log has the reason` : undefined),
})

/** Scenario: a certificate expires while both services run, and a person renews the certificate. */
const expires = (name: string, server: 'kafka' | 'redis', services: readonly ServiceName[], says: RegExp): Scenario => {
  const mountAll = (site: Site, notAfter?: Date): void => {
    for (const service of SERVICES) {
      const client = { authority: site.shared.brokers.kafka.authority, name: site.userOf(service) }
      const expiring = { ...client, ...(notAfter && { notAfter }) }
      mount(site.folder, service, server === 'kafka' ? expiring : client, server === 'redis' ? expiring : client)
    }
  }
  return {
    name,
    options: { env: inFiles, privateRedis: 'tls' },
    break: async (site) => {
      const end = Date.now() + 4000
      mountAll(site, new Date(end))
      await untilUsed(site)
      await waitUntil(
        'the certificates have expired',
        async () => Date.now(),
        (now) => now > end,
      )
      await closeConnections(site)
    },
    symptoms: services.flatMap((service) => [{ of: service, says: [says] }, logged(service, says), blocked(service)]),
    keepsRunning: true,
    repair: async (site) => mountAll(site),
  }
}

export const certificates: readonly Scenario[] = [
  expires(
    'the client certificates for Kafka expire while both services run',
    'kafka',
    SERVICES,
    /KAFKA_SSL_CERT, which has expired/,
  ),
  expires(
    'the client certificate for Redis expires while the projector runs',
    'redis',
    ['projector'],
    /client certificate, which has expired.*REDIS_TLS_CERT/,
  ),
  {
    name: 'client certificates are replaced in their files before the old certificates lose all rights',
    options: { env: inFiles, privateRedis: 'tls' },
    break: (site) =>
      refusingNothing(site, async () => {
        const renewed = createAuthority('renewed authority')
        const { authority } = site.shared.brokers.kafka
        for (const service of SERVICES) {
          const name = `${site.userOf(service)}-renewed`
          await site.grantAll(service, name)
          mount(site.folder, service, { authority, name }, { authority: renewed, name })
        }
        await untilUsed(site)
        const ca = join(site.folder, 'renewed-authority.pem')
        writeFileSync(ca, renewed.ca)
        // From now on Redis accepts only the new certificate, and Kafka only the new user.
        await site.redis.call('CONFIG', 'SET', 'tls-ca-cert-file', ca)
        await closeConnections(site)
        for (const service of SERVICES) await site.revokeAll(service)
      }),
  },
]
