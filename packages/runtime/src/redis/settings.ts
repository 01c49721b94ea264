import { Type } from '@sinclair/typebox'
import {
  entriesOf,
  flag,
  integer,
  type Loaded,
  optionalCertificates,
  optionalPrivateKey,
  optionalSecret,
  optionalText,
  text,
} from '../process/setting-kinds.ts'
import type { Rule } from '../process/settings.ts'
import { tlsProblem } from '../process/tls.ts'
import { parseAddresses } from './address.ts'

const SENTINEL_PORT = 26_379

/** Reads `host:port`. Returns undefined for any other text. */
const parseSentinel = (item: string): { readonly host: string; readonly port: number } | undefined => {
  const [, ipv6, name, port] = /^(?:\[([\da-fA-F:.]+)\]|([\w.-]{1,253}))(?::(\d{1,5}))?$/.exec(item) ?? []
  const host = ipv6 ?? name
  const number = Number(port ?? SENTINEL_PORT)
  return host === undefined || number < 1 || number > 65_535 ? undefined : { host, port: number }
}

const sentinelAddresses = Type.Transform(
  Type.String({
    default: '',
    shown: 'comma-separated list of `host:port`',
    description:
      'Addresses of the Sentinels, if Sentinel chooses the primary. The default port of a Sentinel is 26379. With ' +
      'this setting, the host in `REDIS_URL` is the name that the Sentinels give to the primary, without a port: ' +
      '`redis://user:password@mymaster`.',
  }),
)
  .Decode((value) =>
    entriesOf(value).map((item, i) => {
      const sentinel = parseSentinel(item)
      // The message has the entry's number, because a wrong entry may be a URL with a password.
      if (!sentinel) throw new Error(`entry ${i + 1} is not of the form host:port`)
      return sentinel
    }),
  )
  .Encode((value) => value.map(({ host, port }) => `${host}:${port}`).join(','))

export const redisSettings = {
  REDIS_URL: {
    ...text({
      description:
        'Address of Redis, with user, password and database if needed. `rediss://` means TLS. For a Redis Cluster, ' +
        'give one or more nodes, separated by commas. The client finds the other nodes.',
      pattern: '^(rediss?|unix)://.+',
      shown:
        '`redis://[user:password@]host:port[/database]`, `rediss://…` or `unix://[user:password@]/path[?db=number]`',
    }),
    secret: true,
    // Many programs have variables for the parts of an address. An error about such a variable
    // names REDIS_URL.
    parts: ['HOST', 'USER', 'USERNAME', 'PASSWORD', 'DB', 'DATABASE'].map((part) => `REDIS_${part}`),
    // Open clients keep their address, so only the login may change without a restart.
    fixedPart: (url: string) =>
      JSON.stringify(parseAddresses(url)?.map(({ username, password, ...address }) => address)),
  },
  REDIS_TLS_CA: optionalCertificates({
    description:
      'Certificate authorities of Redis and Sentinel, in PEM format. Default: the authorities of the system.',
  }),
  REDIS_TLS_CERT: optionalCertificates({
    description: 'Certificate of this client in PEM format, if Redis demands a certificate (mutual TLS).',
  }),
  REDIS_TLS_KEY: optionalPrivateKey({
    description: 'Private key of `REDIS_TLS_CERT` in PEM format, without a passphrase.',
  }),
  REDIS_SENTINELS: sentinelAddresses,
  REDIS_SENTINEL_USERNAME: optionalText({ description: 'User for Sentinel, if Sentinel has its own users.' }),
  REDIS_SENTINEL_PASSWORD: optionalSecret({
    description: 'Password for Sentinel. The password of Redis is in `REDIS_URL`.',
  }),
  REDIS_CLUSTER: flag({
    default: false,
    description:
      'True if Redis is a Redis Cluster. Each master then has a part of the customers, and a copy of all positions.',
  }),
  REDIS_KEY_PREFIX: text({ default: 'mykaarma:', description: 'Prefix of every key in Redis.' }),
  REDIS_ALLOW_EVICTION: flag({
    default: false,
    description:
      'If `true`, the projector starts although Redis may evict customers (`maxmemory-policy` `allkeys-…`). The ' +
      'projector does not notice an evicted customer. If Redis evicts the mark of an erased customer, this customer ' +
      'comes back.',
  }),
  REDIS_COMMAND_TIMEOUT_MS: integer({
    default: 3000,
    minimum: 100,
    maximum: 60_000,
    description:
      'A command without a reply after this time counts as failed and is repeated. Without a timeout the service ' +
      'would wait for a hung server forever.',
  }),
  REDIS_CONNECT_TIMEOUT_MS: integer({
    default: 2000,
    minimum: 100,
    maximum: 60_000,
    description: 'Timeout of a new connection to Redis.',
  }),
}

