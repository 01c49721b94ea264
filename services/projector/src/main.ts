import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  answerOf,
  closeServer,
  createAdminApp,
  createLifecycle,
  createLogger,
  createObstacles,
  createRegistry,
  periodically,
  processRules,
  type ReadinessCheck,
  settingsOrExit,
  untilDone,
} from '@customer-stream/runtime'
import {
  BLOCKED_BACK_OFF,
  createAdmin,
  createDiagnose,
  createKafka,
  createKafkaCheck,
  createPartitionConsumer,
  createTopicWatch,
  createVerifiedProducer,
  createWriteCheck,
  kafkaRules,
  readTopicIdentity,
  TopicError,
} from '@customer-stream/runtime/kafka'
import { connectRedis, createRedis, redisRules } from '@customer-stream/runtime/redis'
import { topicNames } from '@customer-stream/schemas'
import { defaultGroupId, projectorSettings, recordRules } from './config.ts'
import { createProjectorMetrics } from './metrics.ts'
import { createProgress } from './progress.ts'
import { createProjection } from './projection.ts'
import { sendToQuarantine } from './quarantine.ts'
import { createReadiness } from './readiness.ts'
import { createRedisCheck, UnsafeRedisError } from './redis-check.ts'
import { createStore, OtherClusterError } from './store.ts'
import { createWatchdog } from './watchdog.ts'

/**
 * Intervals of the committed offsets and the lag. Both are for monitoring only, which reads them
 * every few seconds at most.
 */
const COMMIT_INTERVAL_MS = 1000
const LAG_INTERVAL_MS = 5000
/** Interval of announcements. An announcement is valid for a minute. */
const ANNOUNCE_INTERVAL_MS = 5000
/** Interval of the check of Redis' rights and settings. */
const REDIS_CHECK_INTERVAL_MS = 10_000
const OUTAGE_INTERVAL_MS = 2000

const settings = settingsOrExit('projector', projectorSettings, process.env, [
  ...processRules,
  ...redisRules,
  ...kafkaRules,
  ...recordRules,
])
const logger = createLogger('projector', settings.LOG_LEVEL)
const lifecycle = createLifecycle({ logger, deadlineMs: settings.SHUTDOWN_DEADLINE_MS })
const registry = createRegistry('projector')
const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
const groupId = settings.CONSUMER_GROUP_ID ?? defaultGroupId(settings)
const metrics = createProjectorMetrics(registry, { groupId, topic: topics.customers })
/** Id of this process in the consumer group. */
const instance = randomUUID()
const backOff = { initialMs: 100, maxMs: settings.RETRY_MAX_PAUSE_MS }
const stopping = new AbortController()
const obstacles = createObstacles(registry, logger)
const diagnose = createDiagnose(settings)
/** True after Redis and Kafka have answered and the first topic check has ended. */
let connected = false
/** True while the consumer is started. */
let running = false

const kafka = createKafka(settings, { clientId: 'customer-stream-projector', logger })
const admin = createAdmin(kafka)
const producer = createVerifiedProducer(kafka, {
  metadataMaxAgeMs: settings.KAFKA_METADATA_MAX_AGE_MS,
  produceTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
})
// kafkajs would log each write check as an error, so its logger is silent. Problems are reported as
// obstacles.
const writeCheck = createWriteCheck(
  createKafka(settings, {
    clientId: 'customer-stream-projector',
    logger: logger.child({}, { level: 'silent' }),
    requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
  }),
)
const maxValueBytes = settings.MAX_BODY_BYTES
const demands = [
  { topic: topics.customers, maxValueBytes },
  { topic: topics.quarantine, maxValueBytes, writes: true, isQuarantine: true },
]
/**
 * Sets the partitions of quarantine only. The producer writes to no other topic, so problems of the
 * customers topic must not affect it.
 */
const setQuarantinePartitions = (partitions: ReadonlyMap<string, number>) =>
  producer.setPartitions(new Map([...partitions].filter(([topic]) => topic === topics.quarantine)))
