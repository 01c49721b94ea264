import { Type } from '@sinclair/typebox'
import { choice, flag, integer, optionalSecret, optionalText, type Rule } from '../process/settings.ts'
import { tlsProblem } from '../process/tls-problem.ts'

/**
 * Returns a sentence about the problem of an address, or undefined if the address is valid. kafkajs
 * uses the text before the first colon as the host.
 */
const addressProblem = (address: string): string | undefined => {
  const wrong = `${JSON.stringify(address)} is not accepted`
  const protocol = /^(\w+):\/\//.exec(address)?.[1]
  if (protocol !== undefined)
    return `${wrong}: give host:port without "${protocol}://"; KAFKA_SSL and KAFKA_SASL_MECHANISM say how to connect`
  if (address.startsWith('[') || address.split(':').length > 2)
    return `${wrong}: kafkajs knows no IPv6 addresses in this list; give a host name with its port`
  const [host = '', port] = address.split(':')
  if (host === '') return `${wrong}: it names no host; expected host:port`
  if (/[\s/@]/.test(host)) return `${wrong}: ${JSON.stringify(host)} is no host name; expected host:port`
  if (port === undefined) return `${wrong}: it names no port; expected host:port, e.g. ${host}:9092`
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535)
    return `${wrong}: the port must be 1 to 65535`
  return undefined
}

const brokerAddresses = Type.Transform(
  Type.String({ minLength: 1, shown: 'comma-separated list of `host:port`', description: 'Bootstrap brokers.' }),
)
  .Decode((value): readonly string[] => {
    const addresses = value.split(',').map((address) => address.trim())
    const problems = addresses.filter((address) => address !== '').flatMap((address) => addressProblem(address) ?? [])
    if (problems.length > 0) throw new Error(problems.join('; '))
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
    description: 'Begins the name of every topic.',
  }),
  KAFKA_CREATE_TOPICS: flag({
    default: false,
    description: 'Create missing topics at start. Existing topics are checked, never changed.',
  }),
  KAFKA_STATE_TOPIC: flag({
    default: true,
    description:
      'Whether the projector publishes each current customer to the compacted topic `customers.state`, which ' +
      'subscribers read.',
  }),
  KAFKA_ERASURES_TOPIC: flag({
    default: true,
    description:
      'Whether the projector erases the customers that the compacted topic `customers.erasures` names. If `false`, ' +
      'customers that were erased before stay erased until Redis is lost.',
  }),
  KAFKA_REPLICATION_FACTOR: integer({
    default: 3,
    minimum: 1,
    maximum: 15,
    description: 'Replicas of a topic created here. From 3 on, `min.insync.replicas` is 2, else 1.',
  }),
  KAFKA_PARTITIONS: integer({
    default: 12,
    minimum: 1,
    maximum: 10_000,
    description:
      'Partitions of each topic. With fewer partitions the service does not start, with more it logs a warning and ' +
      'uses the topic’s own count. The count may be raised while the service runs.',
  }),
  KAFKA_RETENTION_MS: integer({
    default: -1,
    minimum: -1,
    maximum: Number.MAX_SAFE_INTEGER,
    description:
      'Minimum retention of the raw topics, `-1` for unlimited. Set a limit only with a complete state topic, ' +
      'because a lost Redis is then filled from that topic.',
  }),
  KAFKA_QUARANTINE_RETENTION_MS: Type.Optional(
    integer({
      minimum: -1,
      maximum: Number.MAX_SAFE_INTEGER,
      description:
        'Minimum retention of quarantine (dead-letter topic), `-1` for unlimited. Default: `KAFKA_RETENTION_MS`. ' +
        'Quarantine has personal data, so set a limit.',
    }),
  ),
  KAFKA_TOPIC_CHECK_MS: integer({
    default: 15_000,
    minimum: 1000,
    maximum: 3_600_000,
    description:
      'Interval in which the running service checks the settings of its topics and its rights. A topic ' +
      'with a wrong setting makes the service not ready.',
  }),
  KAFKA_SSL: flag({ default: false, description: 'TLS to the brokers.' }),
  KAFKA_SSL_CA: optionalSecret({
    description: 'Certificate authority of the brokers, PEM. Default: the authorities of the system.',
  }),
  KAFKA_SSL_CERT: optionalSecret({
    description: 'Certificate of this client, PEM, if the brokers demand one (mutual TLS).',
  }),
  KAFKA_SSL_KEY: optionalSecret({ description: 'Private key of `KAFKA_SSL_CERT`, PEM, without a passphrase.' }),
  KAFKA_SASL_MECHANISM: choice(['none', 'plain', 'scram-sha-256', 'scram-sha-512'], {
    default: 'none',
    description: 'How to log in to the brokers.',
  }),
  KAFKA_SASL_USERNAME: optionalText({ description: 'User for SASL.' }),
  KAFKA_SASL_PASSWORD: optionalSecret({ description: 'Password for SASL.' }),
  KAFKA_CONNECTION_TIMEOUT_MS: integer({
    default: 1000,
    minimum: 100,
    maximum: 60_000,
    description: 'Timeout of a new connection to a broker, TLS included. A login may take several times as long.',
  }),
  KAFKA_PRODUCE_TIMEOUT_MS: integer({
    default: 1000,
    minimum: 100,
    maximum: 60_000,
    description:
      'A produce request without a reply after this time counts as failed. Keep it short, so that several attempts ' +
      'fit into `ACCEPT_DEADLINE_MS`.',
  }),
  KAFKA_REQUEST_TIMEOUT_MS: integer({
    default: 10_000,
    minimum: 6000,
    maximum: 300_000,
    description:
      'Any other request without a reply after this time counts as failed: fetching, joining the group, ' +
      'creating topics. Raise it if brokers are far away or slow.',
  }),
  KAFKA_METADATA_MAX_AGE_MS: integer({
    default: 1000,
    minimum: 100,
    maximum: 600_000,
    description:
      'Age after which a producer asks again which brokers lead the partitions. kafkajs writes to a frozen or ' +
      'former leader until then.',
  }),
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
    const wanted = settings.KAFKA_SASL_MECHANISM !== 'none'
    const names = ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'] as const
    const odd = names.filter((name) => (settings[name] !== undefined) !== wanted)
    if (odd.length === 0) return undefined
    return wanted
      ? `${odd.join(', ')}: missing for KAFKA_SASL_MECHANISM=${settings.KAFKA_SASL_MECHANISM}`
      : `${odd.join(', ')}: given, but KAFKA_SASL_MECHANISM is none, so there is no login. Name the mechanism`
  },
]
