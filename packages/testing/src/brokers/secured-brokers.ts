import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Authority, createAuthority } from '../certificates.ts'
import { freePorts } from './free-ports.ts'
import { singleBroker } from './kafka-settings.ts'
import { type Listener, placeBrokers, untilStarted } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import { requireJavaAndMaven } from './maven.ts'
import type { RedisOptions, RedisServer } from './provider.ts'
import { openRun, type Run } from './run.ts'
import { type ScramMechanism, setScramPassword } from './scram-users.ts'
import { openTcpProxy } from './tcp-proxy.ts'

type Log = (line: string) => void

const WAYS = [
  'scram',
  'scramWithoutTls',
  'shortSessions',
  'plain',
  'oauth',
  'tls',
  'otherName',
  'expired',
  'mutualTls',
  'unreachable',
] as const
type Way = (typeof WAYS)[number]

const protocols: Record<Way, Listener['protocol']> = {
  scram: 'SASL_SSL',
  scramWithoutTls: 'SASL_PLAINTEXT',
  shortSessions: 'SASL_SSL',
  plain: 'SASL_SSL',
  oauth: 'SASL_SSL',
  tls: 'SSL',
  otherName: 'SSL',
  expired: 'SSL',
  mutualTls: 'SSL',
  unreachable: 'PLAINTEXT',
}

/** User of the listener `plain`. Kafka reads the users of PLAIN only at its start. */
const PLAIN_USER = { name: 'plain-user', password: 'plain-password' }

const SCRAM = 'scram.ScramLoginModule required'
/** Login modules of Kafka with their options, by mechanism. */
const modules = {
  'SCRAM-SHA-256': SCRAM,
  'SCRAM-SHA-512': SCRAM,
  PLAIN: `plain.PlainLoginModule required user_${PLAIN_USER.name}="${PLAIN_USER.password}"`,
  // A broker that offers OAUTHBEARER needs a token itself.
  OAUTHBEARER: 'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker"',
}
const mechanisms: Partial<Record<Way, readonly (keyof typeof modules)[]>> = {
  scram: ['SCRAM-SHA-256', 'SCRAM-SHA-512'],
  scramWithoutTls: ['SCRAM-SHA-256'],
  shortSessions: ['SCRAM-SHA-256'],
  plain: ['PLAIN'],
  oauth: ['OAUTHBEARER'],
}

const loginSettings = (
  prefix: string,
  offered: readonly (keyof typeof modules)[],
): Readonly<Record<string, string>> => ({
  [`${prefix}sasl.enabled.mechanisms`]: offered.join(','),
  ...Object.fromEntries(
    offered.map((mechanism) => [
      `${prefix}${mechanism.toLowerCase()}.sasl.jaas.config`,
      `org.apache.kafka.common.security.${modules[mechanism]};`,
    ]),
  ),
})

/** Writes the certificates of the listeners. Returns the settings of a listener with TLS. */
const placeCertificates = (folder: string, authority: Authority) => {
  const place = (name: string, content: string): string => {
    const path = join(folder, `${name}.pem`)
    writeFileSync(path, content)
    return path
  }
  const certificate = (name: string, hosts: readonly string[], notAfter?: Date): string => {
    const { cert, key } = authority.issue(name, hosts, notAfter)
    return place(name, `${key}${cert}`)
  }
  const valid = certificate('broker', ['127.0.0.1', 'localhost'])
  const wrong: Partial<Record<Way, string>> = {
    otherName: certificate('other-name', ['kafka.example.com']),
    expired: certificate('expired', ['127.0.0.1', 'localhost'], new Date(Date.now() - 86_400_000)),
  }
  const ca = place('authority', authority.ca)
  return (prefix: string, way: Way): Record<string, string> => ({
    [`${prefix}ssl.keystore.type`]: 'PEM',
    [`${prefix}ssl.keystore.location`]: wrong[way] ?? valid,
    ...(way === 'mutualTls' && {
      [`${prefix}ssl.client.auth`]: 'required',
      [`${prefix}ssl.truststore.type`]: 'PEM',
      [`${prefix}ssl.truststore.location`]: ca,
      // The user is the name in the certificate. Without this rule, the user would be `CN=name`.
      [`${prefix}ssl.principal.mapping.rules`]: 'RULE:^CN=(.*)$/$1/',
    }),
  })
}

/**
 * Broker with an authorizer. Each of its listeners tests one way to connect, or one reason why a
 * connection fails.
 */
export interface SecuredKafka {
  /** Address of a listener without login or encryption, whose clients have all rights. */
  readonly admin: string
  /**
   * All listeners with a login have TLS, except `scramWithoutTls`.
   * - `scram`: login by SCRAM-SHA-256 or SCRAM-SHA-512.
   * - `shortSessions`: login by SCRAM-SHA-256, and a client must log in again every 20 s.
   * - `plain`: login by PLAIN as `plainUser`.
   * - `oauth`: login by OAUTHBEARER with unsigned tokens (JSON Web Tokens with `alg` none).
   * - `tls`: encryption without login.
   * - `otherName`: the certificate is for another host.
   * - `expired`: the certificate is no longer valid.
   * - `mutualTls`: clients need a certificate of `authority`. The user is the name in this
   *   certificate.
   * - `unreachable`: the broker advertises an address at which nothing listens.
   */
  readonly addresses: Readonly<Record<Way, string>>
  /** Authority that has issued the certificates of all listeners. */
  readonly authority: Authority
  readonly plainUser: { readonly name: string; readonly password: string }
  /**
   * Creates a user for SCRAM, or changes the user's password.
   * @param mechanism default: `SCRAM-SHA-256`.
   */
  setPassword(user: string, password: string, mechanism?: ScramMechanism): Promise<void>
  /** Closes the connections of all clients of the listener `mutualTls`. */
  closeMutualTls(): void
}

