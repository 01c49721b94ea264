import { connect } from 'node:net'

const TIMEOUT_MS = 3000

interface Address {
  readonly host: string
  readonly port: number
}

/**
 * Returns the reason why an address accepts no connection, e.g. an error code. Undefined if the
 * address accepts a connection.
 */
const whyUnreachable = ({ host, port }: Address): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = connect({ host, port })
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

const addressOfRedis = (url: string): Address => {
  const { hostname, port } = new URL(url)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) }
}

const requireOne = async (what: string, setting: string, addresses: readonly Address[]): Promise<void> => {
  const reasons = await Promise.all(addresses.map(whyUnreachable))
  if (reasons.some((reason) => reason === undefined)) return
  const list = addresses.map(({ host, port }, i) => `${host}:${port} (${reasons[i]})`).join(', ')
  throw new Error(
    `${what} cannot be reached at ${list}. The address comes from ${setting}: start the server, or correct the ` +
      'setting.',
  )
}

export interface ReachableSettings {
  readonly KAFKA_BROKERS: readonly string[]
  /**
   * One URL, or the URLs of a cluster's nodes, separated by commas. Undefined if the caller does not
   * use Redis.
   */
  readonly REDIS_URL?: string
}

/** Rejects like {@link requireReachable} if no Redis accepts a connection. */
export const requireRedis = (redisUrl: string): Promise<void> =>
  requireOne(
    'Redis',
    'REDIS_URL',
    redisUrl.split(',').map((url) => addressOfRedis(url.trim())),
  )

/**
 * Rejects if no broker or no Redis accepts a connection. The error names the address, the cause and
 * the setting, unlike the errors of kafkajs and ioredis.
 */
export const requireReachable = async ({ KAFKA_BROKERS, REDIS_URL }: ReachableSettings): Promise<void> => {
  await requireOne('Kafka', 'KAFKA_BROKERS', KAFKA_BROKERS.map(addressOfBroker))
  if (REDIS_URL !== undefined) await requireRedis(REDIS_URL)
}
