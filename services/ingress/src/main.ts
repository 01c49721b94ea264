import { setTimeout as sleep } from 'node:timers/promises'
import {
  closeServer,
  createAdminApp,
  createLifecycle,
  createLogger,
  createObstacles,
  createOccasionalLog,
  createRegistry,
  type Diagnosis,
  periodically,
  type ReadinessCheck,
  readinessCheck,
  settingsOrExit,
  startAtZero,
  untilDone,
} from '@customer-stream/runtime'
import {
  BLOCKED_BACK_OFF,
  createAdmin,
  createDiagnose,
  createKafka,
  createKafkaCheck,
  createTopicWatch,
  createVerifiedProducer,
  createWriteCheck,
  TopicError,
} from '@customer-stream/runtime/kafka'
import { topicNames } from '@customer-stream/schemas'
import { checksOf, ingressRules, ingressSettings, SPOOL_WAITING_BYTES } from './config.ts'
import { createSpooledPublish } from './delivery/spooled-publish.ts'
import { createTopicPublishers } from './delivery/topic-publishers.ts'
import { createApp } from './http/app.ts'
import { createAuthenticate } from './http/authenticate.ts'
import { createRefusalLog, createSuspicionLog } from './http/refusal-log.ts'
import { createIngressMetrics } from './metrics.ts'
import { createLastingSpool } from './spool/lasting-spool.ts'
import { damageMessages, lostRecords, SpoolInUseError, volatileFileSystem } from './spool/spool.ts'

/**
 * Pause between two drains. A drain ends when the spool is empty or Kafka does not accept all
 * records.
 */
const DRAIN_INTERVAL_MS = 500
const LEAVE_KAFKA_MS = 250
const OUTAGE_INTERVAL_MS = 2000

const settings = settingsOrExit('ingress', ingressSettings, process.env, ingressRules)
const logger = createLogger('ingress', settings.LOG_LEVEL)
const lifecycle = createLifecycle({ logger, deadlineMs: settings.SHUTDOWN_DEADLINE_MS })
const registry = createRegistry('ingress')
const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
const stopping = new AbortController()
const obstacles = createObstacles(registry, logger)
const diagnose = createDiagnose(settings)
let topicsChecked = false
/**
 * The drain starts only when this is true. Before, it could not separate a failing partition's
 * records from others.
 */
let partitionsKnown = false

const sayUnacknowledged = createOccasionalLog((fields) =>
  logger.warn({ event: 'record-unacknowledged', ...fields }, 'records without an acknowledgement are sent again'),
)
const sayRefused = createOccasionalLog((fields) =>
  logger.error({ event: 'record-refused', ...fields }, 'Kafka refuses a record'),
)
const sayUnwritable = createOccasionalLog((fields) =>
  logger.error(
    { event: 'spool-failed', ...fields },
    'an event could not be written to the spool and got 503 unless Kafka stored it: free or repair the disk',
  ),
)
const sayUndrained = createOccasionalLog((fields) =>
  logger.warn({ event: 'spool-undrained', ...fields }, 'Kafka did not accept all records of the spool; retrying'),
)
const sayUnreadable = createOccasionalLog((fields) =>
  logger.error({ event: 'spool-failed', ...fields }, 'the spool cannot be read or cleared; retrying: repair the disk'),
)
const sayFailed = createOccasionalLog((fields) =>
  logger.error({ event: 'request-failed', ...fields }, 'a request failed'),
)

const producerClient = {
  clientId: 'customer-stream-ingress',
  logger,
  requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
}
// A separate client without the short timeout of produce requests, because creating topics and
// waiting for their leaders takes longer.
const admin = createAdmin(createKafka(settings, { clientId: 'customer-stream-ingress-admin', logger }))
// Without a log, because kafkajs would log each write check as an error. The topic watch reports
// the problems.
const writeCheck = createWriteCheck(
  createKafka(settings, { ...producerClient, logger: logger.child({}, { level: 'silent' }) }),
)
const demands = Object.values(topics).map((topic) => ({
  topic,
  maxValueBytes: settings.MAX_BODY_BYTES,
  writes: true,
  isQuarantine: topic === topics.quarantine,
}))

