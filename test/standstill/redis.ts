import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { customerKey } from '@customer-stream/schemas'
import { makeCustomersEvent } from '@customer-stream/simulator'
import { blocked, correct, replaceFile, type Scenario } from './scenario.ts'
import type { Site } from './site.ts'

const call = (site: Site, ...words: readonly [string, ...string[]]) => site.redis.call(...words)

/** Returns the path of the file in which Redis saves its data. */
const dumpOf = async (site: Site): Promise<string> => {
  const [, folder = ''] = (await call(site, 'CONFIG', 'GET', 'dir')) as string[]
  const [, name = ''] = (await call(site, 'CONFIG', 'GET', 'dbfilename')) as string[]
  return join(folder, name)
}

/** Returns all key patterns of the projector except one. */
const keysBut = ({ keyPrefix }: Site, excepted: 'customer' | 'erased' | 'index') =>
  ['customer', 'erased', 'positions', 'index']
    .filter((name) => name !== excepted)
    .map((name) => `~${keyPrefix}${name}:*`)
    .concat(`~${keyPrefix}drift`)

/** Scenario: the Redis user loses rights while the pipeline runs, or lacks them from the start. */
const denied = (name: string, commands: readonly string[], says: RegExp, atStart = false): Scenario => ({
  name,
  atStart,
  break: (site) => site.changeRedisUser(...commands.map((command) => `-${command}`)),
  symptoms: [{ of: 'projector', says: [says] }, blocked('projector')],
  repair: (site) => site.changeRedisUser(...commands.map((command) => `+${command}`)),
})

/**
 * Scenario: the projector has a wrong address of Redis. A person corrects the address and starts
 * the projector again.
 */
const wrongUrl = (name: string, url: (site: Site) => string, ...says: readonly RegExp[]): Scenario => ({
  name,
  atStart: true,
  break: async (site) => site.projector.configure({ REDIS_URL: url(site) }),
  symptoms: [{ of: 'projector', says }],
  repair: (site) => correct(site, 'projector'),
})

/**
 * Scenario: a command (`from`) breaks a Redis that only this scenario uses, and another command
 * (`to`) repairs it.
 */
const changed = (
  name: string,
  from: readonly string[],
  to: readonly string[],
  ...says: readonly RegExp[]
): Scenario => ({
  name,
  options: { privateRedis: true },
  break: async (site) => void (await call(site, ...(from as [string, ...string[]]))),
  symptoms: [{ of: 'projector', says }],
  repair: async (site) => void (await call(site, ...(to as [string, ...string[]]))),
})

/** The projector reads REDIS_URL from a file. */
const urlInFile = {
  env: (_: unknown, folder: string, { redisUrl }: { readonly redisUrl: string }) => {
    const file = join(folder, 'redis-url')
    writeFileSync(file, redisUrl)
    return { projector: { REDIS_URL: '', REDIS_URL_FILE: file, SECRET_FILES_CHECK_MS: '500' } }
  },
}

const changeUrlFile = ({ folder }: Site, password: string): void => {
  const file = join(folder, 'redis-url')
  const url = new URL(readFileSync(file, 'utf8'))
  url.password = password
  replaceFile(file, url.href)
}

/**
 * Ends the connections of the projector's user, because Redis keeps them when the password changes.
 */
const endConnections = async (site: Site): Promise<void> => {
  const { username } = new URL(readFileSync(join(site.folder, 'redis-url'), 'utf8'))
  await call(site, 'CLIENT', 'KILL', 'USER', username)
}

