import { setTimeout as sleep } from 'node:timers/promises'
import { ingressRules, ingressSettings } from '@customer-stream/configuration'
import {
  adminPortOf,
  closeServer,
  createLifecycle,
  createLogger,
  openPort,
  periodically,
  settingsOrExit,
} from '@customer-stream/runtime'
import { createAdminApp } from '@customer-stream/runtime/admin-app'
import { createDiagnose, quotaDelay } from '@customer-stream/runtime/kafka'
import { createObstacles, createRegistry, createTraces, watchSecretFiles } from '@customer-stream/runtime/service'
import { topicNames } from '@customer-stream/schemas'
import { createDelivery, type Delivery } from './delivery/delivery.ts'
import { createWebhookApp } from './http/webhook-app.ts'
import { createKafkaConnection } from './kafka-connection.ts'
import { createIngressMetrics } from './metrics.ts'
import { createReadiness } from './readiness.ts'

const DRAIN_INTERVAL_MS = 500
const OUTAGE_INTERVAL_MS = 2000

const settings = settingsOrExit('ingress', ingressSettings, process.env, ingressRules)
const logger = createLogger('ingress', settings.LOG_LEVEL)
const lifecycle = createLifecycle({ logger, deadlineMs: settings.SHUTDOWN_DEADLINE_MS })
const registry = createRegistry('ingress')
const traces = await createTraces('ingress', { settings, registry, logger })
const topics = topicNames(settings.KAFKA_TOPIC_PREFIX)
const stopping = new AbortController()
const obstacles = createObstacles(registry, logger)
const diagnose = createDiagnose(settings)
const metrics = createIngressMetrics(registry, {
  size: () => delivery.publishers.held,
  spoolSize: () => delivery.spool?.size,
  isolated: () => delivery.publishers,
})
const delivery: Delivery = createDelivery({ settings, topics, metrics, obstacles, logger })
const { publish, publishers, spool } = delivery
const connection = createKafkaConnection({ settings, topics, delivery, obstacles, diagnose, logger })
const watched = { connection, quotaDelay, publishers, spool, obstacles, diagnose, onStuck: lifecycle.fail }
const limits = { maxBodyBytes: settings.MAX_BODY_BYTES, stopping: stopping.signal }
const { checks, watch } = createReadiness({ ...watched, ...limits })
const parts = { settings, publish, topics, metrics, logger, tracer: traces.tracer, stopping: stopping.signal }
const app = createWebhookApp(parts)
const adminApp = createAdminApp({ registry, checks, settings })

await delivery.openSpool().catch((error: Error) => {
  process.stderr.write(`ingress cannot start. SPOOL_DIR: ${error.message}\n`)
  process.exit(2)
})

/** Repeats a task until the lifecycle stops it. */
const repeat = (task: string, intervalMs: number, work: () => Promise<void>) => {
  const onFailure = (err: Error) => logger.error({ err, task }, 'a periodic task failed; the service repeats it')
  lifecycle.onStop(task, periodically(intervalMs, work, onFailure))
}
const secretFiles = { schemas: ingressSettings, env: process.env, rules: ingressRules, registry, logger }
lifecycle.onStop('secret files', watchSecretFiles(settings, secretFiles))
// Parts stop in reverse order, the last part first: readiness, public port, publishers, drain,
// spool, Kafka, traces, admin port.
lifecycle.onStop('admin port', () => closeServer(adminApp, 500))
lifecycle.onStop('traces', traces.stop)
lifecycle.onStop('kafka', connection.disconnect)
repeat('topic check', settings.KAFKA_TOPIC_CHECK_MS, connection.checkTopics)
lifecycle.onStop('spool', () => spool?.close())
repeat('drain', DRAIN_INTERVAL_MS, () => delivery.drainSpool(connection.partitionsKnown, stopping.signal))
repeat('outages', OUTAGE_INTERVAL_MS, watch)
lifecycle.onStop('publishers', publishers.drain)
// When the port begins to close, every request must get its answer within ACCEPT_DEADLINE_MS. The
// remaining connections are cut 500 ms later.
lifecycle.onStop('public port', () => closeServer(app, settings.ACCEPT_DEADLINE_MS + 500))
lifecycle.onStop('readiness', async () => {
  stopping.abort()
  await sleep(settings.SHUTDOWN_DELAY_MS)
})

try {
  const admin = await openPort(adminApp, adminPortOf(settings))
  const address = await openPort(app, { host: ['HOST', settings.HOST], port: ['PORT', settings.PORT] })
  logger.info({ event: 'listening', address, admin }, 'listening')
  await connection.start(stopping.signal)
} catch (error) {
  lifecycle.fail(error as Error)
}
