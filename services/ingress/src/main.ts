import { setTimeout as sleep } from 'node:timers/promises'
import {
  closeServer,
  createAdminApp,
  createLifecycle,
  createLogger,
  createRegistry,
  settingsOrExit,
  untilDone,
} from '@customer-stream/runtime'
import { checkTopics, createKafka, createVerifiedProducer, type OutgoingRecord, TopicError } from '@customer-stream/runtime/kafka'
import { topicNames } from '@customer-stream/schemas'
import { createApp } from './app.ts'
import { createAuthenticate } from './authenticate.ts'
import { ingressSettings, settingsFaults } from './config.ts'
import { createIngressMetrics } from './metrics.ts'
import { createPublisher } from './publisher.ts'

const settings = settingsOrExit('ingress', ingressSettings, process.env, settingsFaults)
const logger = createLogger('ingress', settings.LOG_LEVEL)
const lifecycle = createLifecycle({ logger, deadlineMs: settings.SHUTDOWN_DEADLINE_MS })
const registry = createRegistry('ingress')
const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
const stopping = new AbortController()
let topicsChecked = false

// Creating topics and waiting for their leaders takes longer than a produce request may.
const admin = createKafka(settings, { clientId: 'customer-stream-ingress-admin', logger, requestTimeoutMs: 10_000 }).admin({
  retry: { retries: 1, initialRetryTime: 100, maxRetryTime: 1000 },
})

/** The way of records to one topic. */
const openLane = () => {
  const kafka = createKafka(settings, { clientId: 'customer-stream-ingress', logger, requestTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS })
  const producer = createVerifiedProducer(kafka, {
    metadataMaxAgeMs: settings.KAFKA_METADATA_MAX_AGE_MS,
    produceTimeoutMs: settings.KAFKA_PRODUCE_TIMEOUT_MS,
    onUnacknowledged: (records) => {
      metrics.unacknowledged.inc(records)
      logger.warn({ records }, 'records without an acknowledgement are sent again')
    },
  })
  const publisher = createPublisher<OutgoingRecord>(producer.send, {
    maxRecords: settings.QUEUE_MAX_RECORDS,
    maxBytes: settings.QUEUE_MAX_BYTES,
    onFlush: (records, seconds, error) => {
      metrics.flushRecords.observe(records)
      metrics.flushSeconds.observe(seconds)
      if (error) metrics.flushErrors.inc()
    },
  })
  return { producer, publisher }
}
// One for each topic, down to the connection: kafkajs gives up on all topics of a client when the metadata of one is bad, so that
// without this a broken quarantine topic would stop the customers.
const lanes = new Map(Object.values(topics).map((topic) => [topic, openLane()]))
const held = (what: 'records' | 'bytes') => lanes.values().reduce((sum, { publisher }) => sum + publisher.size[what], 0)
const metrics = createIngressMetrics(registry, () => ({ records: held('records'), bytes: held('bytes') }))

const app = createApp(
  {
    authenticate:
      settings.MYKAARMA_AUTH === 'off' ? undefined : createAuthenticate(settings.MYKAARMA_SIGNING_SECRETS, settings.MYKAARMA_TOKENS),
    publish: (record, deadlineAt) => {
      const lane = lanes.get(record.topic)
      if (!lane) throw new Error(`no way to ${record.topic}`)
      return lane.publisher.publish(record, deadlineAt)
    },
    topics,
    metrics,
    onInternalError: (error) => logger.error({ err: error }, 'a request failed'),
  },
  {
    maxBodyBytes: settings.MAX_BODY_BYTES,
    acceptDeadlineMs: settings.ACCEPT_DEADLINE_MS,
    maxConnections: settings.MAX_CONNECTIONS,
    allowedAddresses: settings.MYKAARMA_ALLOWED_ADDRESSES,
    trustedProxies: settings.TRUSTED_PROXIES,
  },
)

/** kafkajs bounds no send; one this long is a fault that an answer to the admin client would hide. */
const STUCK_FLUSH_MS = 30_000

const kafkaCheck = async () => {
  if (stopping.signal.aborted) return { name: 'kafka', ready: false, detail: 'stopping' }
  if (!topicsChecked) return { name: 'kafka', ready: false, detail: 'not connected yet' }
  const [stuck] = [...lanes].filter(([, { publisher }]) => publisher.flushMs > STUCK_FLUSH_MS)
  if (stuck)
    return {
      name: 'kafka',
      ready: false,
      detail: `a flush to ${stuck[0]} has not ended for ${Math.round(stuck[1].publisher.flushMs / 1000)} s`,
    }
  try {
    const { brokers } = await Promise.race([
      admin.describeCluster(),
      sleep(2000).then(() => Promise.reject(new Error('no answer within 2 s'))),
    ])
    return { name: 'kafka', ready: brokers.length > 0 }
  } catch (error) {
    return { name: 'kafka', ready: false, detail: (error as Error).message }
  }
}
const adminApp = createAdminApp({ registry, checks: async () => [await kafkaCheck()] })

/** Waits for Kafka as long as it takes; meanwhile requests are answered with 503. A wrong topic ends the process. */
const connect = async () => {
  const connected = await untilDone(
    async () => {
      await Promise.all([admin.connect(), ...[...lanes.values()].map(({ producer }) => producer.connect())])
      const maxValueBytes = settings.MAX_BODY_BYTES
      return checkTopics(
        admin,
        settings,
        Object.values(topics).map((topic) => ({ topic, maxValueBytes })),
        logger,
      )
    },
    {
      signal: stopping.signal,
      backOff: { initialMs: 200, maxMs: 5000 },
      onFailure: (error, failures) => {
        if (error instanceof TopicError) throw error
        if (failures === 1 || failures % 10 === 0)
          logger.warn({ err: error, brokers: settings.KAFKA_BROKERS }, 'Kafka does not answer; trying on')
      },
    },
  )
  if (!connected) return
  for (const { producer } of lanes.values()) producer.setPartitions(connected.value)
  topicsChecked = true
  logger.info({ topics: [...connected.value.keys()] }, 'ready')
}

// Stops run in reverse: not ready, wait for the load balancer, finish requests, flush, leave Kafka, and last the admin port.
lifecycle.onStop('admin port', () => closeServer(adminApp, 500))
lifecycle.onStop('kafka', () =>
  Promise.allSettled([admin.disconnect(), ...[...lanes.values()].map(({ producer }) => producer.disconnect())]),
)
lifecycle.onStop('publishers', () => Promise.all([...lanes.values()].map(({ publisher }) => publisher.close())))
// A request answered at its deadline is the last that can be under way.
lifecycle.onStop('public port', () => closeServer(app, settings.ACCEPT_DEADLINE_MS + 500))
lifecycle.onStop('readiness', async () => {
  stopping.abort()
  await sleep(settings.SHUTDOWN_DELAY_MS)
})

try {
  if (settings.MYKAARMA_AUTH === 'off') logger.warn('authentication is switched off: anyone who reaches this port is believed')
  const address = await adminApp.listen({ host: settings.HOST, port: settings.ADMIN_PORT })
  const publicAddress = await app.listen({ host: settings.HOST, port: settings.PORT })
  logger.info({ address: publicAddress, admin: address }, 'listening')
  await connect()
} catch (error) {
  lifecycle.fail(error as Error)
}