const publishers = createTopicPublishers(
  topics,
  () =>
    createVerifiedProducer(createKafka(settings, producerClient), {
      metadataMaxAgeMs: settings.KAFKA_METADATA_MAX_AGE_MS,
      produceTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
      onUnacknowledged: (records) => {
        metrics.unacknowledged.inc(records)
        sayUnacknowledged({ records })
      },
    }),
  {
    maxRecords: settings.QUEUE_MAX_RECORDS,
    maxBytes: settings.QUEUE_MAX_BYTES,
    deliveryDeadlineMs: 2 * settings.KAFKA_PRODUCE_TIMEOUT_MS + 500,
    // Before a send produces, it may connect, log in (5 × KAFKA_CONNECTION_TIMEOUT_MS) and ask for
    // the leaders.
    stuckSendMs: 30_000 + 6 * (settings.KAFKA_CONNECTION_TIMEOUT_MS + settings.KAFKA_PRODUCE_TIMEOUT_MS),
    onFlush: (records, seconds, error) => {
      metrics.flushRecords.observe(records)
      metrics.flushSeconds.observe(seconds)
      if (error) metrics.flushErrors.inc()
    },
    onRefused: (topic, err, quarantined) => {
      metrics.refused.inc({ quarantined: quarantined ? 'yes' : 'no' })
      sayRefused({ topic, err, quarantined })
    },
  },
)
const topicWatch = createTopicWatch({
  ...{ admin, writeCheck, settings, demands, obstacles, diagnose, logger },
  onPartitions: (partitions) => publishers.setPartitions(partitions),
})
const spool =
  settings.SPOOL_DIR === undefined
    ? undefined
    : createLastingSpool({
        directory: settings.SPOOL_DIR,
        maxBytes: settings.SPOOL_MAX_BYTES,
        maxWaitingBytes: SPOOL_WAITING_BYTES,
        onDamage: (damage) => {
          metrics.spoolDamage.inc({ what: damage.what })
          metrics.spoolLost.inc(lostRecords(damage))
          logger[damage.what === 'torn-tail' ? 'warn' : 'error'](
            { event: 'spool-damaged', ...damage },
            damageMessages[damage.what],
          )
        },
      })
const metrics = createIngressMetrics(
  registry,
  () => publishers.held,
  () => spool?.size ?? { records: 0, uncountedBytes: 0, bytes: 0, oldestAt: undefined },
  () => publishers,
)
/**
 * Reports a spool that cannot be used. The process continues, because Kafka may still store events.
 */
const reportSpool = () => {
  const { problem } = spool ?? {}
  const message =
    `The spool cannot be used: ${problem?.message}. Events that Kafka does not store get 503. Repair the folder; ` +
    'it is opened again by itself.'
  obstacles.report('spool', problem && { blocked: true, reason: 'spool', message })
}
if (settings.SPOOL_DIR !== undefined) {
  await spool?.open().catch((error: Error) => {
    reportSpool()
    if (!(error instanceof SpoolInUseError)) return
    process.stderr.write(`ingress cannot start. SPOOL_DIR: ${error.message}\n`)
    process.exit(2)
  })
  const fileSystem = await volatileFileSystem(settings.SPOOL_DIR).catch(() => undefined)
  if (fileSystem !== undefined)
    logger.warn(
      { SPOOL_DIR: settings.SPOOL_DIR, fileSystem },
      'the spool is lost with the machine or container: give it a disk that outlives both',
    )
}
const spooled =
  spool &&
  createSpooledPublish(publishers, spool, {
    spoolAfterMs: settings.SPOOL_AFTER_MS,
    onDiskError: (err) => {
      metrics.spoolErrors.inc()
      sayUnwritable({ err })
    },
    onLeft: (records, error) => {
      metrics.spoolDrainFailures.inc()
      sayUndrained({ records, err: error ?? new Error('Kafka gave no answer in time') })
    },
  })

