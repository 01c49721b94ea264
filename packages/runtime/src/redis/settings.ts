import { flag, integer, type Loaded, text } from '../settings.ts'

export const redisSettings = {
  REDIS_URL: {
    ...text({
      description:
        '`redis://` or `rediss://` address, with user, password and database where needed. Of a cluster any node, or several, comma-separated: the others are found.',
      pattern: '^rediss?://.+',
    }),
    secret: true,
  },
  REDIS_CLUSTER: flag({
    default: false,
    description:
      'Redis is a Redis Cluster. Customers are spread over its masters, and the positions are kept in sixteen slots, so that each master has them.',
  }),
  REDIS_KEY_PREFIX: text({ default: 'mykaarma:', description: 'Begins every key in Redis.' }),
  REDIS_ALLOW_EVICTION: flag({
    default: false,
    description:
      'Start although Redis may drop customers for want of memory (`maxmemory-policy` `allkeys-…`). Nothing would notice that they are gone.',
  }),
  REDIS_COMMAND_TIMEOUT_MS: integer({
    default: 3000,
    minimum: 100,
    maximum: 60_000,
    description:
      'A command without a reply after this time counts as failed and is repeated. Without it a hung server would be waited for for ever.',
  }),
  REDIS_CONNECT_TIMEOUT_MS: integer({
    default: 2000,
    minimum: 100,
    maximum: 60_000,
    description: 'Time for a connection to Redis to come up.',
  }),
}

/** What no single setting can tell by itself. */
export const redisFaults = ({ REDIS_URL: text, REDIS_CLUSTER: isCluster }: Loaded<typeof redisSettings>): string[] => {
  const urls = text.split(',').map((url) => url.trim())
  if (!urls.every((url) => /^rediss?:/.test(url) && URL.canParse(url))) return ['REDIS_URL is not an address, or not a list of them']
  if (!isCluster) return urls.length > 1 ? ['REDIS_URL names several nodes, which only a cluster has: REDIS_CLUSTER=true'] : []
  // ioredis would leave it out and write to database 0.
  return urls.every((url) => /^\/?0?$/.test(new URL(url).pathname)) ? [] : ['REDIS_URL names a database; a cluster has database 0 alone']
}
