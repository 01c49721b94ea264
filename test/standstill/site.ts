import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAdmin, type KafkaClient, type TopicAdmin } from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  erasuresTopicName,
  PROJECTION_VERSION,
  positionsKey,
  stateTopicName,
  topicNames,
} from '@customer-stream/schemas'
import { administratorOf, openRedis, type ServiceName } from '@customer-stream/testing'
import { REDIS_RULES, type SiteTopics } from './rights.ts'
import { type Administrator, kafkaAt, type SharedBrokers } from './shared-brokers.ts'
import { createEvents, SECRETS, type SiteEvents } from './site-events.ts'
import { createRights, type SiteRights } from './site-rights.ts'
import { createTopicAdministration, type SiteAdministration } from './site-topics.ts'
import { type SupervisedService, superviseService } from './supervised-service.ts'

type Env = Readonly<Record<string, string>>

/**
 * Returns additional settings of the services. A service may store files in the folder.
 * @param login the users at Kafka, their password, and the URL of Redis at the start.
 */
export type SiteEnv = (
  shared: SharedBrokers,
  folder: string,
  login: {
    readonly password: string
    readonly redisUrl: string
    readonly userOf: (service: ServiceName) => string
  },
) => Partial<Record<ServiceName, Env>>

export interface SiteOptions {
  readonly partitions?: number
  readonly env?: SiteEnv
  /** Server settings of a Kafka for this site alone, without users. Undefined: the shared Kafka. */
  readonly privateKafka?: Env
  /**
   * True for a Redis for this site alone, without users. With `tls`, the projector connects by TLS,
   * and needs a client certificate.
   */
  readonly privateRedis?: boolean | 'tls'
}

/**
 * One installation of both services. Each site has its own users, rights, topics, keys and group.
 */
export interface Site extends SiteRights, SiteAdministration, SiteEvents {
  readonly shared: SharedBrokers
  readonly ingress: SupervisedService
  readonly projector: SupervisedService
  readonly topics: SiteTopics
  readonly group: string
  readonly keyPrefix: string
  /** Folder of the services' logs. */
  readonly folder: string
  readonly positionsKey: string
  readonly partitions: number
  /** Client of the Redis that has the site's customers. */
  readonly redis: RedisClient
  /** Clients of the Kafka that the site uses, with all rights. */
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  readonly administrator: Administrator
  /**
   * Starts a new Kafka without users, and connects the harness to it. The services stay connected
   * to the old Kafka. Resolves with the address of the new Kafka.
   */
  moveToNewKafka(): Promise<string>
  userOf(service: ServiceName): string
  /** Returns the settings of a service, e.g. for a second installation that shares some of them. */
  envOf(service: ServiceName): Env
  setPassword(service: ServiceName, password: string): Promise<void>
  readonly password: string
  /** Changes the Redis user with rules of `ACL SETUSER`. */
  changeRedisUser(...rules: readonly string[]): Promise<void>
  /**
   * Starts one more process of a service, with other settings if given. The process ends with the
   * site.
   */
  startAnother(service: ServiceName, changes?: Env): Promise<SupervisedService>
  /**
   * Registers a function that is called when the site closes. Functions are called in reverse
   * order.
   */
  onClose(end: () => unknown): void
  close(): Promise<void>
}

