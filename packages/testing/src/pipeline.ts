import { join } from 'node:path'
import { createLogger, loadSettings } from '@customer-stream/runtime'
import { createKafka, kafkaSettings } from '@customer-stream/runtime/kafka'
import { connectRedis, createRedis, type RedisClient, redisSettings } from '@customer-stream/runtime/redis'
import { PROJECTION_VERSION, topicNames } from '@customer-stream/schemas'
import { sign } from '@customer-stream/simulator'
import { makePipelineFolder } from './brokers/run.ts'
import { freshNames } from './fresh-names.ts'
import { type ServiceName, type ServiceProcess, startService } from './service-process.ts'
import { type Verdict, type VerifyOptions, verify } from './verification/verify.ts'

export interface PipelineBrokers {
  readonly kafkaBrokers: readonly string[]
  readonly redisUrl: string
  /** Whether `redisUrl` names the nodes of a Redis Cluster. */
  readonly redisCluster?: boolean
}

/** Both services as processes on given brokers, under names of their own, and the means to send to them and to judge them. */
export interface Pipeline {
  readonly topics: ReturnType<typeof topicNames>
  readonly keyPrefix: string
  readonly secret: string
  readonly token: string
  /** Each service logs into it. It stays after `close`, until the next run starts brokers. */
  readonly folder: string
  start(name: ServiceName, env?: Readonly<Record<string, string>>): Promise<ServiceProcess>
  /** One delivery as the sender makes it, signed with this pipeline's secret; headers given here replace or add. */
  post(ingress: ServiceProcess, body: string | Buffer, headers?: Readonly<Record<string, string>>): Promise<Response>
  verify(ledgerPath?: string, options?: Pick<VerifyOptions, 'exact' | 'witness' | 'signal'>): Promise<Verdict>
  readonly redis: RedisClient
  /** A client of another Redis; the caller disconnects it. */
  connectRedis(url: string): Promise<RedisClient>
  readonly admin: ReturnType<ReturnType<typeof createKafka>['admin']>
  readonly kafka: ReturnType<typeof createKafka>
  /** Ends the services that still run, and the connections; removes the topics first where they would pile up. */
  close(options?: { readonly removeTopics: boolean }): Promise<void>
}

/** @param names of topics, keys and group; new ones when not given, so that nothing else on these brokers is touched. */
export const openPipeline = async (
  { kafkaBrokers, redisUrl, redisCluster = false }: PipelineBrokers,
  names = freshNames(),
): Promise<Pipeline> => {
  const { topicPrefix, groupId, keyPrefix } = names
  const secret = 'desk-secret'
  const token = 'desk-token'
  const shared = {
    KAFKA_BROKERS: kafkaBrokers.join(','),
    KAFKA_TOPIC_PREFIX: topicPrefix,
    KAFKA_CREATE_TOPICS: 'true',
    KAFKA_REPLICATION_FACTOR: '1',
  }
  const environments: Record<ServiceName, Record<string, string>> = {
    ingress: { ...shared, MYKAARMA_SIGNING_SECRETS: `desk=${secret}`, MYKAARMA_TOKENS: `desk=${token}` },
    projector: {
      ...shared,
      REDIS_URL: redisUrl,
      REDIS_CLUSTER: String(redisCluster),
      REDIS_KEY_PREFIX: keyPrefix,
      CONSUMER_GROUP_ID: groupId,
    },
  }
  const folder = await makePipelineFolder()
  const topics = topicNames(topicPrefix)
  const logger = createLogger('pipeline', 'silent')
  const kafka = createKafka(loadSettings(kafkaSettings, shared), { clientId: 'pipeline', logger })
  const admin = kafka.admin()
  const openRedis = async (url: string, cluster = false): Promise<RedisClient> => {
    const client = createRedis(loadSettings(redisSettings, { REDIS_URL: url, REDIS_CLUSTER: String(cluster) }), logger)
    await connectRedis(client)
    return client
  }
  const [redis] = await Promise.all([openRedis(redisUrl, redisCluster), admin.connect()])
  const services: ServiceProcess[] = []
  let started = 0

  return {
    topics,
    keyPrefix,
    secret,
    token,
    folder,
    kafka,
    admin,
    redis,
    connectRedis: (url) => openRedis(url),
    start: async (name, env = {}) => {
      started += 1
      const service = await startService(name, { ...environments[name], ...env }, join(folder, `${name}-${started}.log`))
      services.push(service)
      return service
    },
    post: (ingress, body, headers) =>
      fetch(`${ingress.url}/webhooks/mykaarma`, {
        method: 'POST',
        body,
        headers: {
          'content-type': 'text/plain',
          'mykaarma-signature-token': sign(body, secret),
          'x-authorization-token': token,
          ...headers,
        },
      }),
    verify: async (ledgerPath, options) => {
      // A client of its own: one that has seen a fault may still be about to connect again.
      const judge = await openRedis(redisUrl, redisCluster)
      try {
        return await verify({
          kafka,
          admin,
          redis: judge,
          topics,
          keyPrefix,
          projection: PROJECTION_VERSION,
          ...(ledgerPath !== undefined && { ledgerPath }),
          ...options,
        })
      } finally {
        judge.disconnect()
      }
    },
    close: async ({ removeTopics } = { removeTopics: false }) => {
      await Promise.all(services.map((service) => service.end()))
      // Only tidiness: one may be missing, or a broker be away.
      if (removeTopics) await admin.deleteTopics({ topics: Object.values(topics) }).catch(() => undefined)
      redis.disconnect()
      await admin.disconnect()
    },
  }
}