export const redis: readonly Scenario[] = [
  {
    name: 'the password of Redis changes in Redis, and then in the file',
    options: urlInFile,
    break: async (site) => {
      await site.changeRedisUser('resetpass', '>another')
      await endConnections(site)
    },
    symptoms: [{ of: 'projector', says: [/WRONGPASS/, /REDIS_URL/] }, blocked('projector')],
    keepsRunning: true,
    repair: async (site) => changeUrlFile(site, 'another'),
  },
  {
    name: 'a new password of Redis is added, then written to the file, and then the old password is removed',
    options: urlInFile,
    break: async (site) => {
      await site.changeRedisUser('>another')
      changeUrlFile(site, 'another')
      const uses = async () => (await site.projector.log()).includes('secrets-changed')
      await waitUntil('the projector uses the new password', uses, Boolean)
      await site.changeRedisUser(`<${site.password}`)
      await endConnections(site)
    },
  },
  wrongUrl('the database of Redis does not exist', ({ shared }) => `${shared.brokers.redisUrl}/99`, /99/, /REDIS_URL/),
  wrongUrl('the Redis user may not select its database', (site) => `${site.envOf('projector').REDIS_URL}/1`, /select/i),
  wrongUrl('nothing listens at the address of Redis', () => 'redis://127.0.0.1:1', /127\.0\.0\.1:1\b/),
  wrongUrl(
    'the projector speaks TLS to a plain Redis',
    (site) => site.envOf('projector').REDIS_URL!.replace('redis:', 'rediss:'),
    /rediss:/,
  ),
  wrongUrl(
    'the address of Redis is the address of Kafka',
    ({ shared }) => `redis://${shared.brokers.kafka.admin}`,
    /REDIS_URL/,
  ),
  denied('the Redis user may not call HDEL, from the start', ['hdel'], /hdel/i, true),
  denied('the Redis user loses HDEL', ['hdel'], /hdel/i),
  denied('the Redis user loses HSET', ['hset'], /hset/i),
  denied('the Redis user loses EVALSHA and EVAL', ['evalsha', 'eval'], /eval/i),
  {
    name: 'the Redis user loses its right to the keys of customers',
    break: (site) => site.changeRedisUser('resetkeys', ...keysBut(site, 'customer')),
    symptoms: [{ of: 'projector', says: [/customer:|REDIS_KEY_PREFIX/] }, blocked('projector')],
    repair: (site) => site.changeRedisUser(`~${site.keyPrefix}customer:*`),
  },
  {
    name: 'the Redis user has no right to the keys of erasure marks, as before erasures existed',
    atStart: true,
    break: (site) => site.changeRedisUser('resetkeys', ...keysBut(site, 'erased')),
    symptoms: [{ of: 'projector', says: [/erased:/] }, blocked('projector')],
    repair: (site) => site.changeRedisUser(`~${site.keyPrefix}erased:*`),
  },
  {
    name: 'the Redis user has no right to the keys of indexes, as before indexes existed',
    atStart: true,
    break: (site) => site.changeRedisUser('resetkeys', ...keysBut(site, 'index')),
    symptoms: [{ of: 'projector', says: [/index:/] }, blocked('projector')],
    repair: (site) => site.changeRedisUser(`~${site.keyPrefix}index:*`),
  },
  denied('the Redis user may not call ZADD, as before indexes existed', ['zadd'], /zadd/i, true),
  {
    name: 'the password of the Redis user changes while the projector runs',
    break: async (site) => {
      await site.changeRedisUser('resetpass', '>another')
      await call(site, 'CLIENT', 'KILL', 'USER', site.keyPrefix.slice(0, -1))
    },
    symptoms: [{ of: 'projector', says: [/REDIS_URL|password/] }, blocked('projector')],
    repair: (site) => site.changeRedisUser('resetpass', `>${site.password}`),
  },
  {
    name: 'the Redis user is disabled from the start',
    atStart: true,
    break: (site) => site.changeRedisUser('off'),
    symptoms: [{ of: 'projector', says: [/REDIS_URL|password/] }, blocked('projector')],
    repair: (site) => site.changeRedisUser('on'),
  },
  changed(
    'Redis becomes a replica',
    ['REPLICAOF', '127.0.0.1', '1'],
    ['REPLICAOF', 'NO', 'ONE'],
    /READONLY|read.only|replica/i,
  ),
  changed('Redis is full', ['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0'], /OOM|memory/i),
  changed(
    'Redis gets a setting that lets it evict customers',
    ['CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru'],
    ['CONFIG', 'SET', 'maxmemory-policy', 'noeviction'],
    /maxmemory-policy/,
  ),
  {
    name: 'Redis loses all data and all scripts',
    options: { privateRedis: true },
    break: async (site) => {
      await call(site, 'FLUSHALL')
      await call(site, 'SCRIPT', 'FLUSH')
    },
  },
  {
    name: 'Redis refuses writes, because it cannot save them',
    options: { privateRedis: true },
    break: async (site) => {
      // Redis cannot save its data while a folder has the name of the file. A client of Redis 7
      // cannot change the file's name.
      mkdirSync(await dumpOf(site))
      await call(site, 'CONFIG', 'SET', 'save', '3600 1')
      await call(site, 'BGSAVE')
    },
    symptoms: [{ of: 'projector', says: [/MISCONF|snapshot|persist/i] }],
    repair: async (site) => {
      await call(site, 'CONFIG', 'SET', 'save', '')
      rmSync(await dumpOf(site), { recursive: true })
      await call(site, 'CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no')
    },
  },
  {
    name: 'Redis accepts no more connections',
    options: { privateRedis: true },
    break: async (site) => {
      await call(site, 'CONFIG', 'SET', 'maxclients', '1')
      await call(site, 'CLIENT', 'KILL', 'SKIPME', 'yes')
    },
    symptoms: [{ of: 'projector', says: [/max number of clients|maxclients/] }],
    repair: async (site) => void (await call(site, 'CONFIG', 'SET', 'maxclients', '10000')),
  },
  {
    name: 'the key of a customer has a value of another type',
    break: async (site) => {
      const event = makeCustomersEvent()
      await site.redis.set(customerKey(event.customerUuid, site.keyPrefix), 'of somebody else')
      await site.post(event)
    },
  },
  {
    name: 'the key of the positions has a value of another type',
    break: async (site) => {
      await site.redis.del(site.positionsKey)
      await site.redis.set(site.positionsKey, 'of somebody else')
    },
    symptoms: [{ of: 'projector', says: [/WRONGTYPE|positions/] }],
    repair: async (site) => void (await site.redis.del(site.positionsKey)),
  },
]
