import { hash } from 'node:crypto'
import { join } from 'node:path'
import type { ApiKey } from '@customer-stream/configuration'
import { createLogger, loadSettings } from '@customer-stream/runtime'
import {
  createAdmin,
  createKafka,
  type KafkaClient,
  kafkaSettings,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import { administratorOf } from '@customer-stream/runtime/kafkajs'
import type { RedisClient } from '@customer-stream/runtime/redis'
import { erasuresTopicName, PROJECTION_VERSION, stateTopicName, topicNames } from '@customer-stream/schemas'
import { sign } from '@customer-stream/simulator'
import { type Verdict, type VerifyOptions, verify } from '@customer-stream/verify'
import { makePipelineFolder } from './brokers/run.ts'
import { freshNames } from './fresh-names.ts'
import { openRedis } from './open-redis.ts'
import { type AnyServiceName, type ServiceProcess, startService } from './service-process.ts'

export interface PipelineBrokers {
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
  /**
   * More settings of the clients of Redis, for example REDIS_CLUSTER or REDIS_SENTINELS. They take
   * precedence over `redisUrl`.
   */
  readonly redisEnv?: Readonly<Record<string, string>>
}

/**
 * The services as processes on running brokers, with their own names of topics, keys and group.
 * Has functions that send events and verify the result.
 */
export interface Pipeline {
  readonly topics: ReturnType<typeof topicNames>
  readonly stateTopic: string
  readonly erasuresTopic: string
  readonly keyPrefix: string
  /** Consumer group of the projectors. */
  readonly groupId: string
  readonly secret: string
  readonly token: string
  /**
   * Folder with the logs of the services. The next run that starts brokers removes this folder.
   */
  readonly folder: string
  /** @param root folder of the working copy whose code runs. Default: `servicesRoot`. */
  start(name: AnyServiceName, env?: Readonly<Record<string, string>>, root?: string): Promise<ServiceProcess>
  /**
   * Sends one event as myKaarma does, signed with this pipeline's secret. `headers` extend or
   * replace the default headers.
   */
  post(ingress: ServiceProcess, body: string | Buffer, headers?: Readonly<Record<string, string>>): Promise<Response>
  verify(
    ledgerPath?: string,
    options?: Partial<
      Pick<
        VerifyOptions,
        'exact' | 'observer' | 'signal' | 'stateTopic' | 'erasuresTopic' | 'catchUpMs' | 'projection' | 'withIndexes'
      >
    >,
  ): Promise<Verdict>
  readonly redis: RedisClient
  /** Connects a client to another Redis. The caller must disconnect the client. */
  connectRedis(url: string): Promise<RedisClient>
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  /** kafkajs' admin client, for changes that our services never make. */
  readonly administrator: ReturnType<typeof administratorOf>
  /**
   * Ends the running services, and then the connections. `removeTopics` deletes the topics.
   * Otherwise, on brokers that run for a long time, topics would pile up.
   */
  close(options?: { readonly removeTopics: boolean }): Promise<void>
}

/** Returns READER_API_KEYS. The key of each entry is `<name>-api-key`. */
export const apiKeys = (entries: readonly Omit<ApiKey, 'sha256'>[]): string =>
  JSON.stringify(entries.map((entry) => ({ ...entry, sha256: hash('sha256', `${entry.name}-api-key`) })))

/** API key with all rights, for the reader of {@link openPipeline}. */
export const READER_KEY = 'full-api-key'

/** Sends a request with {@link READER_KEY} to a reader. */
export const askReader = (reader: Pick<ServiceProcess, 'url'>, path: string, options: RequestInit = {}) =>
  fetch(reader.url + path, { ...options, headers: { authorization: `Bearer ${READER_KEY}`, ...options.headers } })

const SECRET = 'desk-secret'
const TOKEN = 'desk-token'

/** Returns the environment of each service, as an operator would set it. */
const environmentsOf = (
  { kafkaBrokers, redisUrl, redisEnv }: PipelineBrokers,
  { topicPrefix, groupId, keyPrefix }: ReturnType<typeof freshNames>,
): Readonly<Record<AnyServiceName, Readonly<Record<string, string>>>> => {
  const shared = {
    KAFKA_BROKERS: kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: topicPrefix,
    KAFKA_CREATE_TOPICS: 'true',
    KAFKA_REPLICATION_FACTOR: '1',
  }
  return {
    ingress: { ...shared, MYKAARMA_SIGNING_SECRETS: `desk=${SECRET}`, MYKAARMA_TOKENS: `desk=${TOKEN}` },
    projector: {
      ...shared,
      REDIS_URL: redisUrl,
      ...redisEnv,
      REDIS_KEY_PREFIX: keyPrefix,
      CONSUMER_GROUP_ID: groupId,
    },
    reader: {
      ...shared,
      REDIS_URL: redisUrl,
      ...redisEnv,
      REDIS_KEY_PREFIX: keyPrefix,
      READER_API_KEYS: apiKeys([
        { name: 'full', scopes: ['read', 'pii', 'operate'], dealers: ['*'] },
        { name: 'masked', scopes: ['read'], dealers: ['*'] },
      ]),
    },
  }
}

const logger = createLogger('pipeline', 'silent')

/** Sends a body as myKaarma does. */
const post: Pipeline['post'] = (ingress, body, headers) =>
  fetch(`${ingress.url}/webhooks/mykaarma`, {
    method: 'POST',
    body,
    headers: {
      'content-type': 'text/plain',
      'mykaarma-signature-token': sign(body, SECRET),
      'x-authorization-token': TOKEN,
      ...headers,
    },
  })

/**
 * Opens a pipeline on running brokers.
 * @param names names of topics, keys and group. Default: unique names, so that the pipeline touches
 *   no other data.
 */
export const openPipeline = async (brokers: PipelineBrokers, names = freshNames()): Promise<Pipeline> => {
  const redisEnv = { REDIS_URL: brokers.redisUrl, ...brokers.redisEnv }
  const { topicPrefix, keyPrefix } = names
  const environments = environmentsOf(brokers, names)
  const folder = await makePipelineFolder()
  const topics = topicNames(topicPrefix)
  const compacted = { stateTopic: stateTopicName(topicPrefix), erasuresTopic: erasuresTopicName(topicPrefix) }
  const kafka = createKafka(loadSettings(kafkaSettings, environments.ingress), { clientId: 'pipeline', logger })
  const admin = createAdmin(kafka, { isPatient: true })
  const administrator = administratorOf(admin)
  const [redis] = await Promise.all([openRedis(redisEnv), admin.connect()])
  // Includes services that are still starting, so that `close` ends them too.
  const services: Promise<ServiceProcess>[] = []
  let isClosed = false

  return {
    topics,
    ...compacted,
    keyPrefix,
    groupId: names.groupId,
    secret: SECRET,
    token: TOKEN,
    folder,
    kafka,
    admin,
    administrator,
    redis,
    connectRedis: (url) => openRedis({ REDIS_URL: url }),
    start: async (name, env = {}, root) => {
      if (isClosed) throw new Error('the pipeline is closed')
      const logFile = join(folder, `${name}-${services.length + 1}.log`)
      const service = startService(name, { ...environments[name], ...env }, logFile, root)
      services.push(service)
      return service
    },
    post,
    verify: async (ledgerPath, options) => {
      // Use a separate client for the verifier, because the pipeline's client may still reconnect
      // after a fault.
      const verifierRedis = await openRedis(redisEnv)
      try {
        return await verify({
          admin,
          redis: verifierRedis,
          topics,
          ...compacted,
          keyPrefix,
          projection: PROJECTION_VERSION,
          ...(ledgerPath !== undefined && { ledgerPath }),
          ...options,
        })
      } finally {
        verifierRedis.disconnect()
      }
    },
    close: async ({ removeTopics } = { removeTopics: false }) => {
      isClosed = true
      const started = await Promise.allSettled(services)
      await Promise.all(started.map((service) => service.status === 'fulfilled' && service.value.end()))
      // Ignore errors of this cleanup: a topic may be missing, or a broker may be down.
      if (removeTopics)
        await administrator.deleteTopics({ topics: Object.values({ ...topics, ...compacted }) }).catch(() => undefined)
      redis.disconnect()
      await admin.disconnect()
    },
  }
}