const topicWatch = createTopicWatch({
  ...{ admin, writeCheck, settings, demands, obstacles, diagnose, logger },
  onPartitions: setQuarantinePartitions,
})
const redis = createRedis(settings, logger)
const store = createStore(redis, {
  keyPrefix: settings.REDIS_KEY_PREFIX,
  topic: topics.customers,
  projection: settings.PROJECTION_VERSION,
})

const consumer = createPartitionConsumer(kafka, admin, {
  groupId,
  instance,
  topic: topics.customers,
  sessionTimeoutMs: settings.CONSUMER_SESSION_TIMEOUT_MS,
  heartbeatIntervalMs: settings.CONSUMER_SESSION_TIMEOUT_MS / 5,
  maxWaitMs: settings.CONSUMER_MAX_WAIT_MS,
  maxFetchBytes: settings.CONSUMER_FETCH_MAX_BYTES,
  // Hides the round trip to Redis. With Redis on the same machine this has no effect.
  partitionsConcurrently: 4,
  logger,
  diagnose,
  onProblem: (problem) => obstacles.report('group', problem),
  onAssigned: (partitions) => projection.positions.assign(partitions),
  onBatch: (batch) => projection.onBatch(batch),
  onDead: lifecycle.fail,
})
/**
 * Ties the positions to the topic that is read. If they belong to another cluster, a person must
 * decide.
 */
const claim = async () => {
  try {
    const deleted = await store.claimPositions(
      await readTopicIdentity(admin, topics.customers),
      settings.ON_CLUSTER_CHANGE === 'start-over',
    )
    obstacles.report('positions', undefined)
    return deleted
  } catch (error) {
    if (error instanceof OtherClusterError)
      obstacles.report('positions', { blocked: true, reason: 'identity', message: error.message })
    throw error
  }
}
const projection = createProjection(
  {
    store,
    sendToQuarantine: (records) => sendToQuarantine(producer.send, records),
    consumer,
    claim,
    report: obstacles.report,
    metrics,
    logger,
  },
  {
    topic: topics.customers,
    quarantineTopic: topics.quarantine,
    projection: settings.PROJECTION_VERSION,
    maxFutureMs: settings.MAX_FUTURE_MS,
    named: settings.QUARANTINE_RECORDS,
    chunkRecords: settings.CHUNK_RECORDS,
    chunkBytes: 2 * 1024 * 1024,
    backOff,
  },
)

const progress = createProgress(
  { watermarks: consumer.watermarks, group: consumer.group, store, metrics },
  { topic: topics.customers, groupId, instance, partitions: settings.KAFKA_PARTITIONS },
)

const redisCheck = createRedisCheck({ redis, store, settings, obstacles, logger })
const kafkaOutage = createKafkaCheck({
  ...{ admin, diagnose, topic: topics.customers, timeoutMs: settings.READINESS_TIMEOUT_MS },
  doing: 'apply events',
})
const redisOutage = () => answerOf(store.ping, settings.READINESS_TIMEOUT_MS).then(() => undefined, redisCheck.diagnose)
const readiness = createReadiness({
  kafkaOutage,
  redisOutage,
  consumer,
  projection,
  progress,
  obstacles,
  groupId,
})
const checks = async (): Promise<ReadinessCheck[]> => {
  if (running) return readiness()
  return [
    {
      name: 'start',
      ready: false,
      detail: stopping.signal.aborted
        ? 'stopping'
        : (obstacles.worst?.message ??
          'Kafka and Redis have not both answered yet. If this lasts, check KAFKA_BROKERS and REDIS_URL.'),
    },
  ]
}
const adminApp = createAdminApp({ registry, checks })

/**
 * Connects to Redis and Kafka and starts the consumer. Retries without limit in an outage. A wrong
 * topic or an unsafe Redis ends the process.
 */
