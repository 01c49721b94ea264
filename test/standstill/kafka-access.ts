import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ServiceName, startTokenServer, type TokenServer } from '@customer-stream/testing'
import { createAuthority } from '@customer-stream/testing/certificates'
import type { Operation, Resource } from './rights.ts'
import { blocked, correct, replaceFile, type Scenario } from './scenario.ts'
import { type Site, withoutLogin } from './site.ts'

type Env = Readonly<Record<string, string>>

const SERVICES = ['ingress', 'projector'] as const

const named: Readonly<Record<Resource, RegExp>> = {
  customers: /customers\.raw/,
  other: /other\.raw/,
  quarantine: /quarantine/,
  state: /customers\.state/,
  erasures: /customers\.erasures/,
  group: /s[0-9a-f]{8}-projector/,
  'transactional ids': /the transactional id s[0-9a-f]{8}-projector-s[0-9a-f]{8}\.customers\.state-0/,
}

/**
 * Scenario: a right is taken away while the pipeline runs. The readiness and the log of the service
 * must name the resource and the operation.
 */
const revoked = (name: string, service: ServiceName, operation: Operation, resource: Resource): Scenario => ({
  name,
  break: (site) => site.revoke(service, operation, resource),
  symptoms: [{ of: service, says: [named[resource], new RegExp(`\\b${operation}\\b`)] }, blocked(service)],
  repair: (site) => site.grant(service, operation, resource),
})

const missingAtStart = (name: string, service: ServiceName, operation: Operation, resource: Resource): Scenario => ({
  ...revoked(name, service, operation, resource),
  atStart: true,
})

/**
 * Scenario: both services have the same wrong settings, and both report these settings. A person
 * corrects the settings and starts the services again.
 */
const wrongSettings = (name: string, env: (site: Site) => Env, ...says: readonly RegExp[]): Scenario => ({
  ...looksLikeOutage(name, env, ...says),
  symptoms: SERVICES.flatMap((service) => [{ of: service, says }, blocked(service)]),
})

/**
 * Scenario: settings are wrong, but the services cannot distinguish this from an outage of Kafka.
 */
const looksLikeOutage = (name: string, env: (site: Site) => Env, ...says: readonly RegExp[]): Scenario => ({
  name,
  atStart: true,
  break: async (site) => {
    for (const service of SERVICES) site[service].configure(env(site))
  },
  symptoms: SERVICES.map((service) => ({ of: service, says })),
  repair: async (site) => {
    await Promise.all(SERVICES.map((service) => correct(site, service)))
  },
})

/** Returns settings for a listener with TLS and without login. */
const tls = ({ shared }: Site, way: 'tls' | 'otherName' | 'expired' | 'mutualTls'): Env => {
  const { addresses, authority } = shared.brokers.kafka
  return { ...withoutLogin(addresses[way]), KAFKA_SSL: 'true', KAFKA_SSL_CA: authority.ca }
}

