import { flag, integer, text } from '../settings.ts'

export const redisSettings = {
  REDIS_URL: {
    ...text({ description: '`redis://` or `rediss://` address, with user, password and database where needed.', pattern: '^rediss?://.+' }),
    secret: true,
  },
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
