import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from '../process/log.ts'
import type { Loaded } from '../process/settings.ts'
import type { redisSettings } from './settings.ts'

/** Client of one Redis server or of a Redis Cluster. */
export type RedisClient = Redis | Cluster
export type { Redis }

export type RedisSettings = Loaded<typeof redisSettings>

/** Options that fail fast and leave all retries to the caller. */
const nodeOptions = (settings: RedisSettings) =>
  ({
    commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,
    connectTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
    // While a server hangs, timed-out commands stay in the client's queue and in the socket's
    // buffer. A new connection drops these commands.
    socketTimeout: settings.REDIS_COMMAND_TIMEOUT_MS * 2,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // After a failover the old primary answers READONLY (Redis 6 inside a script's error). A new
    // connection to the same address finds the new primary.
    reconnectOnError: (error) => error.message.includes('READONLY'),
  }) satisfies RedisOptions

const retryDelayMs = (tries: number) => Math.min(50 * 2 ** Math.min(tries, 6), 2000) * (0.5 + Math.random() / 2)

const openCluster = (settings: RedisSettings): Cluster => {
  const nodes = settings.REDIS_URL.split(',').map((url) => new URL(url.trim()))
  const [{ protocol, username, password }] = nodes as [URL, ...URL[]]
  return new Cluster(
    // A URL has an IPv6 address in brackets. ioredis needs the address without brackets.
    nodes.map(({ hostname, port }) => ({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      // With the ready check, connect() never settles while the cluster is down. Commands report
      // the outage too (CLUSTERDOWN).
      enableReadyCheck: false,
      clusterRetryStrategy: retryDelayMs,
      // A moving slot costs one or two redirections. More redirections mean an outage, and the
      // caller retries.
      maxRedirections: 5,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      // A redirection updates one slot. This refresh updates all slots.
      slotsRefreshInterval: 10_000,
      slotsRefreshTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
      // Keep the host name, because TLS compares the name with the certificate.
      dnsLookup: (host, callback) => callback(null, host),
      redisOptions: {
        ...nodeOptions(settings),
        ...(username !== '' && { username: decodeURIComponent(username) }),
        ...(password !== '' && { password: decodeURIComponent(password) }),
        ...(protocol === 'rediss:' && { tls: {} }),
      },
    },
  )
}

const openSingle = (settings: RedisSettings): Redis =>
  new Redis(settings.REDIS_URL, {
    ...nodeOptions(settings),
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: retryDelayMs,
  })

/** Messages of ioredis for a command without a connection, or without a reply. */
const NO_REASON = /isn't writeable|Connection is closed|max retries per request/

/** Returns true if a command failed because of its connection. {@link causeOf} has the reason. */
export const isConnectionLoss = (error: Error): boolean => NO_REASON.test(error.message)

/** Last connection error of each client, until a connection is ready. */
const connectionProblems = new WeakMap<RedisClient, Error>()

/** Returns the connection's error for a lost connection. Returns any other error unchanged. */
export const causeOf =
  (client: RedisClient) =>
  (error: Error): Error => {
    if (!isConnectionLoss(error)) return error
    const known = connectionProblems.get(client)
    if (known) return known
    return error.name === 'MaxRetriesPerRequestError' ? new Error('The connection closed before the reply') : error
  }

/**
 * Returns true for a failed SELECT. ioredis ignores this error and uses database 0 instead of the
 * database in the URL.
 */
const isFailedSelect = (error: Error): boolean =>
  (error as Error & { readonly command?: { readonly name?: string } }).command?.name === 'select'

/**
 * Creates a Redis client that fails fast and leaves all retries to the caller. With its defaults
 * ioredis waits forever for a hung server, queues commands without limit while disconnected, and
 * resends commands that may have been applied.
 */
export const createRedis = (settings: RedisSettings, logger: Logger): RedisClient => {
  const redis = settings.REDIS_CLUSTER ? openCluster(settings) : openSingle(settings)
  let lastMessage = ''
  const onError = (error: Error, node?: string) => {
    // Log each new message once, not at each attempt.
    if (error.message !== lastMessage)
      logger.warn({ err: error, ...(node !== undefined && { node }) }, 'Redis connection')
    lastMessage = error.message
    if (!isConnectionLoss(error)) connectionProblems.set(redis, error)
    if (isFailedSelect(error)) redis.disconnect(true)
  }
  redis.on('error', onError)
  redis.on('node error', onError)
  redis.on('ready', () => {
    lastMessage = ''
    connectionProblems.delete(redis)
    logger.info('connected to Redis')
  })
  return redis
}

export const isCluster = (client: RedisClient): client is Cluster => client instanceof Cluster

/** Returns all servers that accept writes, according to the client's last information. */
export const mastersOf = (client: RedisClient): readonly Redis[] =>
  isCluster(client) ? client.nodes('master') : [client]

/**
 * Resolves when each master answers. May be called again after a rejection, because the client
 * keeps connecting in the background.
 */
export const connectRedis = async (client: RedisClient): Promise<void> => {
  if (client.status === 'wait') await client.connect()
  // The cluster client connects to a node at the node's first command. The client refuses further
  // commands until that connection is ready.
  await Promise.all(mastersOf(client).map((master) => master.ping()))
}
