import { createRequire } from 'node:module'
import { Type } from '@sinclair/typebox'
import { quoted } from '../process/quoted.ts'
import {
  choice,
  flag,
  integer,
  type Loaded,
  optionalCertificates,
  optionalPrivateKey,
  optionalSecret,
  optionalText,
} from '../process/setting-kinds.ts'
import type { Rule } from '../process/settings.ts'
import { tlsProblem } from '../process/tls.ts'

/** Maximum number of wrong entries that an error names. */
const MAX_SHOWN_PROBLEMS = 3

/** Longest name in DNS. */
const MAX_HOST_CHARACTERS = 253

/**
 * Returns a sentence about the problem of an address, or undefined if the address is valid. kafkajs
 * uses the text before the first colon as the host.
 */
const addressProblem = (address: string): string | undefined => {
  const wrong = `${quoted(address)} is not accepted`
  const protocol = /^(\w+):\/\//.exec(address)?.[1]
  if (protocol !== undefined)
    return `${wrong}: give host:port without "${protocol}://"; KAFKA_SSL and KAFKA_SASL_MECHANISM select TLS and login`
  if (/[;\s]/.test(address)) return `${wrong}: separate several addresses by commas, as in kafka-1:9092,kafka-2:9092`
  if (address.startsWith('[') || address.split(':').length > 2)
    return `${wrong}: kafkajs accepts no IPv6 addresses; give a host name with its port`
  const [host = '', port] = address.split(':')
  if (host === '') return `${wrong}: it names no host; expected host:port`
  if (host.includes('/')) return `${wrong}: ${quoted(host)} is not a host name; expected host:port`
  if (host.length > MAX_HOST_CHARACTERS) return `${wrong}: a host name has at most ${MAX_HOST_CHARACTERS} characters`
  if (port === undefined) return `${wrong}: it names no port; expected host:port, e.g. ${host}:9092`
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535)
    return `${wrong}: the port must be 1 to 65535`
  return undefined
}

const brokerAddresses = Type.Transform(
  Type.String({ minLength: 1, shown: 'comma-separated list of `host:port`', description: 'Bootstrap brokers.' }),
)
  .Decode((value): readonly string[] => {
    // The message does not show the value, which may have a password.
    if (value.includes('@'))
      throw new Error(
        'has a user or a password, which is not accepted; expected host:port. Give the login in KAFKA_SASL_USERNAME ' +
          'and KAFKA_SASL_PASSWORD',
      )
    const addresses = value.split(',').map((address) => address.trim())
    const problems = addresses.filter((address) => address !== '').flatMap((address) => addressProblem(address) ?? [])
    if (problems.length > 0) throw new Error(problems.slice(0, MAX_SHOWN_PROBLEMS).join('; '))
    if (addresses.every((address) => address === '')) throw new Error('names no broker; expected host:port')
    return addresses.filter((address) => address !== '')
  })
  .Encode((value) => value.join(','))

