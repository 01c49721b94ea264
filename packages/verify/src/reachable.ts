import { connect } from 'node:net'
import { addressesOf } from '@customer-stream/runtime/redis'

const TIMEOUT_MS = 3000

interface Address {
  readonly host: string
  readonly port: number
  /** Path of a Unix socket, which replaces host and port. */
  readonly path?: string
}

/**
 * Returns the reason why an address accepts no connection, e.g. an error code. Undefined if the
 * address accepts a connection.
 */
const whyUnreachable = ({ host, port, path }: Address): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = connect(path === undefined ? { host, port } : { path })
    const done = (code?: string) => {
      socket.destroy()
      resolve(code)
    }
    socket.setTimeout(TIMEOUT_MS, () => done(`no answer within ${TIMEOUT_MS} ms`))
    socket.once('connect', () => done())
    socket.once('error', ({ code, message }: NodeJS.ErrnoException) => done(code ?? message))
  })

const addressOfBroker = (broker: string): Address => {
  const at = broker.lastIndexOf(':')
  return { host: broker.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(broker.slice(at + 1)) }
}

const requireOne = async (what: string, setting: string, addresses: readonly Address[]): Promise<void> => {
  const reasons = await Promise.all(addresses.map(whyUnreachable))
  if (reasons.some((reason) => reason === undefined)) return
  const list = addresses.map(({ host, port, path }, i) => `${path ?? `${host}:${port}`} (${reasons[i]})`).join(', ')
  throw new Error(
    `${what} cannot be reached at ${list}. The address comes from ${setting}: start the server, or correct the ` +
      'setting.',
  )
}

export interface RedisPlaceSettings {
  /** One URL, or the URLs of a cluster's nodes, separated by commas. */
  readonly REDIS_URL: string
  /** Sentinels that know the address of Redis, if REDIS_URL has only the name of the primary. */
  readonly REDIS_SENTINELS?: readonly Address[]
}

export interface ReachableSettings extends Partial<RedisPlaceSettings> {
  readonly KAFKA_BROKERS: readonly string[]
}

/** Rejects like {@link requireReachable} if no Redis, or no Sentinel, accepts a connection. */
export const requireRedis = ({ REDIS_URL, REDIS_SENTINELS = [] }: RedisPlaceSettings): Promise<void> =>
  REDIS_SENTINELS.length > 0
    ? requireOne('Sentinel', 'REDIS_SENTINELS', REDIS_SENTINELS)
    : requireOne('Redis', 'REDIS_URL', addressesOf({ REDIS_URL }))

/**
 * Rejects if no broker or no Redis accepts a connection. The error names the address, the cause and
 * the setting, unlike the errors of kafkajs and ioredis. Without REDIS_URL only Kafka is checked.
 */
export const requireReachable = async (settings: ReachableSettings): Promise<void> => {
  const { KAFKA_BROKERS, REDIS_URL, REDIS_SENTINELS = [] } = settings
  await requireOne('Kafka', 'KAFKA_BROKERS', KAFKA_BROKERS.map(addressOfBroker))
  if (REDIS_URL !== undefined) await requireRedis({ REDIS_URL, REDIS_SENTINELS })
}
