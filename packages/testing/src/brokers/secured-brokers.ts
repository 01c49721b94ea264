import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePorts } from './free-ports.ts'
import { singleBroker } from './kafka-settings.ts'
import { type Listener, placeBrokers, untilStarted } from './local-kafka.ts'
import { startLocalRedis } from './local-redis.ts'
import { requireJavaAndMaven } from './maven.ts'
import type { RedisOptions, RedisServer } from './provider.ts'
import { openRun, type Run } from './run.ts'
import { setScramPassword } from './scram-users.ts'

type Log = (line: string) => void

const STORE_PASSWORD = 'standstill'

interface Certificate {
  readonly keystore: string
  readonly pem: string
}

/**
 * Creates a self-signed certificate with Java's keytool. A client that trusts this certificate
 * trusts only this server.
 */
const makeCertificate = async (
  folder: string,
  name: string,
  san: string,
  validity: readonly string[],
): Promise<Certificate> => {
  const keystore = join(folder, `${name}.p12`)
  const store = ['-keystore', keystore, '-storetype', 'PKCS12', '-storepass', STORE_PASSWORD, '-alias', name]
  const key = ['-keyalg', 'EC', '-groupname', 'secp256r1', '-dname', `CN=${name}`, '-ext', `san=${san}`, ...validity]
  await promisify(execFile)('keytool', ['-genkeypair', ...store, ...key])
  const { stdout } = await promisify(execFile)('keytool', ['-exportcert', '-rfc', ...store])
  return { keystore, pem: stdout }
}

const WAYS = ['scram', 'shortSessions', 'oauth', 'tls', 'otherName', 'expired', 'mutualTls', 'unreachable'] as const
type Way = (typeof WAYS)[number]

const protocols: Record<Way, Listener['protocol']> = {
  scram: 'SASL_PLAINTEXT',
  shortSessions: 'SASL_PLAINTEXT',
  oauth: 'SASL_PLAINTEXT',
  tls: 'SSL',
  otherName: 'SSL',
  expired: 'SSL',
  mutualTls: 'SSL',
  unreachable: 'PLAINTEXT',
}

const loginSettings = (prefix: string, byToken: boolean): Record<string, string> => {
  const mechanism = byToken ? 'OAUTHBEARER' : 'SCRAM-SHA-256'
  const module = byToken ? 'oauthbearer.OAuthBearerLoginModule' : 'scram.ScramLoginModule'
  // A broker that offers OAUTHBEARER needs a token itself.
  const options = byToken ? ' unsecuredLoginStringClaim_sub="broker"' : ''
  const jaas = `org.apache.kafka.common.security.${module} required${options};`
  return {
    [`${prefix}sasl.enabled.mechanisms`]: mechanism,
    [`${prefix}${mechanism.toLowerCase()}.sasl.jaas.config`]: jaas,
  }
}

/**
 * Broker with an authorizer. The broker has one listener for each reason for which it can refuse a
 * client.
 */
export interface SecuredKafka {
  /** Address of a listener without login or encryption, whose clients have all rights. */
  readonly admin: string
  /**
   * - `scram`: login by SCRAM-SHA-256.
   * - `shortSessions`: login by SCRAM-SHA-256, and a client must log in again every 20 s.
   * - `oauth`: login by OAUTHBEARER with unsigned tokens (JSON Web Tokens with `alg` none).
   * - `tls`: encryption without login.
   * - `otherName`: the certificate is for another host.
   * - `expired`: the certificate is no longer valid.
   * - `mutualTls`: clients need a certificate.
   * - `unreachable`: the broker advertises an address at which nothing listens.
   */
  readonly addresses: Readonly<Record<Way, string>>
  /** PEM of the certificates that clients must trust. */
  readonly authorities: Readonly<Record<'tls' | 'otherName' | 'expired', string>>
  /** Creates a user, or changes the user's password. */
  setPassword(user: string, password: string): Promise<void>
}

const startSecuredKafka = async (run: Run, log: Log): Promise<SecuredKafka> => {
  await requireJavaAndMaven(log)
  const folder = run.makeFolder('certificates')
  const here = 'ip:127.0.0.1,dns:localhost'
  const [ports, tls, otherName, expired] = await Promise.all([
    freePorts(2 + WAYS.length),
    makeCertificate(folder, 'broker', here, ['-validity', '2']),
    makeCertificate(folder, 'other-name', 'dns:kafka.example.com', ['-validity', '2']),
    makeCertificate(folder, 'expired', here, ['-startdate', '-10d', '-validity', '2']),
  ])
  const [port, controllerPort, ...wayPorts] = ports as [number, number, ...number[]]
  const certificates: Partial<Record<Way, Certificate>> = { tls, otherName, expired, mutualTls: tls }
  const settingsOf = (way: Way): Record<string, string> => {
    const prefix = `listener.name.${way.toLowerCase()}.`
    const { keystore } = certificates[way] ?? {}
    return {
      ...(protocols[way] === 'SASL_PLAINTEXT' && loginSettings(prefix, way === 'oauth')),
      ...(way === 'shortSessions' && { [`${prefix}scram-sha-256.connections.max.reauth.ms`]: '20000' }),
      ...(keystore && {
        [`${prefix}ssl.keystore.location`]: keystore,
        [`${prefix}ssl.keystore.type`]: 'PKCS12',
        [`${prefix}ssl.keystore.password`]: STORE_PASSWORD,
        [`${prefix}ssl.client.auth`]: way === 'mutualTls' ? 'required' : 'none',
      }),
    }
  }
  const [broker] = await placeBrokers(run, log, {
    settings: {
      ...singleBroker,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // Anonymous clients have all rights, because only the broker itself and the tests use that
      // listener.
      'super.users': 'User:ANONYMOUS',
      ...Object.assign({}, ...WAYS.map(settingsOf)),
    },
    maxHeap: '512m',
    ports: [port, controllerPort],
    listeners: [
      WAYS.map((way, i) => ({
        name: way.toUpperCase(),
        protocol: protocols[way],
        port: wayPorts[i]!,
        ...(way === 'unreachable' && { advertisedPort: 1 }),
      })),
    ],
  })
  await untilStarted('Kafka', broker!.start())
  const admin = broker!.address
  return {
    admin,
    addresses: Object.fromEntries(WAYS.map((way, i) => [way, `127.0.0.1:${wayPorts[i]}`])) as Record<Way, string>,
    authorities: { tls: tls.pem, otherName: otherName.pem, expired: expired.pem },
    setPassword: (user, password) => setScramPassword(admin, user, password),
  }
}

/** Kafka and Redis as local processes, whose users and rights a test can change. */
export interface SecuredBrokers {
  readonly kafka: SecuredKafka
  readonly redisUrl: string
  /** Starts another Kafka, with another cluster id and without users. */
  startKafka(settings?: Readonly<Record<string, string>>): Promise<{ readonly address: string; stop(): Promise<void> }>
  startRedis(options?: RedisOptions): Promise<RedisServer>
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
  const stop = async () => void (await Promise.all(runs.map((run) => run.close())))
  try {
    const run = await open()
    const [kafka, redis] = await Promise.all([startSecuredKafka(run, log), startLocalRedis(run, log)])
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
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
