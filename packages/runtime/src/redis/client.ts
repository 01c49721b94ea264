import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from '../process/log.ts'
import type { Loaded } from '../process/settings.ts'
import type { redisSettings } from './settings.ts'

/** A client of one Redis or of a Redis Cluster. */
export type RedisClient = Redis | Cluster
export type { Redis }

export type RedisSettings = Loaded<typeof redisSettings>

/** Options that fail fast and leave all retries to the caller. */
const nodeOptions = (settings: RedisSettings) =>
  ({
    commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,
    connectTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
    // A timed-out command stays in the client's queue, and its bytes in the socket's buffer, while
    // the server hangs. A new connection drops both.
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
    // A URL has an IPv6 address in brackets. The client needs it without them.
    nodes.map(({ hostname, port }) => ({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      // If this is on and the cluster is down, connect() never settles. Commands report it anyway:
      // CLUSTERDOWN.
      enableReadyCheck: false,
      clusterRetryStrategy: retryDelayMs,
      // A moving slot costs one or two redirections. More of them, or a dead master, are an outage.
      // The caller retries.
      maxRedirections: 5,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      // A redirection updates one slot. This updates all slots, also those of new masters.
      slotsRefreshInterval: 10_000,
      slotsRefreshTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
      // Keeps the host name, because TLS compares it with the certificate.
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

/** Messages of ioredis for a command that had no connection, or lost it before the reply. */
const NO_REASON = /isn't writeable|Connection is closed|max retries per request/

/**
 * True if ioredis rejected a command because of its connection. The error does not give the reason;
 * {@link causeOf} does.
 */
export const isConnectionLoss = (error: Error): boolean => NO_REASON.test(error.message)

/** Last connection error of each client, until a connection is ready. */
const connectionProblems = new WeakMap<RedisClient, Error>()

/** Returns the reason for the loss of the connection if that is why a command failed. */
export const causeOf =
  (client: RedisClient) =>
  (error: Error): Error => {
    if (!isConnectionLoss(error)) return error
    const known = connectionProblems.get(client)
    if (known) return known
    return error.name === 'MaxRetriesPerRequestError' ? new Error('The connection closed before the reply') : error
  }

/**
 * True for a failed SELECT. ioredis ignores it and uses database 0 instead of the one in the URL.
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
    // One log line for each kind of problem, not for each attempt.
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

/** Returns all servers that accept writes, as far as the client knows. */
export const mastersOf = (client: RedisClient): readonly Redis[] =>
  isCluster(client) ? client.nodes('master') : [client]

/**
 * Resolves when each master answers. It may be called again after a rejection, because the client
 * keeps connecting in the background.
 */
export const connectRedis = async (client: RedisClient): Promise<void> => {
  if (client.status === 'wait') await client.connect()
  // The cluster client connects to a node with the first command for it. It refuses other commands
  // until then.
  await Promise.all(mastersOf(client).map((master) => master.ping()))
}
