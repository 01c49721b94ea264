import { unlessAborted } from '@customer-stream/runtime'
import { requireReachable } from '@customer-stream/verify/reachable'
import { type GivenAddresses, givenAddresses } from './given.ts'
import { openLocal } from './local.ts'
import { MissingProgramsError } from './maven.ts'
import type { KafkaNode, Provider, RedisOptions, RedisServer } from './provider.ts'
import { removeOldPipelineFolders } from './run.ts'

export type { RedisOptions, RedisServer }

export interface Brokers {
  readonly kind: 'given' | 'docker' | 'local'
  /** host:port of each Kafka broker. */
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
  /** One line for people: the brokers in use, and the reason for this choice. */
  readonly description: string
  /**
   * Starts another Redis, with its own flags and environment, e.g. another locale or a small
   * maxmemory. If the brokers are containers, this Redis is a container too. If the brokers are
   * local processes, this Redis is a local process. If the brokers come from KAFKA_BROKERS and
   * REDIS_URL, this Redis is a container if an engine answers.
   */
  startRedis(options?: RedisOptions): Promise<RedisServer>
  /**
   * Each server of the cluster, so that a test can kill and restart it. Undefined if the servers
   * were not started as a cluster.
   */
  readonly killable?: { readonly brokers: readonly KafkaNode[]; readonly redis: RedisServer }
  /** Stops all servers that this call has started. May be called twice. */
  stop(): Promise<void>
}

export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly log?: (line: string) => void
  /** Cancels the start. The start rejects after all started servers have ended. */
  readonly signal?: AbortSignal
  /** True to start three replicating brokers instead of one. Has no effect on given brokers. */
  readonly cluster?: boolean
}

type Log = (line: string) => void

const forcedKind = ({ CUSTOMER_STREAM_BROKERS: kind }: NodeJS.ProcessEnv): Provider['kind'] | undefined => {
  if (!kind) return undefined
  if (kind !== 'docker' && kind !== 'local')
    throw new Error(`CUSTOMER_STREAM_BROKERS must be docker or local, not ${kind}.`)
  return kind
}

interface Choice {
  readonly provider: Provider
  readonly reason: string
}

const chooseProvider = async (
  forced: Provider['kind'] | undefined,
  log: Log,
  signal?: AbortSignal,
): Promise<Choice> => {
  const wanted = `CUSTOMER_STREAM_BROKERS=${forced}`
  if (forced === 'local') return { provider: await openLocal(log), reason: wanted }
  // Import testcontainers only if needed, because the import takes half a second.
  const { openDocker, whyNoContainers } = await import('./docker.ts')
  const obstacle = await unlessAborted(whyNoContainers(log), signal)
  if (!obstacle) return { provider: openDocker(), reason: forced ? wanted : 'a container engine answers' }
  if (forced) throw new Error(`${wanted}, but ${obstacle}.`)
  return { provider: await openLocal(log), reason: obstacle }
}

/**
 * Returns a provider that starts more servers. Used if KAFKA_BROKERS gives the brokers, or if
 * another process has started the brokers.
 */
export const openProvider = async (log: Log = () => {}, env: NodeJS.ProcessEnv = process.env): Promise<Provider> =>
  (await chooseProvider(forcedKind(env), log)).provider

const useGiven = async (addresses: GivenAddresses, log: Log): Promise<Brokers> => {
  await requireReachable({ KAFKA_BROKERS: addresses.kafkaBrokers, REDIS_URL: addresses.redisUrl })
  let more: Promise<Provider> | undefined
  return {
    kind: 'given',
    ...addresses,
    // Show only the host of the URL, because the URL may contain a password.
    description:
      `brokers given by KAFKA_BROKERS and REDIS_URL: Kafka ${addresses.kafkaBrokers.join(',')}, Redis ` +
      `${new URL(addresses.redisUrl).host}`,
    startRedis: async (options) => {
      more ??= openProvider(log)
      return (await more).startRedis(options)
    },
    stop: async () => (await more)?.close(),
  }
}

const kinds = { docker: 'containers', local: 'local processes' }

const startWith = async ({ provider, reason }: Choice, { signal, cluster = false }: StartOptions): Promise<Brokers> => {
  try {
    const kafka = cluster ? provider.startKafkaCluster() : provider.startKafka()
    const [started, redis] = await unlessAborted(Promise.all([kafka, provider.startRedis()]), signal)
    const kafkaBrokers = typeof started === 'string' ? [started] : started.map(({ address }) => address)
    return {
      kind: provider.kind,
      kafkaBrokers,
      redisUrl: redis.url,
      description:
        `brokers in ${kinds[provider.kind]} (${reason}): Kafka ${kafkaBrokers.join(',')}, Redis ` +
        `${new URL(redis.url).host}`,
      startRedis: (options) => provider.startRedis(options),
      ...(typeof started !== 'string' && { killable: { brokers: started, redis } }),
      stop: () => provider.close(),
    }
  } catch (error) {
    await provider.close()
    // Add the reason why containers cannot be used, because an engine may be easier to install than
    // Java and Maven.
    if (error instanceof MissingProgramsError)
      throw new Error(`${error.message}\nContainers cannot be used: ${reason}.`)
    throw error
  }
}

/**
 * Provides real Kafka and Redis: the servers in KAFKA_BROKERS and REDIS_URL, otherwise containers,
 * otherwise local processes. CUSTOMER_STREAM_BROKERS=docker or =local allows only containers or
 * only local processes.
 */
export const startBrokers = async (options: StartOptions = {}): Promise<Brokers> => {
  const { env = process.env, log = () => {}, signal } = options
  await removeOldPipelineFolders()
  const forced = forcedKind(env)
  const given = forced ? undefined : givenAddresses(env)
  const brokers = given
    ? await unlessAborted(useGiven(given, log), signal)
    : await startWith(await chooseProvider(forced, log, signal), options)
  log(brokers.description)
  return brokers
}
