import { setTimeout as sleep } from 'node:timers/promises'
import { ingressSettings, LAST_ANSWERS_MS, readerRules, readerSettings } from '@customer-stream/configuration'
import {
  adminPortOf,
  closeServer,
  createLifecycle,
  createLogger,
  openPort,
  periodically,
  retryWithBackoff,
  settingsOrExit,
} from '@customer-stream/runtime'
import { createAdminApp } from '@customer-stream/runtime/admin-app'
import { quotaDelay } from '@customer-stream/runtime/kafka'
import { connectRedis, createRedis, createRedisDiagnose } from '@customer-stream/runtime/redis'
import { createObstacles, createRegistry, createTraces, watchSecretFiles } from '@customer-stream/runtime/service'
import { followChanges } from './changes/follow-changes.ts'
import { createCustomers } from './customers.ts'
import { createListDealers } from './dealers.ts'
import { createFindCustomers } from './find-customers.ts'
import { createReaderApp } from './http/reader-app.ts'
import { createReaderKafka } from './kafka.ts'
import { createKafkaParts } from './kafka-parts.ts'
import { createListCustomers } from './list-customers.ts'
import { createReaderMetrics } from './metrics.ts'
import { MEASURE_INTERVAL_MS } from './pipeline/watch.ts'
import { createPositions } from './positions.ts'
import { createReadiness } from './readiness.ts'

const OUTAGE_INTERVAL_MS = 2000

const settings = settingsOrExit('reader', readerSettings, process.env, readerRules, ingressSettings)
const logger = createLogger('reader', settings.LOG_LEVEL)
const lifecycle = createLifecycle({ logger, deadlineMs: settings.SHUTDOWN_DEADLINE_MS })
const registry = createRegistry('reader')
const traces = await createTraces('reader', { settings, registry, logger })
const stopping = new AbortController()
const obstacles = createObstacles(registry, logger)
const metrics = createReaderMetrics(registry)
const kafka = createReaderKafka({ settings, metrics, obstacles, logger })
const redis = createRedis(settings, logger)
const diagnose = createRedisDiagnose(settings, redis)
const { REDIS_KEY_PREFIX: keyPrefix, PROJECTION_VERSION: projection } = settings
const positions = createPositions(redis, { keyPrefix, projection })
const customers = createCustomers(redis, positions, keyPrefix)
const indexed = { positions, customers, keyPrefix }
const [find, list] = [createFindCustomers(redis, indexed), createListCustomers(redis, indexed)]
const listDealers = createListDealers({ redis, positions }, keyPrefix)
const changes = followChanges({ settings, kafka, metrics, stopping: stopping.signal })
const ofKafka = { settings, redis, positions, listDealers, kafka, metrics }
const kafkaParts = createKafkaParts({ ...ofKafka, stopping: stopping.signal })
const timeoutMs = settings.READINESS_TIMEOUT_MS
const watched = { customers, kafka, quotaDelay, diagnose, obstacles }
const readiness = createReadiness({ ...watched, timeoutMs, stopping: stopping.signal })
const parts = { settings, customers, find, list, listDealers, changes, ...kafkaParts, metrics, logger }
const app = createReaderApp({ ...parts, tracer: traces.tracer, stopping: stopping.signal })
const adminApp = createAdminApp({ registry, checks: readiness.checks, settings })

const secretFiles = { schemas: readerSettings, env: process.env, rules: readerRules, registry, logger }
lifecycle.onStop('secret files', watchSecretFiles(settings, secretFiles))
// Parts stop in reverse order: readiness, requests, clients, traces, and last the admin port.
lifecycle.onStop('admin port', () => closeServer(adminApp, 500))
lifecycle.onStop('traces', traces.stop)
lifecycle.onStop('kafka', kafka.disconnect)
lifecycle.onStop('redrives', kafkaParts.stopRedrives)
lifecycle.onStop('redis', () => redis.disconnect())
const onFailure = (err: Error) => logger.error({ err }, 'the readiness could not be checked; the service repeats it')
lifecycle.onStop('outages', periodically(OUTAGE_INTERVAL_MS, readiness.watch, onFailure))
lifecycle.onStop('pipeline', periodically(MEASURE_INTERVAL_MS, kafkaParts.pipeline.measure, onFailure))
lifecycle.onStop('public port', () => closeServer(app, LAST_ANSWERS_MS))
lifecycle.onStop('readiness', async () => {
  stopping.abort()
  await sleep(settings.SHUTDOWN_DELAY_MS)
})

try {
  const admin = await openPort(adminApp, adminPortOf(settings))
  const address = await openPort(app, { host: ['HOST', settings.HOST], port: ['PORT', settings.PORT] })
  logger.info({ event: 'listening', address, admin }, 'listening')
  changes?.run().catch(lifecycle.fail)
  const backoff = { initialMs: 100, maxMs: settings.RETRY_MAX_PAUSE_MS }
  const connect = () => connectRedis(redis).then(() => customers.check())
  const onStartFailure = (error: Error) => obstacles.report('redis', diagnose(error))
  const start = { signal: stopping.signal, backoff, onFailure: onStartFailure }
  if (await retryWithBackoff(connect, start)) logger.info({ event: 'ready' }, 'ready')
  if (!stopping.signal.aborted) await kafkaParts.pipeline.measure()
} catch (error) {
  lifecycle.fail(error as Error)
}