export const kafkaSettings = {
  KAFKA_BROKERS: brokerAddresses,
  // Kafka allows 249 characters in the whole topic name.
  KAFKA_TOPIC_PREFIX: Type.String({
    default: 'mykaarma.',
    pattern: '^[a-zA-Z0-9._-]{1,200}$',
    shown: '1 to 200 letters, digits, `.`, `_` and `-`',
    description: 'Prefix of the name of every topic.',
  }),
  KAFKA_CREATE_TOPICS: flag({
    default: false,
    description:
      'If `true`, the service creates missing topics at its start. Existing topics are checked, but never changed.',
  }),
  KAFKA_STATE_TOPIC: flag({
    default: true,
    description:
      'If `true`, the projector publishes each current customer to the compacted topic `customers.state`. ' +
      'Subscribers read this topic.',
  }),
  KAFKA_STATE_FENCE: flag({
    default: true,
    description:
      'If `true`, Kafka refuses late requests to the state topic, such as requests of a projector that has lost the ' +
      'partition. The projector then needs WRITE on transactional ids that begin with `CONSUMER_GROUP_ID`.',
  }),
  KAFKA_ERASURES_TOPIC: flag({
    default: true,
    description:
      'If `true`, the projector erases the customers that the compacted topic `customers.erasures` names. If ' +
      '`false`, customers that were erased before stay erased until Redis loses its data.',
  }),
  KAFKA_REPLICATION_FACTOR: integer({
    default: 3,
    minimum: 1,
    maximum: 15,
    description:
      'Replicas of a topic that the service creates. With 3 or more replicas, `min.insync.replicas` is 2, otherwise 1.',
  }),
  KAFKA_PARTITIONS: integer({
    default: 12,
    minimum: 1,
    maximum: 10_000,
    description:
      'Partitions of each topic. If a topic has fewer partitions, the service does not start. If a topic has more, ' +
      'the service logs a warning and uses the number that the topic has. The number may be raised while the ' +
      'service runs.',
  }),
  KAFKA_RETENTION_MS: integer({
    default: -1,
    minimum: -1,
    maximum: Number.MAX_SAFE_INTEGER,
    description:
      'Minimum retention of the raw topics. `-1` means no limit. Set a limit only if the state topic is complete. ' +
      'Otherwise a Redis that has lost its data cannot get older customers back.',
  }),
  KAFKA_QUARANTINE_RETENTION_MS: Type.Optional(
    integer({
      minimum: -1,
      maximum: Number.MAX_SAFE_INTEGER,
      description:
        'Minimum retention of quarantine (dead-letter topic). `-1` means no limit. Default: `KAFKA_RETENTION_MS`. ' +
        'Quarantine has personal data, so set a limit.',
    }),
  ),
  KAFKA_TOPIC_CHECK_MS: integer({
    default: 15_000,
    minimum: 1000,
    maximum: 3_600_000,
    description:
      'Interval at which the running service checks the settings of its topics and its rights. If a topic has a ' +
      'wrong setting, the service is not ready.',
  }),
  KAFKA_SSL: flag({ default: false, description: 'If `true`, connections to the brokers use TLS.' }),
  KAFKA_SSL_CA: optionalCertificates({
    description: 'Certificate authority of the brokers, in PEM format. Default: the authorities of the system.',
  }),
  KAFKA_SSL_CERT: optionalCertificates({
    description: 'Certificate of this client in PEM format, if the brokers demand a certificate (mutual TLS).',
  }),
  KAFKA_SSL_KEY: optionalPrivateKey({
    description: 'Private key of `KAFKA_SSL_CERT` in PEM format, without a passphrase.',
  }),
  KAFKA_SASL_MECHANISM: choice(['none', 'plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer', 'aws-msk-iam'], {
    default: 'none',
    description:
      'How to log in to the brokers. `oauthbearer` gets tokens from `KAFKA_SASL_OAUTH_TOKEN_URL`. `aws-msk-iam` ' +
      'signs tokens with the AWS credentials of the process, and needs the package `aws-msk-iam-sasl-signer-js`.',
  }),
  KAFKA_SASL_USERNAME: optionalText({ description: 'User for `plain` and `scram-…`.' }),
  KAFKA_SASL_PASSWORD: optionalSecret({ description: 'Password for `plain` and `scram-…`.' }),
  KAFKA_SASL_OAUTH_TOKEN_URL: optionalText({
    description:
      'Token endpoint for `oauthbearer`, `https://…`. The service sends its client id and secret there (client ' +
      'credentials, RFC 6749). With `http://` the secret is not encrypted.',
  }),
  KAFKA_SASL_OAUTH_CLIENT_ID: optionalText({ description: 'Client id for `oauthbearer`.' }),
  KAFKA_SASL_OAUTH_CLIENT_SECRET: optionalSecret({ description: 'Client secret for `oauthbearer`.' }),
  KAFKA_SASL_OAUTH_SCOPE: optionalText({
    description: 'Scopes to request from the token endpoint, separated by spaces.',
  }),
  KAFKA_SASL_OAUTH_CA: optionalCertificates({
    description: 'Certificate authority of the token endpoint, in PEM format. Default: the authorities of the system.',
  }),
  KAFKA_SASL_AWS_REGION: optionalText({ description: 'Region of the cluster for `aws-msk-iam`, e.g. `eu-west-1`.' }),
  KAFKA_CONNECTION_TIMEOUT_MS: integer({
    default: 1000,
    minimum: 100,
    maximum: 60_000,
    description:
      'Timeout of a new connection to a broker. Each TLS handshake that times out doubles this timeout, up to ' +
      'eightfold. A login has five times this timeout.',
  }),
  KAFKA_PRODUCE_TIMEOUT_MS: integer({
    default: 1000,
    minimum: 100,
    maximum: 60_000,
    description:
      'A produce request without a reply after this time counts as failed. Use a short time, so that several ' +
      'attempts fit into `ACCEPT_DEADLINE_MS`.',
  }),
  KAFKA_REQUEST_TIMEOUT_MS: integer({
    default: 10_000,
    minimum: 6000,
    maximum: 300_000,
    description:
      'A request to Kafka without a reply after this time counts as failed. Produce requests have ' +
      '`KAFKA_PRODUCE_TIMEOUT_MS` instead. Raise the time if brokers are far away or slow.',
  }),
  KAFKA_METADATA_MAX_AGE_MS: integer({
    default: 1000,
    minimum: 100,
    maximum: 600_000,
    description:
      'Interval at which a producer asks the brokers for the leaders of the partitions. Between two requests, ' +
      'kafkajs may send records to a frozen or former leader.',
  }),
}

