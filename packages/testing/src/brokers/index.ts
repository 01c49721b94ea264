import { type GivenAddresses, givenAddresses } from './given.ts'
import { openLocal } from './local.ts'
import type { Provider, RedisOptions, RedisServer } from './provider.ts'
import { unlessAborted } from './unless-aborted.ts'

export type { RedisOptions, RedisServer }

export interface Brokers {
  readonly kind: 'given' | 'docker' | 'local'
  /** host:port of each Kafka broker */
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
  /** one line for people: which brokers, how chosen */
  readonly description: string
  /** Starts one more Redis of the same kind, with its own flags and environment, e.g. another locale or a small maxmemory. Given brokers: docker, else local. */
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /** May be called twice. */
  stop(): Promise<void>
}

export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly log?: (line: string) => void
  /** Gives a start up: it rejects after everything started so far has ended. */
  readonly signal?: AbortSignal
}

type Log = (line: string) => void

const forcedKind = ({ CUSTOMER_STREAM_BROKERS: kind }: NodeJS.ProcessEnv): Provider['kind'] | undefined => {
  if (!kind) return undefined
  if (kind !== 'docker' && kind !== 'local') throw new Error(`CUSTOMER_STREAM_BROKERS must be docker or local, not ${kind}.`)
  return kind
}

interface Choice {
  readonly provider: Provider
  readonly reason: string
}

const chooseProvider = async (forced: Provider['kind'] | undefined, log: Log, signal?: AbortSignal): Promise<Choice> => {
  const wanted = `CUSTOMER_STREAM_BROKERS=${forced}`
  if (forced === 'local') return { provider: await openLocal(log), reason: wanted }
  // Loaded when needed: testcontainers takes half a second.
  const { openDocker, whyNoContainers } = await import('./docker.ts')
  const obstacle = await unlessAborted(whyNoContainers(log), signal)
  if (!obstacle) return { provider: openDocker(), reason: forced ? wanted : 'a container engine answers' }
  if (forced) throw new Error(`${wanted}, but ${obstacle}.`)
  return { provider: await openLocal(log), reason: obstacle }
}

/** The way by which more servers can be started beside given brokers, or by a process that did not start them. */
export const openProvider = async (log: Log = () => {}, env: NodeJS.ProcessEnv = process.env): Promise<Provider> =>
  (await chooseProvider(forcedKind(env), log)).provider

const useGiven = (addresses: GivenAddresses, log: Log): Brokers => {
  let more: Promise<Provider> | undefined
  return {
    kind: 'given',
    ...addresses,
    // A URL may carry a password.
    description: `brokers given by KAFKA_BROKERS and REDIS_URL: Kafka ${addresses.kafkaBrokers.join(',')}, Redis ${new URL(addresses.redisUrl).host}`,
    startRedis: async (options) => {
      more ??= openProvider(log)
      return (await more).startRedis(options)
    },
    stop: async () => (await more)?.close(),
  }
}

const kinds = { docker: 'containers', local: 'local processes' }

const startWith = async ({ provider, reason }: Choice, signal: AbortSignal | undefined): Promise<Brokers> => {
  try {
    const [kafka, redis] = await unlessAborted(Promise.all([provider.startKafka(), provider.startRedis()]), signal)
    return {
      kind: provider.kind,
      kafkaBrokers: [kafka],
      redisUrl: redis.url,
      description: `brokers in ${kinds[provider.kind]} (${reason}): Kafka ${kafka}, Redis ${new URL(redis.url).host}`,
      startRedis: (options) => provider.startRedis(options),
      stop: () => provider.close(),
    }
  } catch (error) {
    await provider.close()
    throw error
  }
}

/**
 * Real Kafka and Redis: those given by KAFKA_BROKERS and REDIS_URL, else containers, else local processes. CUSTOMER_STREAM_BROKERS=docker or =local takes
 * one way and no other.
 */
export const startBrokers = async ({ env = process.env, log = () => {}, signal }: StartOptions = {}): Promise<Brokers> => {
  const forced = forcedKind(env)
  const given = forced ? undefined : givenAddresses(env)
  const brokers = given ? useGiven(given, log) : await startWith(await chooseProvider(forced, log, signal), signal)
  log(brokers.description)
  return brokers
}
