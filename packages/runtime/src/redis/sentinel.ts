import { Redis, type RedisOptions } from 'ioredis'
import { addressesOf } from './address.ts'
import type { RedisSettings } from './settings.ts'

/**
 * Pause after a round in which no Sentinel named a primary. Without a pause ioredis would give up.
 */
const NEXT_ROUND_MS = 500

const refusal = /^failed to connect to sentinel (\S+) because (.*)$/s
const unknownName = /^connected to sentinel (\S+) successfully, but got an invalid reply/

/**
 * Options of a client of one server. ioredis' own type does not allow the value undefined for
 * `replyMapping`.
 */
export type SingleOptions = Omit<RedisOptions, 'replyMapping'>

export interface SentinelClient {
  readonly redis: Redis
  /**
   * Adds the missing facts to an error of the connection: why each Sentinel named no primary, or
   * which address the Sentinels named.
   */
  readonly explain: (error: Error) => Error
}

/** Last address that the Sentinels named as the primary, by client. */
const primaries = new WeakMap<object, string>()

/** Returns the address that the Sentinels have named. Undefined without Sentinels. */
export const primaryOf = (client: object): string | undefined => primaries.get(client)

/**
 * Ignores errors of the clients that listen for a failover at each Sentinel. Without a listener,
 * ioredis 6.0.0 prints each error to stderr while one Sentinel is down.
 */
const ignoreSilentSentinels = (redis: Redis): void => {
  const { connector } = redis as unknown as { readonly connector: { connectToSentinel(...args: unknown[]): Redis } }
  const connect = connector.connectToSentinel.bind(connector)
  connector.connectToSentinel = (...args) => connect(...args).on('error', () => {})
}

/**
 * Creates a client that asks the Sentinels for the primary before each connection. When the
 * Sentinels announce another primary, the client leaves the old primary.
 */
export const openSentinel = (settings: RedisSettings, options: SingleOptions): SentinelClient => {
  const [{ host: name }] = addressesOf(settings)
  const reasons = new Map<string, string>()
  const redis: Redis = new Redis({
    ...options,
    name,
    sentinels: [...settings.REDIS_SENTINELS],
    sentinelRetryStrategy: () => NEXT_ROUND_MS,
    sentinelReconnectStrategy: () => NEXT_ROUND_MS,
    sentinelCommandTimeout: settings.REDIS_COMMAND_TIMEOUT_MS,
    failoverDetector: true,
    // Use only the Sentinels of REDIS_SENTINELS, because Sentinels announce addresses that this
    // client may be unable to reach.
    updateSentinels: false,
    ...(options.tls && { enableTLSForSentinelMode: true, sentinelTLS: options.tls }),
    // Only this function of ioredis gets the address of the primary. The result null leaves the
    // address unchanged.
    natMap: (address) => {
      primaries.set(redis, address)
      return null
    },
  })
  ignoreSilentSentinels(redis)
  redis.on('sentinelError', ({ message }: Error) => {
    const [, refusing, reason = ''] = refusal.exec(message) ?? []
    // ioredis gives no reason if a Sentinel refuses the connection.
    if (refusing !== undefined) reasons.set(refusing, reason.replace(/^Connection is closed\.$/, 'no connection'))
    const [, unknowing] = unknownName.exec(message) ?? []
    if (unknowing !== undefined) reasons.set(unknowing, `knows no primary ${JSON.stringify(name)}`)
  })
  return {
    redis,
    explain: (error) => {
      if (error.message.startsWith('All sentinels are unreachable')) {
        const each = [...reasons].map(([sentinel, reason]) => `${sentinel} (${reason})`)
        return new Error(`no Sentinel names a primary: ${each.join(', ')}`)
      }
      const { syscall, code } = error as NodeJS.ErrnoException
      if (syscall !== 'connect' && syscall !== 'getaddrinfo') return error
      return Object.assign(new Error(`Sentinel names ${primaryOf(redis)} as the primary: ${error.message}`), { code })
    },
  }
}