export type KafkaSettings = Loaded<typeof kafkaSettings>

const loginNames = [
  'KAFKA_SASL_USERNAME',
  'KAFKA_SASL_PASSWORD',
  'KAFKA_SASL_OAUTH_TOKEN_URL',
  'KAFKA_SASL_OAUTH_CLIENT_ID',
  'KAFKA_SASL_OAUTH_CLIENT_SECRET',
  'KAFKA_SASL_OAUTH_SCOPE',
  'KAFKA_SASL_OAUTH_CA',
  'KAFKA_SASL_AWS_REGION',
] as const
type LoginName = (typeof loginNames)[number]
interface Login {
  readonly needs: readonly LoginName[]
  readonly takes?: readonly LoginName[]
}

/**
 * Package that signs tokens for MSK. The package is optional, because it installs 75 other
 * packages.
 */
export const SIGNER_PACKAGE = 'aws-msk-iam-sasl-signer-js'

const isInstalled = (name: string): boolean => {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    return false
  }
}

const byPassword: Login = { needs: ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'] }

/** Settings of each mechanism. */
const logins: Readonly<Record<KafkaSettings['KAFKA_SASL_MECHANISM'], Login>> = {
  none: { needs: [] },
  plain: byPassword,
  'scram-sha-256': byPassword,
  'scram-sha-512': byPassword,
  oauthbearer: {
    needs: ['KAFKA_SASL_OAUTH_TOKEN_URL', 'KAFKA_SASL_OAUTH_CLIENT_ID', 'KAFKA_SASL_OAUTH_CLIENT_SECRET'],
    takes: ['KAFKA_SASL_OAUTH_SCOPE', 'KAFKA_SASL_OAUTH_CA'],
  },
  'aws-msk-iam': { needs: ['KAFKA_SASL_AWS_REGION'] },
}

export const kafkaRules: readonly Rule<typeof kafkaSettings>[] = [
  (settings) => {
    if (settings.KAFKA_SSL) return undefined
    const given = (['KAFKA_SSL_CA', 'KAFKA_SSL_CERT', 'KAFKA_SSL_KEY'] as const).filter(
      (name) => settings[name] !== undefined,
    )
    return given.length > 0
      ? `${given.join(', ')}: given, but KAFKA_SSL is false, so nothing is encrypted. Set KAFKA_SSL=true`
      : undefined
  },
  ({ KAFKA_SSL_CA: ca, KAFKA_SSL_CERT: cert, KAFKA_SSL_KEY: key }) => tlsProblem('KAFKA_SSL', { ca, cert, key }),
  (settings) => {
    const mechanism = settings.KAFKA_SASL_MECHANISM
    const { needs, takes = [] } = logins[mechanism]
    const missing = needs.filter((name) => settings[name] === undefined)
    if (missing.length > 0) return `${missing.join(', ')}: missing for KAFKA_SASL_MECHANISM=${mechanism}`
    const useless = loginNames.filter(
      (name) => settings[name] !== undefined && !needs.includes(name) && !takes.includes(name),
    )
    if (useless.length === 0) return undefined
    return mechanism === 'none'
      ? `${useless.join(', ')}: given, but KAFKA_SASL_MECHANISM is none, so there is no login. Set KAFKA_SASL_MECHANISM`
      : `${useless.join(', ')}: given, but KAFKA_SASL_MECHANISM=${mechanism} does not use it`
  },
  ({ KAFKA_SASL_OAUTH_TOKEN_URL: url }) => {
    if (url === undefined) return undefined
    const { protocol, username, hash } = URL.canParse(url) ? new URL(url) : { protocol: '', username: '', hash: '' }
    return /^https?:$/.test(protocol) && username === '' && hash === ''
      ? undefined
      : 'KAFKA_SASL_OAUTH_TOKEN_URL must be https://host/path, without a user and without #'
  },
  ({ KAFKA_SASL_OAUTH_CA: ca }) => tlsProblem('KAFKA_SASL_OAUTH', { ca }),
  ({ KAFKA_SASL_MECHANISM, KAFKA_SSL }) =>
    KAFKA_SASL_MECHANISM === 'aws-msk-iam' && !KAFKA_SSL
      ? 'KAFKA_SASL_MECHANISM=aws-msk-iam needs KAFKA_SSL=true, because MSK offers it over TLS only'
      : undefined,
  ({ KAFKA_SASL_MECHANISM }) =>
    KAFKA_SASL_MECHANISM === 'aws-msk-iam' && !isInstalled(SIGNER_PACKAGE)
      ? `KAFKA_SASL_MECHANISM=aws-msk-iam needs a package that is not installed: npm install ${SIGNER_PACKAGE}`
      : undefined,
]