const startSecuredKafka = async (
  run: Run,
  log: Log,
  onStop: (end: () => Promise<void>) => void,
): Promise<SecuredKafka> => {
  await requireJavaAndMaven(log)
  const authority = createAuthority()
  const tlsSettings = placeCertificates(run.makeFolder('certificates'), authority)
  const [port, controllerPort, ...wayPorts] = (await freePorts(2 + WAYS.length)) as [number, number, ...number[]]
  const portOf = (way: Way): number => wayPorts[WAYS.indexOf(way)]!
  // Clients of `mutualTls` connect through a proxy, because Kafka cannot close the connections of a
  // listener.
  const proxy = await openTcpProxy({ host: '127.0.0.1', port: portOf('mutualTls') })
  onStop(proxy.close)
  const advertised: Partial<Record<Way, number>> = { unreachable: 1, mutualTls: proxy.port }
  const settingsOf = (way: Way): Record<string, string> => {
    const prefix = `listener.name.${way.toLowerCase()}.`
    const offered = mechanisms[way]
    return {
      ...(offered && loginSettings(prefix, offered)),
      ...(way === 'shortSessions' && { [`${prefix}scram-sha-256.connections.max.reauth.ms`]: '20000' }),
      ...(protocols[way].endsWith('SSL') && tlsSettings(prefix, way)),
    }
  }
  const [broker] = await placeBrokers(run, log, {
    settings: {
      ...singleBroker,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // Anonymous clients have all rights, because only the broker itself and the tests use the
      // listener without a login.
      'super.users': 'User:ANONYMOUS',
      ...Object.assign({}, ...WAYS.map(settingsOf)),
    },
    maxHeap: '512m',
    ports: [port, controllerPort],
    listeners: [
      WAYS.map((way) => ({
        name: way.toUpperCase(),
        protocol: protocols[way],
        port: portOf(way),
        ...(advertised[way] !== undefined && { advertisedPort: advertised[way] }),
      })),
    ],
  })
  await untilStarted('Kafka', broker!.start())
  const admin = broker!.address
  const addresses = Object.fromEntries(WAYS.map((way) => [way, `127.0.0.1:${portOf(way)}`])) as Record<Way, string>
  return {
    admin,
    addresses: { ...addresses, mutualTls: `127.0.0.1:${proxy.port}` },
    authority,
    plainUser: PLAIN_USER,
    setPassword: (user, password, mechanism = 'SCRAM-SHA-256') => setScramPassword(admin, user, password, mechanism),
    closeMutualTls: () => {
      proxy.set('cut')
      proxy.set('open')
    },
  }
}

/** Returns arguments of redis-server. Redis demands client certificates by default. */
const tlsArgs = (folder: string, authority: Authority): string[] => {
  const { cert, key } = authority.issue('redis', ['127.0.0.1'])
  return Object.entries({ 'tls-cert-file': cert, 'tls-key-file': key, 'tls-ca-cert-file': authority.ca }).flatMap(
    ([option, content]) => {
      const path = join(folder, `${option}.pem`)
      writeFileSync(path, content)
      return [`--${option}`, path]
    },
  )
}

/** Kafka and Redis as local processes, whose users and rights a test can change. */
export interface SecuredBrokers {
  readonly kafka: SecuredKafka
  readonly redisUrl: string
  /** Starts another Kafka, with another cluster id and without users. */
  startKafka(settings?: Readonly<Record<string, string>>): Promise<{ readonly address: string; stop(): Promise<void> }>
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /** Starts a Redis with a port for TLS, whose clients need a certificate of Kafka's authority. */
  startTlsRedis(): Promise<RedisServer & { readonly tlsUrl: string }>
  /** Ends all servers. */
  stop(): Promise<void>
}

export const startSecuredBrokers = async (log: Log = () => {}): Promise<SecuredBrokers> => {
  const runs: Run[] = []
  const open = async (): Promise<Run> => {
    const run = await openRun()
    runs.push(run)
    return run
  }
  const ends: (() => Promise<void>)[] = []
  const stop = async () => void (await Promise.all([...runs.map((run) => run.close()), ...ends.map((end) => end())]))
  try {
    const run = await open()
    const [kafka, redis] = await Promise.all([
      startSecuredKafka(run, log, (end) => ends.push(end)),
      startLocalRedis(run, log),
    ])
    return {
      kafka,
      redisUrl: redis.url,
      startKafka: async (settings = {}) => {
        const own = await open()
        const [broker] = await placeBrokers(own, log, {
          settings: { ...singleBroker, ...settings },
          maxHeap: '384m',
          ports: await freePorts(2),
          clusterId: randomBytes(16).toString('base64url'),
        })
        await untilStarted('Kafka', broker!.start())
        return { address: broker!.address, stop: () => own.close() }
      },
      startRedis: (options) => startLocalRedis(run, log, options),
      startTlsRedis: async () => {
        const [port] = (await freePorts(1)) as [number]
        const server = await startLocalRedis(run, log, {
          args: ['--tls-port', `${port}`, ...tlsArgs(run.makeFolder(`redis-certificates-${port}`), kafka.authority)],
        })
        return { ...server, tlsUrl: `rediss://127.0.0.1:${port}` }
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
