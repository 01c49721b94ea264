import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, loadSettings, waitUntil } from '@customer-stream/runtime'
import {
  createAdmin,
  createKafka,
  type KafkaClient,
  kafkaSettings,
  type TopicAdmin,
} from '@customer-stream/runtime/kafka'
import type { RedisClient } from '@customer-stream/runtime/redis'
import {
  customerKey,
  erasuresTopicName,
  PROJECTION_VERSION,
  positionsKey,
  stateTopicName,
  topicNames,
} from '@customer-stream/schemas'
import { type MadeCustomersEvent, makeCustomersEvent, sign } from '@customer-stream/simulator'
import {
  administratorOf,
  kafkajsOf,
  openRedis,
  type SecuredBrokers,
  type ServiceName,
  startSecuredBrokers,
} from '@customer-stream/testing'
import { type Operation, REDIS_RULES, type Resource, RIGHTS, type SiteTopics } from './rights.ts'
import { type SupervisedService, superviseService } from './supervised-service.ts'

type Env = Readonly<Record<string, string>>
type Administrator = ReturnType<typeof administratorOf>

const logger = createLogger('standstill', 'silent')

/** The brokers that all scenarios share, and clients of the harness, which have all rights. */
export interface SharedBrokers {
  readonly brokers: SecuredBrokers
  readonly kafka: KafkaClient
  readonly admin: TopicAdmin
  readonly administrator: Administrator
  readonly redis: RedisClient
  close(): Promise<void>
}

const kafkaAt = (address: string): KafkaClient =>
  createKafka(loadSettings(kafkaSettings, { KAFKA_BROKERS: address }), { clientId: 'standstill', logger })

export const openSharedBrokers = async (): Promise<SharedBrokers> => {
  const brokers = await startSecuredBrokers()
  const kafka = kafkaAt(brokers.kafka.admin)
  const admin = createAdmin(kafka, { isPatient: true })
  const [redis] = await Promise.all([openRedis({ REDIS_URL: brokers.redisUrl }), admin.connect()])
  return {
    brokers,
    kafka,
    admin,
    administrator: administratorOf(admin),
    redis,
    close: async () => {
      redis.disconnect()
      await admin.disconnect()
      await brokers.stop()
    },
  }
}

/** Codes of operations in Kafka's protocol. */
const OPERATIONS: Readonly<Record<Operation, number>> = {
  READ: 3,
  WRITE: 4,
  CREATE: 5,
  DESCRIBE: 8,
  DESCRIBE_CONFIGS: 10,
}
const TOPIC = 2
const GROUP = 3
const TRANSACTIONAL_ID = 5
const LITERAL = 3
const PREFIXED = 4
const ALLOW = 3

const TOPIC_SETTINGS: Env = {
  'cleanup.policy': 'delete',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'max.message.bytes': String(1024 * 1024 + 64 * 1024),
  'min.insync.replicas': '1',
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.after.max.ms': '9223372036854775807',
  'message.timestamp.before.max.ms': '9223372036854775807',
  'unclean.leader.election.enable': 'false',
}

const WEEK_MS = String(7 * 86_400_000)
/** Settings of the compacted topics. */
const STATE_SETTINGS: Env = {
  ...TOPIC_SETTINGS,
  'cleanup.policy': 'compact',
  'max.compaction.lag.ms': WEEK_MS,
  'delete.retention.ms': WEEK_MS,
  'max.message.bytes': String(5 * 1024 * 1024 + 64 * 1024),
}
const settingsOf = (topic: keyof SiteTopics) =>
  topic === 'state' || topic === 'erasures' ? STATE_SETTINGS : TOPIC_SETTINGS

const entriesOf = (settings: Env) => Object.entries(settings).map(([name, value]) => ({ name, value }))

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

/** Returns settings for a Kafka address without TLS and without login. */
export const withoutLogin = (address: string): Env => ({
  KAFKA_BROKERS: address,
  KAFKA_SSL: 'false',
  KAFKA_SSL_CA: '',
  KAFKA_SASL_MECHANISM: 'none',
  KAFKA_SASL_USERNAME: '',
  KAFKA_SASL_PASSWORD: '',
})

/**
 * One installation of both services. Each site has its own users, rights, topics, keys and group.
 */
export interface Site {
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
   * Starts a new Kafka without users, and connects the harness to it. The services keep their
   * Kafka. Resolves with the address of the new Kafka.
   */
  moveToNewKafka(): Promise<string>
  /** All events that were answered with 202 or that the harness stored in Kafka. */
  readonly acknowledged: MadeCustomersEvent[]
  userOf(service: ServiceName): string
  /** Returns the settings of a service, e.g. for a second installation that shares some of them. */
  envOf(service: ServiceName): Env
  grant(service: ServiceName, operation: Operation, resource: Resource): Promise<void>
  revoke(service: ServiceName, operation: Operation, resource: Resource): Promise<void>
  /** Grants all rights of a service to another user. */
  grantAll(service: ServiceName, user: string): Promise<void>
  /** Revokes all rights of the service's own user. */
  revokeAll(service: ServiceName): Promise<void>
  setPassword(service: ServiceName, password: string): Promise<void>
  readonly password: string
  /** Changes the Redis user with rules of `ACL SETUSER`. */
  changeRedisUser(...rules: readonly string[]): Promise<void>
  createTopics(...topics: readonly (keyof SiteTopics)[]): Promise<void>
  /** Changes settings of a topic. All other settings get their normal values. */
  changeTopic(topic: keyof SiteTopics, settings: Env): Promise<void>
  /**
   * Sends one event, once. Resolves with the event and the status of the answer, or 0 if there was
   * no answer.
   */
  post(event?: MadeCustomersEvent): Promise<{ readonly event: MadeCustomersEvent; readonly status: number }>
  postBody(body: string): Promise<number>
  /** Stores events in Kafka like the ingress. If `partition` is given, all events go there. */
  produce(events: readonly MadeCustomersEvent[], partition?: number): Promise<void>
  /**
   * Starts one more process of a service, with other settings if given. The process ends with the
   * site.
   */
  startAnother(service: ServiceName, changes?: Env): Promise<SupervisedService>
  /** Returns the events that are not in Redis. */
  notApplied(events: readonly MadeCustomersEvent[]): Promise<MadeCustomersEvent[]>
  /** Resolves when every acknowledged event is in Redis. */
  untilApplied(): Promise<void>
  /**
   * Registers a function that is called when the site closes. Functions are called in reverse
   * order.
   */
  onClose(end: () => unknown): void
  close(): Promise<void>
}

