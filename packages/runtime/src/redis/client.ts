import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from '../log.ts'
import type { Loaded } from '../settings.ts'
import type { redisSettings } from './settings.ts'

/** One Redis, or a Redis Cluster behind one client. */
export type RedisClient = Redis | Cluster
export type { Redis }

export type RedisSettings = Loaded<typeof redisSettings>

/** Fails fast and leaves every retry to the user. */
const nodeOptions = (settings: RedisSettings) =>
  ({
    commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,
    connectTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
    // A command that has timed out stays in the client's queue and its bytes in the socket's, for as long as the server hangs: a new connection drops both.
    socketTimeout: settings.REDIS_COMMAND_TIMEOUT_MS * 2,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // After a failover the old primary answers READONLY (Redis 6 in the midst of a script's error): look for the new one behind the same address.
    reconnectOnError: (error) => error.message.includes('READONLY'),
  }) satisfies RedisOptions

const retryDelayMs = (tries: number) => Math.min(50 * 2 ** Math.min(tries, 6), 2000) * (0.5 + Math.random() / 2)

const openCluster = (settings: RedisSettings): Cluster => {
  const nodes = settings.REDIS_URL.split(',').map((url) => new URL(url.trim()))
  const [{ protocol, username, password }] = nodes as [URL, ...URL[]]
  return new Cluster(
    // An IPv6 address stands in brackets, which only a URL knows.
    nodes.map(({ hostname, port }) => ({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      // Left on, connect() never settles where the cluster is down at that moment. Commands say it themselves: CLUSTERDOWN.
      enableReadyCheck: false,
      clusterRetryStrategy: retryDelayMs,
      // A slot that moves costs one redirection or two. What is beyond, and what a dead master costs, is an outage for the user to wait out.
      maxRedirections: 5,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      // A redirection teaches the client one slot; this teaches it the others, and those of masters that have joined.
      slotsRefreshInterval: 10_000,
      slotsRefreshTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
      // The name as given: TLS holds it against the certificate.
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
  new Redis(settings.REDIS_URL, { ...nodeOptions(settings), lazyConnect: true, enableOfflineQueue: false, retryStrategy: retryDelayMs })

/** ioredis says this of every command while it has no connection. The reason is in the error of the connection. */
export const saysNoConnection = (error: Error): boolean => /isn't writeable|Connection is closed/.test(error.message)

/** The last error of each client's connections, until one is ready. */
const connectionProblems = new WeakMap<RedisClient, Error>()

/** Why the client has no connection; undefined if it has one, or if no error told. */
export const connectionProblemOf = (client: RedisClient): Error | undefined => connectionProblems.get(client)

/** ioredis goes on in database 0 if it may not select the one in the URL. */
const isFailedSelect = (error: Error): boolean =>
  (error as Error & { readonly command?: { readonly name?: string } }).command?.name === 'select'

/**
 * A Redis client that fails fast and leaves every retry to its user. Left to its defaults ioredis waits for ever on a hung server, queues commands without
 * bound while disconnected, and resends by itself what it cannot know to be unapplied.
 */
export const createRedis = (settings: RedisSettings, logger: Logger): RedisClient => {
  const redis = settings.REDIS_CLUSTER ? openCluster(settings) : openSingle(settings)
  let lastMessage = ''
  const onError = (error: Error, node?: string) => {
    // One line per kind of trouble, not one per try.
    if (error.message !== lastMessage) logger.warn({ err: error, ...(node !== undefined && { node }) }, 'Redis connection')
    lastMessage = error.message
    if (!saysNoConnection(error)) connectionProblems.set(redis, error)
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

/** Every server that takes writes, as far as the client knows. */
export const mastersOf = (client: RedisClient): readonly Redis[] => (isCluster(client) ? client.nodes('master') : [client])

/** Resolves when every master answers. May be called again after it has rejected: once asked to connect, the client goes on trying by itself. */
export const connectRedis = async (client: RedisClient): Promise<void> => {
  if (client.status === 'wait') await client.connect()
  // The cluster's client connects to a node at the first command for it, and until then refuses every other.
  await Promise.all(mastersOf(client).map((master) => master.ping()))
}