const checked = checksOf(settings.MYKAARMA_AUTH)
startAtZero(metrics.authenticated, {
  secret: checked.signature ? [...settings.MYKAARMA_SIGNING_SECRETS.keys()] : ['none'],
  token: checked.token ? [...settings.MYKAARMA_TOKENS.keys()] : ['none'],
})
const app = createApp(
  {
    authenticate:
      checked.signature || checked.token
        ? createAuthenticate({
            secrets: checked.signature ? settings.MYKAARMA_SIGNING_SECRETS : undefined,
            tokens: checked.token ? settings.MYKAARMA_TOKENS : undefined,
          })
        : undefined,
    publish: spooled?.publish ?? publishers.publish,
    topics,
    metrics,
    onInternalError: (err) => sayFailed({ err }),
    onRefused: createRefusalLog(logger),
    onSuspicion: createSuspicionLog(logger),
    stopping: stopping.signal,
  },
  {
    maxBodyBytes: settings.MAX_BODY_BYTES,
    maxReceivingBytes: settings.RECEIVE_MAX_BYTES,
    fallbackEncoding: settings.MYKAARMA_CHARSET,
    acceptDeadlineMs: settings.ACCEPT_DEADLINE_MS,
    maxConnections: settings.MAX_CONNECTIONS,
    keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT_MS,
    requestTimeoutMs: settings.REQUEST_TIMEOUT_MS,
    allowedAddresses: settings.MYKAARMA_ALLOWED_ADDRESSES,
    trustedProxies: settings.TRUSTED_PROXIES,
  },
)

const outageOfTopic = (): Diagnosis | undefined => {
  const outage = publishers.outage()
  if (!outage) return undefined
  const { topic, error } = outage
  const diagnosis = diagnose(error, `write to topic ${topic}`)
  if (diagnosis.blocked) return diagnosis
  const message =
    `${diagnosis.message} Kafka stores no record of topic ${topic} (${error.message}): check that its partitions ` +
    'have leaders and enough in-sync replicas.'
  return { ...diagnosis, message }
}
const kafkaOutage = createKafkaCheck({
  ...{ admin, diagnose, topic: topics.customers, timeoutMs: settings.READINESS_TIMEOUT_MS },
  doing: spool ? 'send events to Kafka and keeps them in the spool' : 'store events, which get 503',
})
const kafkaProblem = async (): Promise<string | undefined> => {
  if (stopping.signal.aborted) return 'stopping'
  // A broken spool is ignored here: then the readiness depends on Kafka alone.
  const others = obstacles.without('spool')
  const obstacle = topicsChecked ? others.blocked : others.worst
  if (!topicsChecked || obstacle) return obstacle?.message ?? 'not connected yet. If this lasts, check KAFKA_BROKERS.'
  return publishers.stuck() ?? ((await kafkaOutage()) ?? outageOfTopic())?.message
}
const checks = async (): Promise<ReadinessCheck[]> => {
  const problem = await kafkaProblem()
  const [warning] = topicWatch.warnings
  const kafka =
    problem === undefined && warning !== undefined
      ? { name: 'kafka', ready: true, detail: warning }
      : readinessCheck('kafka', problem)
  if (!spool || stopping.signal.aborted) return [kafka]
  // With room in the spool the process can acknowledge events even if Kafka does not answer, so it
  // stays ready. Out of service it would only lose events.
  const room = spool.hasRoomFor(settings.MAX_BODY_BYTES)
  return [
    { ...kafka, ready: kafka.ready || room },
    {
      name: 'spool',
      ready: kafka.ready || room,
      detail: spool.problem?.message ?? `${spool.size.records} records wait`,
    },
  ]
}
/**
 * Reports outages even if no one calls /readyz. Ends the process if a send is stuck although Kafka
 * answers.
 */