/** Returns settings for a Kafka address without TLS and without login. */
export const withoutLogin = (address: string): Env => ({
  KAFKA_BROKERS: address,
  KAFKA_SSL: 'false',
  KAFKA_SSL_CA: '',
  KAFKA_SASL_MECHANISM: 'none',
  KAFKA_SASL_USERNAME: '',
  KAFKA_SASL_PASSWORD: '',
})

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: its functions share one state
export const openSite = async (
  shared: SharedBrokers,
  { partitions = 3, env: changesOf = () => ({}), privateKafka, privateRedis = false }: SiteOptions = {},
): Promise<Site> => {
  const { brokers } = shared
  const unique = randomBytes(4).toString('hex')
  const topicPrefix = `s${unique}.`
  const keyPrefix = `s${unique}:`
  const group = `s${unique}-projector`
  const topics = {
    ...topicNames(topicPrefix),
    state: stateTopicName(topicPrefix),
    erasures: erasuresTopicName(topicPrefix),
  }
  const password = `p${unique}`
  const folder = mkdtempSync(join(tmpdir(), 'standstill-'))
  const userOf = (service: ServiceName) => `s${unique}-${service}`
  const redisUser = `s${unique}`
  const ends: (() => unknown)[] = []
  const onClose = (end: () => unknown) => {
    ends.unshift(end)
  }
  const openAdmin = async (client: KafkaClient): Promise<TopicAdmin> => {
    const admin = createAdmin(client, { isPatient: true })
    await admin.connect()
    onClose(() => admin.disconnect())
    return admin
  }
  let { kafka, admin } = shared
  let redis = shared.redis
  let privateAddress: string | undefined
  const redisUrl = new URL(brokers.redisUrl)
  redisUrl.username = redisUser
  redisUrl.password = password
  if (privateKafka) {
    const server = await brokers.startKafka(privateKafka)
    onClose(server.stop)
    privateAddress = server.address
    kafka = kafkaAt(privateAddress)
    admin = await openAdmin(kafka)
  }
  if (privateRedis) {
    const server = privateRedis === 'tls' ? await brokers.startTlsRedis() : await brokers.startRedis()
    redisUrl.href = 'tlsUrl' in server ? String(server.tlsUrl) : server.url
    redis = await openRedis({ REDIS_URL: server.url })
    onClose(() => server.stop())
    onClose(() => redis.disconnect())
  }

  const env = changesOf(shared, folder, { password, redisUrl: redisUrl.href, userOf })
  const kafkaEnv = (service: ServiceName): Env => ({
    KAFKA_BROKERS: brokers.kafka.addresses.scram,
    KAFKA_SSL: 'true',
    KAFKA_SSL_CA: brokers.kafka.authority.ca,
    KAFKA_SASL_MECHANISM: 'scram-sha-256',
    KAFKA_SASL_USERNAME: userOf(service),
    KAFKA_SASL_PASSWORD: password,
    KAFKA_TOPIC_PREFIX: topicPrefix,
    KAFKA_PARTITIONS: String(partitions),
    KAFKA_REPLICATION_FACTOR: '1',
    ...(privateAddress !== undefined && withoutLogin(privateAddress)),
  })
  const envOf = (service: ServiceName): Env =>
    service === 'ingress'
      ? { ...kafkaEnv(service), ...SECRETS, ...env.ingress }
      : {
          ...kafkaEnv(service),
          REDIS_URL: redisUrl.href,
          REDIS_KEY_PREFIX: keyPrefix,
          CONSUMER_GROUP_ID: group,
          ...env.projector,
        }
  const ingress = superviseService('ingress', envOf('ingress'), folder)
  const projector = superviseService('projector', envOf('projector'), folder)

  const site: Site = {
    shared,
    ingress,
    projector,
    topics,
    group,
    keyPrefix,
    folder,
    positionsKey: positionsKey(PROJECTION_VERSION, keyPrefix),
    partitions,
    redis,
    get kafka() {
      return kafka
    },
    get admin() {
      return admin
    },
    get administrator() {
      return administratorOf(admin)
    },
    moveToNewKafka: async () => {
      const { address, stop } = await brokers.startKafka()
      onClose(stop)
      kafka = kafkaAt(address)
      admin = await openAdmin(kafka)
      return address
    },
    userOf,
    envOf,
    password,
    ...createRights(shared, { topics, group, userOf }),
    setPassword: (service, to) => brokers.kafka.setPassword(userOf(service), to),
    changeRedisUser: async (...rules) => {
      await shared.redis.call('ACL', 'SETUSER', redisUser, ...rules)
    },
    ...createTopicAdministration(() => administratorOf(admin), topics, partitions),
    ...createEvents({ ingress, topics, keyPrefix, redis, kafka: () => kafka }),
    startAnother: async (name, changes = {}) => {
      const service = superviseService(name, { ...envOf(name), ...changes }, mkdtempSync(join(folder, 'another-')))
      onClose(() => service.stop())
      await service.start()
      return service
    },
    onClose,
    close: async () => {
      await Promise.all([ingress.stop(), projector.stop()])
      for (const end of ends) await end()
    },
  }
  await Promise.all([
    site.createTopics('customers', 'other', 'quarantine', 'state', 'erasures'),
    site.setPassword('ingress', password).then(() => site.setPassword('projector', password)),
    ...(['ingress', 'projector'] as const).map((service) => site.grantAll(service, userOf(service))),
    site.changeRedisUser(
      'reset',
      'on',
      `>${password}`,
      ...REDIS_RULES.map((rule) => rule.replace('mykaarma:', keyPrefix)),
    ),
  ])
  return site
}