const rights: readonly Scenario[] = [
  missingAtStart('a projector starts without READ on its group', 'projector', 'READ', 'group'),
  revoked('a projector loses READ on its group', 'projector', 'READ', 'group'),
  missingAtStart('a projector starts without READ on the customers topic', 'projector', 'READ', 'customers'),
  revoked('a projector loses READ on the customers topic', 'projector', 'READ', 'customers'),
  missingAtStart(
    'a projector starts without DESCRIBE_CONFIGS on the customers topic',
    'projector',
    'DESCRIBE_CONFIGS',
    'customers',
  ),
  missingAtStart('a projector starts without READ on the state topic', 'projector', 'READ', 'state'),
  missingAtStart('a projector starts without WRITE on the state topic', 'projector', 'WRITE', 'state'),
  revoked('a projector loses WRITE on the state topic', 'projector', 'WRITE', 'state'),
  missingAtStart(
    'a projector starts without DESCRIBE_CONFIGS on the state topic',
    'projector',
    'DESCRIBE_CONFIGS',
    'state',
  ),
  missingAtStart(
    'a projector starts without WRITE on its transactional ids',
    'projector',
    'WRITE',
    'transactional ids',
  ),
  {
    ...missingAtStart(
      'a projector starts with DESCRIBE but not WRITE on its transactional ids',
      'projector',
      'WRITE',
      'transactional ids',
    ),
    break: async (site) => {
      await site.grant('projector', 'DESCRIBE', 'transactional ids')
      await site.revoke('projector', 'WRITE', 'transactional ids')
    },
  },
  revoked('a projector loses WRITE on its transactional ids', 'projector', 'WRITE', 'transactional ids'),
  missingAtStart('a projector starts without READ on the erasures topic', 'projector', 'READ', 'erasures'),
  revoked('a projector loses READ on the erasures topic', 'projector', 'READ', 'erasures'),
  missingAtStart('an ingress starts without WRITE on the customers topic', 'ingress', 'WRITE', 'customers'),
  revoked('an ingress loses WRITE on the customers topic', 'ingress', 'WRITE', 'customers'),
  {
    ...revoked('an ingress with a spool loses WRITE on the customers topic', 'ingress', 'WRITE', 'customers'),
    options: { env: (_, folder) => ({ ingress: { SPOOL_DIR: join(folder, 'spool') } }) },
    // The ingress stays ready, because its spool accepts events.
    symptoms: [blocked('ingress')],
  },
  missingAtStart('an ingress starts without WRITE on quarantine', 'ingress', 'WRITE', 'quarantine'),
  missingAtStart(
    'an ingress starts without DESCRIBE_CONFIGS on the other topic',
    'ingress',
    'DESCRIBE_CONFIGS',
    'other',
  ),
  {
    name: 'an ingress may not create the topics that are missing',
    atStart: true,
    break: async (site) => {
      const { customers, other, quarantine } = site.topics
      await site.administrator.deleteTopics({ topics: [customers, other, quarantine] })
      site.ingress.configure({ KAFKA_CREATE_TOPICS: 'true' })
    },
    symptoms: [{ of: 'ingress', says: [/\bCREATE\b/, named.customers] }, blocked('ingress')],
    repair: async (site) => {
      for (const topic of ['customers', 'other', 'quarantine'] as const) await site.grant('ingress', 'CREATE', topic)
    },
  },
]

const tokenServers = new WeakMap<Site, TokenServer>()

/**
 * Returns settings with which each service logs in with a token. The subject of the token is the
 * user that has the rights.
 */
const oauth = (site: Site, service: ServiceName, url: string): Env => ({
  KAFKA_BROKERS: site.shared.brokers.kafka.addresses.oauth,
  KAFKA_SASL_USERNAME: '',
  KAFKA_SASL_PASSWORD: '',
  KAFKA_SASL_MECHANISM: 'oauthbearer',
  KAFKA_SASL_OAUTH_TOKEN_URL: url,
  KAFKA_SASL_OAUTH_CLIENT_ID: site.userOf(service),
  KAFKA_SASL_OAUTH_CLIENT_SECRET: 'oauth-secret',
})