export type RedisSettings = Loaded<typeof redisSettings>

const TLS_NAMES = ['REDIS_TLS_CA', 'REDIS_TLS_CERT', 'REDIS_TLS_KEY'] as const

export const redisRules: readonly Rule<typeof redisSettings>[] = [
  ({ REDIS_URL }) =>
    parseAddresses(REDIS_URL)
      ? undefined
      : 'REDIS_URL must be redis://host:port or redis://host:port/database, with a port up to 65535 and the number ' +
        'of a database. A cluster may have several addresses, separated by commas. A Unix socket is unix:///path. ' +
        'Write characters such as /, # and % in a password as %2F, %23 and %25',
  ({ REDIS_URL, REDIS_CLUSTER }) =>
    !REDIS_CLUSTER && REDIS_URL.includes(',')
      ? 'REDIS_URL names several nodes. For a Redis Cluster set REDIS_CLUSTER=true'
      : undefined,
  // On a cluster, ioredis would ignore a database number and write to database 0.
  ({ REDIS_URL, REDIS_CLUSTER }) =>
    REDIS_CLUSTER && parseAddresses(REDIS_URL)?.some(({ database }) => database !== 0)
      ? 'REDIS_URL names a database; a cluster has only database 0'
      : undefined,
  ({ REDIS_URL, REDIS_CLUSTER }) =>
    REDIS_CLUSTER && parseAddresses(REDIS_URL)?.some(({ path }) => path !== undefined)
      ? 'REDIS_URL names a socket, but the nodes of a cluster have hosts and ports'
      : undefined,
  // ioredis uses the login and the encryption of the first node for all nodes.
  ({ REDIS_URL, REDIS_CLUSTER }) =>
    REDIS_CLUSTER && new Set(parseAddresses(REDIS_URL)?.map(({ tls }) => tls)).size > 1
      ? 'REDIS_URL has redis:// (plain text) and rediss:// (TLS). All nodes of a cluster must use the same'
      : undefined,
  // On a cluster, the text in the first braces of a key selects its slot. All keys of a customer
  // must be in one slot, so the prefix must not have a brace.
  ({ REDIS_KEY_PREFIX, REDIS_CLUSTER }) =>
    REDIS_CLUSTER && REDIS_KEY_PREFIX.includes('{')
      ? 'REDIS_KEY_PREFIX has a brace, but on a cluster only ids may be in braces'
      : undefined,
  (settings) => {
    const given = TLS_NAMES.filter((name) => settings[name] !== undefined)
    return given.length > 0 && !settings.REDIS_URL.startsWith('rediss:')
      ? `${given.join(', ')}: given, but REDIS_URL is not rediss://, so nothing is encrypted. Write rediss://`
      : undefined
  },
  ({ REDIS_TLS_CA: ca, REDIS_TLS_CERT: cert, REDIS_TLS_KEY: key }) => tlsProblem('REDIS_TLS', { ca, cert, key }),
  ({ REDIS_URL, REDIS_CLUSTER, REDIS_SENTINELS }) => {
    if (REDIS_SENTINELS.length === 0) return undefined
    if (REDIS_CLUSTER)
      return 'REDIS_SENTINELS: given, but a Redis Cluster has no Sentinels. Remove REDIS_SENTINELS or REDIS_CLUSTER'
    return /^rediss?:\/\/([^@]*@)?[\w.-]+(\/\d*)?$/.test(REDIS_URL)
      ? undefined
      : 'REDIS_URL: with REDIS_SENTINELS the host is the name of the primary and has no port, as in ' +
          'redis://user:password@mymaster'
  },
  ({ REDIS_SENTINELS, REDIS_SENTINEL_USERNAME: user, REDIS_SENTINEL_PASSWORD: password }) => {
    if (user !== undefined && password === undefined) return 'REDIS_SENTINEL_USERNAME needs REDIS_SENTINEL_PASSWORD'
    return password !== undefined && REDIS_SENTINELS.length === 0
      ? 'REDIS_SENTINEL_PASSWORD: given, but REDIS_SENTINELS names no Sentinel'
      : undefined
  },
]
