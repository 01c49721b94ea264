import { randomUUID } from 'node:crypto'
import { projectorRules, projectorSettings } from '@customer-stream/configuration'
import {
  adminPortOf,
  closeServer,
  createLifecycle,
  createLogger,
  openPort,
  settingsOrExit,
} from '@customer-stream/runtime'
import { createAdminApp } from '@customer-stream/runtime/admin-app'
import {
  createDiagnose,
  createKafkaCheck,
  createPartitionConsumer,
  createTopicWatch,
  quotaDelay,
  readTopicIdentity,
} from '@customer-stream/runtime/kafka'
import { causeOf, createRedis } from '@customer-stream/runtime/redis'
import { createObstacles, createRegistry, createTraces, watchSecretFiles } from '@customer-stream/runtime/service'
import { createFillStore } from './fill-store.ts'
import { createKafkaClients } from './kafka-clients.ts'
import { createMeasurement } from './measurement.ts'
import { createProjectorMetrics } from './metrics.ts'
import { optionsOf } from './options.ts'
import { createProgress } from './progress.ts'
import { createProjection } from './projection.ts'
import { createReadiness } from './readiness.ts'
import { createRedisCheck } from './redis-check.ts'
import { createSenderWatch } from './sender-watch.ts'
import { createStartup } from './startup.ts'
import { createStore } from './store.ts'
import { startTasks } from './tasks.ts'
import { createWatchdog } from './watchdog.ts'

const settings = settingsOrExit('projector', projectorSettings, process.env, projectorRules)
const options = optionsOf(settings, randomUUID())
const logger = createLogger('projector', settings.LOG_LEVEL)
const lifecycle = createLifecycle({ logger, deadlineMs: settings.SHUTDOWN_DEADLINE_MS })
const registry = createRegistry('projector')
const traces = await createTraces('projector', { settings, registry, logger })
const metrics = createProjectorMetrics(registry, options)
const obstacles = createObstacles(registry, logger)
const diagnose = createDiagnose(settings)
const { openKafka, admin, sources, outputs, writeCheck } = createKafkaClients({ settings, options, logger })
const topicWatch = createTopicWatch({ admin, writeCheck, settings, obstacles, diagnose, logger, ...outputs })
const redis = createRedis(settings, logger)
const store = createStore(redis, options.store)
const senderWatch = createSenderWatch({ redis, metrics, logger }, options.store)
const consumer = createPartitionConsumer(openKafka(), admin, {
  ...options.consumer,
  logger,
  diagnose,
  onProblem: (problem) => obstacles.report('group', problem),
  onAssigned: (partitions) => {
    outputs.takeOver()
    projection.positions.assign(partitions)
  },
  onBatch: (batch) => projection.onBatch(batch),
  onDead: lifecycle.fail,
})
const readIdentity = () => readTopicIdentity(admin, options.topic)
const stores = { causeOf: causeOf(redis), store, fillStore: createFillStore(redis, options.store) }
const parts = { consumer, obstacles, metrics, senderWatch, logger, tracer: traces.tracer }
const projection = createProjection({ readIdentity, ...stores, ...sources, ...outputs, ...parts }, options.projection)
const progress = createProgress({ consumer, store, metrics }, options.progress)
const measure = createMeasurement({ progress, projection, obstacles })
const redisCheck = createRedisCheck({ redis, store, settings, obstacles, logger })
const kafkaOutage = createKafkaCheck({ admin, diagnose, ...options.kafkaCheck })
const clients = { admin, outputs, consumer, redis, store }
const checks = { topicWatch, redisCheck, kafkaOutage, measure, obstacles, metrics, logger }
const startup = createStartup({ ...clients, ...checks, diagnose, lifecycle }, options.startup)
const watched = { startup, ...checks, quotaDelay, consumer, projection, progress }
const readiness = createReadiness({ ...watched, groupId: options.groupId })
const adminApp = createAdminApp({ registry, checks: readiness, settings })
const watchdog = createWatchdog({ ...clients, projection, progress, lifecycle }, options.watchdog)

const secretFiles = { schemas: projectorSettings, env: process.env, rules: projectorRules, registry, logger }
lifecycle.onStop('secret files', watchSecretFiles(settings, secretFiles))
// Parts stop in reverse order, the last part first: readiness, timers, consumer, connections,
// traces, admin port.
lifecycle.onStop('admin port', () => closeServer(adminApp, 500))
lifecycle.onStop('traces', traces.stop)
lifecycle.onStop('redis', () => redis.disconnect())
lifecycle.onStop('kafka', () => Promise.allSettled([outputs, writeCheck, admin].map((client) => client.disconnect())))
lifecycle.onStop('consumer', projection.stop)
lifecycle.onStop('timers', startTasks({ ...checks, startup, projection, store, senderWatch, watchdog }, options.tasks))
lifecycle.onStop('readiness', startup.stop)
await startup.run(() => openPort(adminApp, adminPortOf(settings)))