const login: readonly Scenario[] = [
  {
    name: 'both services have a wrong password until it is corrected in Kafka',
    atStart: true,
    break: async (site) => {
      for (const service of SERVICES) await site.setPassword(service, 'another')
    },
    symptoms: SERVICES.flatMap((service) => [{ of: service, says: [/KAFKA_SASL_PASSWORD/] }, blocked(service)]),
    repair: async (site) => {
      for (const service of SERVICES) await site.setPassword(service, site.password)
    },
  },
  {
    name: 'the passwords of both services change in Kafka while they run',
    options: {
      env: ({ brokers }) => {
        const env = { KAFKA_BROKERS: brokers.kafka.addresses.shortSessions }
        return { ingress: env, projector: env }
      },
    },
    break: async (site) => {
      for (const service of SERVICES) await site.setPassword(service, 'another')
    },
    symptoms: SERVICES.flatMap((service) => [{ of: service, says: [/KAFKA_SASL_PASSWORD/] }, blocked(service)]),
    keepsRunning: true,
    repair: async (site) => {
      for (const service of SERVICES) await site.setPassword(service, site.password)
    },
  },
  {
    name: 'the passwords of both services change in Kafka, and then in their files',
    options: {
      env: ({ brokers }, folder, { password }) => {
        const file = join(folder, 'password')
        writeFileSync(file, password)
        const env = {
          KAFKA_BROKERS: brokers.kafka.addresses.shortSessions,
          KAFKA_SASL_PASSWORD: '',
          KAFKA_SASL_PASSWORD_FILE: file,
          SECRET_FILES_CHECK_MS: '500',
        }
        return { ingress: env, projector: env }
      },
    },
    break: async (site) => {
      for (const service of SERVICES) await site.setPassword(service, 'another')
    },
    symptoms: SERVICES.flatMap((service) => [{ of: service, says: [/KAFKA_SASL_PASSWORD/] }, blocked(service)]),
    keepsRunning: true,
    repair: async (site) => {
      replaceFile(join(site.folder, 'password'), 'another')
    },
  },
  {
    name: 'the token endpoint answers with a web page instead of tokens',
    atStart: true,
    break: async (site) => {
      const endpoint = await startTokenServer()
      site.onClose(endpoint.close)
      tokenServers.set(site, endpoint)
      endpoint.answerWith((response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>'))
      for (const service of SERVICES) site[service].configure(oauth(site, service, endpoint.url))
    },
    symptoms: SERVICES.flatMap((service) => [{ of: service, says: [/KAFKA_SASL_OAUTH_TOKEN_URL/] }, blocked(service)]),
    repair: async (site) => tokenServers.get(site)?.answerWith(undefined),
  },
  {
    name: 'the token endpoint hangs',
    atStart: true,
    break: async (site) => {
      const endpoint = await startTokenServer()
      site.onClose(endpoint.close)
      tokenServers.set(site, endpoint)
      endpoint.answerWith(() => {})
      for (const service of SERVICES) site[service].configure(oauth(site, service, endpoint.url))
    },
    symptoms: SERVICES.map((service) => ({ of: service, says: [/did not answer in time/] })),
    repair: async (site) => tokenServers.get(site)?.answerWith(undefined),
  },
  wrongSettings('Kafka does not know the users', () => ({ KAFKA_SASL_USERNAME: 'nobody' }), /KAFKA_SASL_USERNAME/),
  wrongSettings(
    'Kafka does not offer the mechanism',
    () => ({ KAFKA_SASL_MECHANISM: 'plain' }),
    /KAFKA_SASL_MECHANISM/,
  ),
  wrongSettings(
    'the services do not log in, but Kafka requires a login',
    () => ({ KAFKA_SASL_MECHANISM: 'none', KAFKA_SASL_USERNAME: '', KAFKA_SASL_PASSWORD: '' }),
    /KAFKA_SASL_MECHANISM/,
  ),
]

const encryption: readonly Scenario[] = [
  wrongSettings(
    'the services trust another certificate authority',
    () => ({ KAFKA_SSL_CA: createAuthority('other').ca }),
    /KAFKA_SSL_CA/,
  ),
  wrongSettings('the brokers’ certificate has expired', (site) => tls(site, 'expired'), /expired/i, /127\.0\.0\.1:\d+/),
  wrongSettings(
    'the brokers’ certificate names another host',
    (site) => tls(site, 'otherName'),
    /127\.0\.0\.1/,
    /KAFKA_BROKERS/,
  ),
  wrongSettings(
    'Kafka requires a client certificate',
    (site) => tls(site, 'mutualTls'),
    /KAFKA_SSL_CERT\b/,
    /127\.0\.0\.1:\d+/,
  ),
  wrongSettings(
    'the services speak plain text to a TLS port',
    () => ({ KAFKA_SSL: 'false', KAFKA_SSL_CA: '' }),
    /KAFKA_SSL\b/,
  ),
  wrongSettings(
    'the services speak TLS to a plain port',
    ({ shared }) => ({ KAFKA_BROKERS: shared.brokers.kafka.addresses.scramWithoutTls }),
    /KAFKA_SSL\b/,
  ),
]

const addresses: readonly Scenario[] = [
  looksLikeOutage(
    'nothing listens at the address of Kafka',
    () => ({ KAFKA_BROKERS: '127.0.0.1:1' }),
    /127\.0\.0\.1:1\b/,
    /KAFKA_BROKERS/,
  ),
  wrongSettings(
    'the name of the broker does not exist',
    () => ({ KAFKA_BROKERS: 'kafka.invalid:9092' }),
    /kafka\.invalid:9092/,
    /the container runs.*KAFKA_BROKERS/,
  ),
  looksLikeOutage(
    'the address of Kafka is the address of Redis',
    ({ shared }) => withoutLogin(new URL(shared.brokers.redisUrl).host),
    /KAFKA_BROKERS/,
  ),
  looksLikeOutage(
    'Kafka advertises an address that no one can reach',
    ({ shared }) => withoutLogin(shared.brokers.kafka.addresses.unreachable),
    /127\.0\.0\.1:1\b/,
    /advertised/,
  ),
]

export const kafkaAccess: readonly Scenario[] = [...rights, ...login, ...encryption, ...addresses]