const SECRETS = { MYKAARMA_SIGNING_SECRETS: 'a=site-secret', MYKAARMA_TOKENS: 'a=site-token' }

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
  const patternOf = (resource: Resource) => {
    if (resource === 'group') return { resourceType: GROUP, resourceName: group, resourcePatternType: LITERAL }
    if (resource === 'transactional ids')
      return { resourceType: TRANSACTIONAL_ID, resourceName: group, resourcePatternType: PREFIXED }
    return { resourceType: TOPIC, resourceName: topics[resource], resourcePatternType: LITERAL }
  }
  const acl = (user: string, operation: Operation, resource: Resource) => ({
    ...patternOf(resource),
    principal: `User:${user}`,
    host: '*',
    operation: OPERATIONS[operation],
    permissionType: ALLOW,
  })
  const acknowledged: MadeCustomersEvent[] = []
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
    acknowledged,
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
    grant: async (service, operation, resource) => {
      await shared.administrator.createAcls({ acl: [acl(userOf(service), operation, resource)] })
    },
    revoke: async (service, operation, resource) => {
      await shared.administrator.deleteAcls({ filters: [acl(userOf(service), operation, resource)] })
    },
    grantAll: async (service, user) => {
      await shared.administrator.createAcls({ acl: RIGHTS[service].map((right) => acl(user, ...right)) })
    },
    revokeAll: async (service) => {
      await shared.administrator.deleteAcls({ filters: RIGHTS[service].map((right) => acl(userOf(service), ...right)) })
    },
    setPassword: (service, to) => brokers.kafka.setPassword(userOf(service), to),
    changeRedisUser: async (...rules) => {
      await shared.redis.call('ACL', 'SETUSER', redisUser, ...rules)
    },
    createTopics: async (...names) => {
      await administratorOf(admin).createTopics({
        waitForLeaders: false,
        topics: names.map((name) => ({
          topic: topics[name],
          numPartitions: partitions,
          configEntries: entriesOf(settingsOf(name)),
        })),
      })
      await waitUntil(
        'the topics have leaders',
        () =>
          administratorOf(admin)
            .fetchTopicMetadata({ topics: names.map((name) => topics[name]) })
            .catch(() => undefined),
        (metadata) => metadata?.topics.every((topic) => topic.partitions.every(({ leader }) => leader >= 0)) ?? false,
      )
    },
    changeTopic: async (topic, settings) => {
      const configEntries = entriesOf({ ...settingsOf(topic), ...settings })
      await administratorOf(admin).alterConfigs({
        validateOnly: false,
        resources: [{ type: TOPIC, name: topics[topic], configEntries }],
      })
      const wanted = new Map(configEntries.map(({ name, value }) => [name, value]))
      await waitUntil(
        'the broker knows the settings',
        () =>
          administratorOf(admin).describeConfigs({
            includeSynonyms: false,
            resources: [{ type: TOPIC, name: topics[topic], configNames: [...wanted.keys()] }],
          }),
        ({ resources }) =>
          resources.every(({ configEntries: has }) =>
            has.every(({ configName, configValue }) => wanted.get(configName) === configValue),
          ),
      )
    },
    post: async (event = makeCustomersEvent()) => {
      const status = await site.postBody(event.body)
      if (status === 202) acknowledged.push(event)
      return { event, status }
    },
    postBody: async (body) => {
      const headers = {
        'content-type': 'text/plain',
        'mykaarma-signature-token': sign(body, 'site-secret'),
        'x-authorization-token': 'site-token',
      }
      const answer = await fetch(`${ingress.url}/webhooks/mykaarma`, { method: 'POST', body, headers }).catch(
        () => undefined,
      )
      await answer?.arrayBuffer()
      return answer?.status ?? 0
    },
    notApplied: async (events) => {
      const found = await Promise.all(
        events.map(({ customerUuid }) =>
          redis.hget(customerKey(customerUuid, keyPrefix), '_eventId').catch(() => undefined),
        ),
      )
      return events.filter(({ id }, i) => found[i] !== id)
    },
    produce: async (events, partition) => {
      const producer = kafkajsOf(kafka).producer()
      await producer.connect()
      const messages = events.map(({ customerUuid, body }) => ({
        key: customerUuid,
        value: body,
        ...(partition !== undefined && { partition }),
      }))
      await producer.send({ topic: topics.customers, acks: -1, messages })
      await producer.disconnect()
      acknowledged.push(...events)
    },
    startAnother: async (name, changes = {}) => {
      const service = superviseService(name, { ...envOf(name), ...changes }, mkdtempSync(join(folder, 'another-')))
      onClose(() => service.stop())
      await service.start()
      return service
    },
    untilApplied: async () => {
      const missing = async () => (await site.notApplied(acknowledged)).length
      await waitUntil('all acknowledged events are in Redis', missing, (count) => count === 0)
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
