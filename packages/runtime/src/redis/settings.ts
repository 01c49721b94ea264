import { flag, integer, type Rule, text } from '../process/settings.ts'

export const redisSettings = {
  REDIS_URL: {
    ...text({
      description:
        '`redis://` or `rediss://` address, with user, password and database if needed. For a cluster: one or more ' +
        'nodes, comma-separated. The client finds the other nodes.',
      pattern: '^rediss?://.+',
      shown: '`redis://[user:password@]host:port[/database]` or `rediss://…`',
    }),
    secret: true,
  },
  REDIS_CLUSTER: flag({
    default: false,
    description:
      'True if Redis is a Redis Cluster. The masters share the customers. The positions are in sixteen ' +
      'slots, so that each master has some of them.',
  }),
  REDIS_KEY_PREFIX: text({ default: 'mykaarma:', description: 'Begins every key in Redis.' }),
  REDIS_ALLOW_EVICTION: flag({
    default: false,
    description:
      'Start although Redis may evict customers for lack of memory (`maxmemory-policy` `allkeys-…`). The projector ' +
      'does not notice an evicted customer. If Redis evicts a mark, an erased customer comes back.',
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

const urlsOf = (list: string): string[] => list.split(',').map((url) => url.trim())
const areUrls = (urls: readonly string[]): boolean => urls.every((url) => /^rediss?:/.test(url) && URL.canParse(url))

export const redisRules: readonly Rule<typeof redisSettings>[] = [
  ({ REDIS_URL }) =>
    areUrls(urlsOf(REDIS_URL))
      ? undefined
      : 'REDIS_URL must be redis://host:port, or several of them separated by commas',
  ({ REDIS_URL, REDIS_CLUSTER }) =>
    !REDIS_CLUSTER && urlsOf(REDIS_URL).length > 1
      ? 'REDIS_URL names several nodes. For a Redis Cluster set REDIS_CLUSTER=true'
      : undefined,
  // On a cluster, ioredis would ignore a database number and write to database 0.
  ({ REDIS_URL, REDIS_CLUSTER }) =>
    REDIS_CLUSTER &&
    areUrls(urlsOf(REDIS_URL)) &&
    !urlsOf(REDIS_URL).every((url) => /^\/?0?$/.test(new URL(url).pathname))
      ? 'REDIS_URL names a database; a cluster has database 0 alone'
      : undefined,
  // On a cluster, the text after the first brace selects the slot. The keys of a customer need one
  // slot.
  ({ REDIS_KEY_PREFIX, REDIS_CLUSTER }) =>
    REDIS_CLUSTER && REDIS_KEY_PREFIX.includes('{')
      ? 'REDIS_KEY_PREFIX has a brace, which selects the slots of all keys on a cluster'
      : undefined,
]