const watchKafka = async () => {
  obstacles.report('write', outageOfTopic())
  if (!topicsChecked) return
  const outage = await kafkaOutage()
  obstacles.report('kafka', outage)
  const stuck = publishers.stuck()
  if (stuck === undefined || outage !== undefined) return
  lifecycle.fail(
    new Error(
      `${stuck}, although Kafka answers. The process ends, so that its supervisor starts it again. No ` +
        'acknowledged event is lost.',
    ),
  )
}
const adminApp = createAdminApp({ registry, checks })

/**
 * Connects to Kafka and retries until it succeeds. Until then requests get 503, or go to the spool.
 * A wrong topic ends the process.
 */
const connect = async () => {
  const connected = await untilDone(
    async () => {
      await Promise.all([admin.connect(), publishers.connect()])
      await topicWatch.start()
      partitionsKnown = true
    },
    {
      signal: stopping.signal,
      backOff: () =>
        obstacles.without('spool').blocked ? BLOCKED_BACK_OFF : { initialMs: 100, maxMs: settings.RETRY_MAX_PAUSE_MS },
      onFailure: (error) => {
        if (error instanceof TopicError) throw error
        obstacles.report('start', diagnose(error, 'connect and check its topics'))
      },
    },
  )
  if (!connected) return
  obstacles.report('start', undefined)
  await topicWatch.checkWrites()
  topicsChecked = true
  logger.info({ event: 'ready', topics: Object.values(topics) }, 'ready')
}

// Stops run in reverse order. First the process is not ready and waits for the load balancer. Then
// it finishes requests, flushes, and ends the drain and the spool. Then it leaves Kafka. The admin
// port closes last.
lifecycle.onStop('admin port', () => closeServer(adminApp, 500))
// The wait is short, because kafkajs would wait for the replies of a broker that hangs. Nothing is
// lost if the process does not disconnect.
lifecycle.onStop('kafka', () =>
  Promise.race([
    Promise.allSettled([admin.disconnect(), writeCheck.disconnect(), publishers.disconnect()]),
    sleep(LEAVE_KAFKA_MS),
  ]),
)
lifecycle.onStop(
  'topic check',
  periodically(
    settings.KAFKA_TOPIC_CHECK_MS,
    async () => topicsChecked && topicWatch.check(),
    (err) => logger.error({ err }, 'the topics could not be checked; the service checks them again'),
  ),
)
lifecycle.onStop('spool', () => spool?.close())
lifecycle.onStop(
  'drain',
  periodically(
    DRAIN_INTERVAL_MS,
    async () => {
      if (partitionsKnown) await spooled?.drain(stopping.signal)
      reportSpool()
    },
    (err) => {
      reportSpool()
      metrics.spoolDrainFailures.inc()
      sayUnreadable({ err })
    },
  ),
)
lifecycle.onStop(
  'outages',
  periodically(OUTAGE_INTERVAL_MS, watchKafka, (err) =>
    logger.error({ err }, 'cannot tell whether Kafka stores records'),
  ),
)
lifecycle.onStop('publishers', () => publishers.drain())
// The deadline of the last request begins at the same moment, so it ends 500 ms before connections
// are cut.
lifecycle.onStop('public port', () => closeServer(app, settings.ACCEPT_DEADLINE_MS + 500))
lifecycle.onStop('readiness', async () => {
  stopping.abort()
  await sleep(settings.SHUTDOWN_DELAY_MS)
})

try {
  if (settings.MYKAARMA_AUTH === 'off')
    logger.warn(
      { event: 'setting' },
      'MYKAARMA_AUTH=off: every request is accepted without a check; never do this on the internet',
    )
  if (settings.MYKAARMA_AUTH === 'on')
    logger.warn(
      { event: 'setting' },
      'MYKAARMA_AUTH=on is the former name of signature+token and still works; please write the new name',
    )
  const address = await adminApp.listen({ host: settings.HOST, port: settings.ADMIN_PORT })
  const publicAddress = await app.listen({ host: settings.HOST, port: settings.PORT })
  logger.info({ event: 'listening', address: publicAddress, admin: address }, 'listening')
  await connect()
} catch (error) {
  lifecycle.fail(error as Error)
}
