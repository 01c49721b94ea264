/** The pipeline in which faults fire alerts: the fault harness with a Prometheus. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitUntil } from '@customer-stream/runtime'
import { freePorts, type KafkaCluster, type ServiceProcess, startCluster } from '@customer-stream/testing'
import { type FaultHarness, openFaultHarness } from '../faults/harness/fault-harness.ts'
import { type Monitoring, startMonitoring } from './monitoring.ts'

/**
 * Time limit for an alert to fire after its fault. The same limit holds for its end after the
 * repair.
 */
const TIMEOUT_MS = 120_000

export interface Site extends FaultHarness {
  readonly monitoring: Monitoring
  /** The running reader. */
  readonly reader: ServiceProcess
  startReader(): Promise<void>
  /** Folder for files of a fault, such as a certificate or the flag of `bug.ts`. */
  readonly files: string
  /** Alerts that have fired, and the Unix time in milliseconds when each was last seen firing. */
  readonly lastFired: ReadonlyMap<string, number>
  untilFired(...alerts: readonly string[]): Promise<void>
  untilSilent(...alerts: readonly string[]): Promise<void>
  close(): Promise<void>
}

/**
 * Limits of values that replace the real limits in the rules. The real limits would need hours, or
 * more load than this machine can produce.
 */
const LIMITS = {
  QueueFilling: ['> 5000', '> 25'],
  SpoolOld: ['> 3600', '> 30'],
  ReaderSlow: ['> 1', '> 0.1'],
  LagUnknown: ['> 60', '> 20'],
  Standstill: ['> 300', '> 25'],
  StandstillRestarts: ['> 30', '> 15'],
} as const

const bug = `--import ${new URL('./bug.ts', import.meta.url).href}`
const shortIntervals = `--import ${new URL('./short-intervals.ts', import.meta.url).href}`
const fullDisk = `--import ${new URL('../faults/full-disk.ts', import.meta.url).href}`

const ingressEnv = (files: string) => ({
  READINESS_TIMEOUT_MS: '500',
  KAFKA_TOPIC_CHECK_MS: '1000',
  // The alert QueueFilling fires at half of this limit.
  QUEUE_MAX_RECORDS: '50',
  RECEIVE_MAX_BYTES: '1048576',
  MAX_CONNECTIONS: '200',
  MYKAARMA_ALLOWED_ADDRESSES: '127.0.0.1',
  TRUSTED_PROXIES: '127.0.0.1',
  NODE_OPTIONS: `${bug} ${fullDisk}`,
  BUG_FOLDER: files,
})

const projectorEnv = ({ kafkaBrokers }: KafkaCluster) => ({
  READINESS_TIMEOUT_MS: '500',
  KAFKA_TOPIC_CHECK_MS: '1000',
  // Use small chunks, so that a slow Redis makes the projectors slower than the senders.
  CHUNK_RECORDS: '2',
  NODE_OPTIONS: shortIntervals,
  // Connect to the brokers without the proxies, so that a fault of the network affects only the
  // ingresses.
  KAFKA_BROKERS: kafkaBrokers.join(','),
})

/** Starts a reader at fixed ports. It reaches Kafka and Redis through the proxies. */
const openReader = async ({ pipeline, redis }: FaultHarness, { proxiedBrokers }: KafkaCluster, files: string) => {
  const [port, adminPort] = (await freePorts(2)) as [number, number]
  const start = () =>
    pipeline.start('reader', {
      PORT: String(port),
      ADMIN_PORT: String(adminPort),
      READINESS_TIMEOUT_MS: '500',
      KAFKA_BROKERS: proxiedBrokers.join(','),
      REDIS_URL: `redis://127.0.0.1:${redis.network.port}`,
      NODE_OPTIONS: bug,
      BUG_FOLDER: files,
      REDIS_COMMAND_TIMEOUT_MS: '1000',
    })
  let reader = await start()
  return {
    get reader() {
      return reader
    },
    startReader: async () => {
      reader = await start()
    },
  }
}

const watchAlerts = (monitoring: Monitoring) => {
  const lastFired = new Map<string, number>()
  const timer = setInterval(async () => {
    for (const alert of await monitoring.firing().catch(() => [])) lastFired.set(alert, Date.now())
  }, 500)
  return { lastFired, stop: () => clearInterval(timer) }
}

const adminAddress = ({ adminUrl }: { readonly adminUrl: string }) => new URL(adminUrl).host
const processOf = ({ process }: { readonly process: ServiceProcess }) => process

export const openSite = async (seed: number): Promise<Site> => {
  const cluster = await startCluster()
  const files = mkdtempSync(join(tmpdir(), 'alerts-'))
  const harness = await openFaultHarness(cluster, {
    seed,
    ratePerSecond: 30,
    ingressEnv: ingressEnv(files),
    projectorEnv: projectorEnv(cluster),
  })
  const reader = await openReader(harness, cluster, files)
  const monitoring = await startMonitoring(
    join(harness.pipeline.folder, 'prometheus'),
    {
      'customer-stream-ingress': harness.ingresses.map(processOf).map(adminAddress),
      'customer-stream-projector': harness.projectors.map(processOf).map(adminAddress),
      'customer-stream-reader': [adminAddress(reader.reader)],
    },
    LIMITS,
  )
  const { lastFired, stop } = watchAlerts(monitoring)
  const { close: closeHarness } = harness
  const options = { timeoutMs: TIMEOUT_MS, pauseMs: 200 }
  // Copy property descriptors, because a spread would replace the getters by their values.
  Object.defineProperties(harness, Object.getOwnPropertyDescriptors(reader))
  return Object.assign(harness as FaultHarness & typeof reader, {
    monitoring,
    files,
    lastFired,
    untilFired: async (...alerts: readonly string[]) => {
      const since = Date.now()
      await waitUntil(
        `${alerts.join(', ')} fire`,
        () => alerts.filter((alert) => (lastFired.get(alert) ?? 0) < since),
        (missing) => missing.length === 0,
        options,
      )
    },
    untilSilent: async (...alerts: readonly string[]) => {
      await waitUntil(
        `${alerts.join(', ')} end`,
        async () => (await monitoring.firing()).filter((alert) => alerts.includes(alert)),
        (firing) => firing.length === 0,
        options,
      )
    },
    close: async () => {
      stop()
      await monitoring.end()
      await closeHarness()
      await cluster.stop()
      rmSync(files, { recursive: true })
    },
  })
}
