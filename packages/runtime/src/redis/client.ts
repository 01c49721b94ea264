import { isIP } from 'node:net'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { Logger } from '../process/log.ts'
import { currentTls } from '../process/tls.ts'
import { addressesOf, type RedisAddress } from './address.ts'
import { connectAgainAtEnd } from './connect-again.ts'
import { openSentinel, type SingleOptions } from './sentinel.ts'
import type { RedisSettings } from './settings.ts'

/** Client of one Redis server or of a Redis Cluster. */
export type RedisClient = Redis | Cluster
export type { Redis }

/** Returns the options with which a command fails fast. The caller does all retries. */
const nodeOptions = (settings: RedisSettings) =>
  ({
    commandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,
    connectTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
    // After this time without data, ioredis opens a new connection. Otherwise the commands that
    // timed out would stay in the client's queue and in the socket's buffer while a server hangs.
    socketTimeout: settings.REDIS_COMMAND_TIMEOUT_MS * 2,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // After a failover the old primary answers READONLY. A new connection to the same address finds
    // the new primary. Search the whole message, because Redis 6 has this word inside the error of
    // a script.
    reconnectOnError: (error) => error.message.includes('READONLY'),
  }) satisfies RedisOptions

const retryDelayMs = (tries: number) => Math.min(50 * 2 ** Math.min(tries, 6), 2000) * (0.5 + Math.random() / 2)

/** Returns TLS options, or undefined for plain text. */
const tlsOf = ({ tls }: RedisAddress, settings: RedisSettings, servername = ''): RedisOptions['tls'] => {
  if (!tls) return undefined
  const hasName = servername !== '' && isIP(servername) === 0
  // Object.assign keeps the getters. A spread would replace them by their current values.
  return Object.assign(currentTls(settings, 'REDIS_TLS'), hasName && { servername })
}

/** Makes each new connection use the login that the settings have at that time. */
const useCurrentLogin = (redis: Redis, settings: RedisSettings): void => {
  Object.defineProperties(redis.options, {
    username: { enumerable: true, get: () => addressesOf(settings)[0].username },
    password: { enumerable: true, get: () => addressesOf(settings)[0].password },
    sentinelUsername: { enumerable: true, get: () => settings.REDIS_SENTINEL_USERNAME },
    sentinelPassword: { enumerable: true, get: () => settings.REDIS_SENTINEL_PASSWORD },
  })
}

const openCluster = (settings: RedisSettings): Cluster => {
  const nodes = addressesOf(settings)
  const tls = tlsOf(nodes[0], settings)
  const cluster = new Cluster(
    nodes.map(({ host, port }) => ({ host, port })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      // With the ready check, connect() never settles while the cluster is down. Commands report
      // the outage too (CLUSTERDOWN).
      enableReadyCheck: false,
      clusterRetryStrategy: retryDelayMs,
      // If a slot is moved, a command needs one or two redirections. More redirections mean an
      // outage, and the caller retries.
      maxRedirections: 5,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      // A redirection updates one slot. This refresh updates all slots.
      slotsRefreshInterval: 10_000,
      slotsRefreshTimeout: settings.REDIS_CONNECT_TIMEOUT_MS,
      // Keep the host name, because TLS compares the name with the certificate.
      dnsLookup: (host, callback) => callback(null, host),
      redisOptions: { ...nodeOptions(settings), ...(tls && { tls }) },
    },
  )
  cluster.on('+node', (node: Redis) => useCurrentLogin(node, settings))
  return cluster
}

const openSingle = (settings: RedisSettings, options: SingleOptions): Redis => {
  const [address] = addressesOf(settings)
  const { host, port, path } = address
  const tls = tlsOf(address, settings, host)
  return new Redis({ ...options, ...(tls && { tls }), ...(path === undefined ? { host, port } : { path }) })
}

interface Opened {
  readonly redis: RedisClient
  /** Adds missing facts to an error of the connection. */
  readonly explain: (error: Error) => Error
}

const open = (settings: RedisSettings): Opened => {
  const explain = (error: Error) => error
  if (settings.REDIS_CLUSTER) return { redis: openCluster(settings), explain }
  const [address] = addressesOf(settings)
  const options: SingleOptions = {
    ...nodeOptions(settings),
    db: address.database,
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: retryDelayMs,
  }
  const tls = tlsOf(address, settings)
  const opened =
    settings.REDIS_SENTINELS.length > 0
      ? openSentinel(settings, { ...options, ...(tls && { tls }) })
      : { redis: openSingle(settings, options), explain }
  useCurrentLogin(opened.redis, settings)
  return opened
}

/** Messages of ioredis for a command without a connection, or without a reply. */
const NO_REASON = /isn't writeable|Connection is closed|max retries per request/

/** Returns true if a command failed because of its connection. {@link causeOf} has the reason. */
export const isConnectionLoss = (error: Error): boolean => NO_REASON.test(error.message)

const replyErrors = new Set(['ReplyError', 'ClusterAllFailedError'])

/**
 * Errors that connections of clients have reported. The list is needed, because errors of TLS have
 * no common type.
 */
const connectionErrors = new WeakSet<Error>()

/** Returns true for an error of a Redis client: of a connection, a command or a reply. */
export const isRedisError = (error: unknown): error is Error =>
  error instanceof Error &&
  (connectionErrors.has(error) ||
    replyErrors.has(error.name) ||
    isConnectionLoss(error) ||
    error.message === 'Command timed out')

/** Last connection error of each client. The error is removed when a connection is ready. */
const connectionProblems = new WeakMap<RedisClient, Error>()

/**
 * If the error only says that the connection is lost, returns the connection's own error. Returns
 * any other error unchanged.
 */
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
  const { redis, explain } = open(settings)
  connectAgainAtEnd(redis)
  let lastMessage = ''
  const onError = (found: Error, node?: string) => {
    const error = explain(found)
    connectionErrors.add(found).add(error)
    // Log each new message once, not at each attempt.
    if (error.message !== lastMessage)
      logger.warn({ err: error, ...(node !== undefined && { node }) }, 'a connection to Redis failed')
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

/** Rejects at the first error. With Sentinel, connect() would wait until a Sentinel answers. */
const firstProblem = (client: RedisClient): Promise<never> =>
  new Promise((_, reject) => {
    client.once('error', (error) => reject(connectionProblems.get(client) ?? error))
  })

/**
 * Resolves when each master answers. May be called again after a rejection, because the client
 * keeps connecting in the background.
 */
export const connectRedis = async (client: RedisClient): Promise<void> => {
  if (client.status === 'wait') await Promise.race([client.connect(), firstProblem(client)])
  // The cluster client connects to a node at the node's first command. The client refuses further
  // commands until that connection is ready.
  await Promise.all(mastersOf(client).map((master) => master.ping()))
}