const connect = async () => {
  let asked: 'Redis' | 'Kafka' = 'Redis'
  const done = await untilDone(
    async () => {
      asked = 'Redis'
      await connectRedis(redis)
      await redisCheck.check()
      await store.ping()
      asked = 'Kafka'
      await Promise.all([admin.connect(), producer.connect(), consumer.connect()])
      try {
        await topicWatch.start()
      } finally {
        // Measure the lag only after the topic check: while kafkajs asks for the end offsets of a
        // missing topic, it cannot create the topic.
        connected = true
      }
      // Measure the first lag now. It must not wait for the timer or for a group that cannot be
      // joined.
      void measureProgress().catch(() => undefined)
      await topicWatch.checkWrites()
      await store.announce(instance)
      await consumer.start()
    },
    {
      signal: stopping.signal,
      backOff: () => (obstacles.blocked ? BLOCKED_BACK_OFF : backOff),
      onFailure: (error) => {
        if (error instanceof TopicError || error instanceof UnsafeRedisError) throw error
        obstacles.report(
          'start',
          asked === 'Kafka' ? diagnose(error, 'connect and check its topics') : redisCheck.diagnose(error),
        )
      },
    },
  )
  if (!done) return
  obstacles.report('start', undefined)
  running = true
  logger.info({ event: 'ready', topic: topics.customers, group: groupId }, 'ready')
}

/**
 * Repeats a task until the process stops. A failed run is only logged, because the next run repeats
 * the task.
 */
const every = (intervalMs: number, duty: () => Promise<void>) => {
  const turn = async () => {
    if (running) await duty()
  }
  lifecycle.onStop(
    'timer',
    periodically(intervalMs, turn, (error) => logger.debug({ err: error }, 'a periodic check failed')),
  )
}

/**
 * Measures the lag. Also runs while the process is in no group, because the lag matters most then.
 */
const measureProgress = async () => {
  if (!connected) return
  const watermarks = await progress.measure()
  const { stranger } = progress
  obstacles.report(
    'strangers',
    stranger === undefined ? undefined : { blocked: true, reason: 'group', message: stranger },
  )
  await projection.positions.loadNewlyLed(watermarks)
}
const watch = createWatchdog({
  askKafka: () => admin.describeTopics([topics.customers]),
  consumer,
  projection,
  progress,
  sessionTimeoutMs: settings.CONSUMER_SESSION_TIMEOUT_MS,
  onDead: lifecycle.fail,
})

// Parts stop in reverse order: readiness, the timers, the consumer (after its current chunk), the
// connections, and at last the admin port.
lifecycle.onStop('admin port', () => closeServer(adminApp, 500))
lifecycle.onStop('redis', () => redis.disconnect())
lifecycle.onStop('kafka', () =>
  Promise.allSettled([producer.disconnect(), writeCheck.disconnect(), admin.disconnect()]),
)
lifecycle.onStop('consumer', async () => {
  // The commit is for lag monitoring only, so do not wait long for a Kafka that does not answer.
  await Promise.race([projection.positions.commit(), sleep(2000)])
  projection.positions.stop()
  await consumer.stop()
})
every(COMMIT_INTERVAL_MS, projection.positions.commit)
every(ANNOUNCE_INTERVAL_MS, () => store.announce(instance))
every(settings.POSITION_CHECK_MS, projection.checkPositions)
every(settings.CONSUMER_SESSION_TIMEOUT_MS, watch)
every(settings.KAFKA_TOPIC_CHECK_MS, topicWatch.check)
every(REDIS_CHECK_INTERVAL_MS, redisCheck.watch)
// Detects outages of Kafka even if no one calls /readyz.
every(OUTAGE_INTERVAL_MS, async () => obstacles.report('kafka', await kafkaOutage()))
lifecycle.onStop(
  'lag',
  periodically(LAG_INTERVAL_MS, measureProgress, (error) => logger.debug({ err: error }, 'the lag cannot be measured')),
)
lifecycle.onStop('readiness', () => {
  running = false
  stopping.abort()
})

try {
  const address = await adminApp.listen({ host: settings.HOST, port: settings.ADMIN_PORT })
  logger.info({ event: 'listening', admin: address }, 'listening')
  await connect()
} catch (error) {
  lifecycle.fail(error as Error)
}
