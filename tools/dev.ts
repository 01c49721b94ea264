/**
 * `npm run dev`: starts brokers and all services. Restarts a service when a source file changes.
 */
import { hash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { interruption, printNotice, reportFailure } from '@customer-stream/cli/interruption'
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { freePorts, startBrokers, startSupervised } from '@customer-stream/testing'
import { whereToLook } from './where-to-look.ts'

/** The same key as in docker-compose.yml, so that the commands of README.md work with both. */
const API_KEY = 'desk-key'

const source = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))

readCommandLine({
  name: 'dev',
  usage: `npm run dev

  Starts brokers and all services, and restarts a service when a source file changes. Ctrl-C ends it.
  CUSTOMER_STREAM_BROKERS=docker or local chooses where the brokers run.
  If KAFKA_BROKERS and REDIS_URL name brokers and a Redis that already run, the services use them.`,
  options: {},
  read: () => undefined,
})
const { signal, arrived } = interruption
const cleanUps: (() => Promise<unknown>)[] = []
let exitCode = 0
try {
  const brokers = await startBrokers({ log: printNotice, signal })
  cleanUps.push(() => brokers.stop())
  // Choose the ports only once, so that a restarted service keeps its address.
  const ports = (await freePorts(5)).map(String)
  const [port, ingressAdmin, projectorAdmin, readerPort, readerAdmin] = ports
  const shared = {
    HOST: '127.0.0.1',
    KAFKA_BROKERS: brokers.kafkaBrokers.join(','),
    KAFKA_CREATE_TOPICS: 'true',
    KAFKA_REPLICATION_FACTOR: '1',
  }
  const secrets = { MYKAARMA_SIGNING_SECRETS: 'desk=desk-secret', MYKAARMA_TOKENS: 'desk=desk-token' }
  const desk = { name: 'desk', scopes: ['read', 'pii', 'operate'], dealers: ['*'], sha256: hash('sha256', API_KEY) }
  const environments: Record<string, Record<string, string | undefined>> = {
    ingress: { ...shared, ...secrets, PORT: port, ADMIN_PORT: ingressAdmin },
    projector: { ...shared, REDIS_URL: brokers.redisUrl, ADMIN_PORT: projectorAdmin },
    reader: {
      ...shared,
      REDIS_URL: brokers.redisUrl,
      PORT: readerPort,
      ADMIN_PORT: readerAdmin,
      INGRESS_ADMIN_URLS: `http://127.0.0.1:${ingressAdmin}`,
      READER_API_KEYS: JSON.stringify([desk]),
    },
  }
  const run = (command: string, args: string[], env: Record<string, string | undefined> = {}) => {
    const started = startSupervised({ command, args, env: env as Record<string, string>, logFile: '/dev/stdout' })
    cleanUps.push(() => started.end())
  }
  const watch = ['--watch', '--watch-preserve-output', '--conditions=customer-stream-source']
  for (const [name, env] of Object.entries(environments))
    run(process.execPath, [...watch, source(`services/${name}/src/main.ts`)], env)
  run('npm', ['run', '--silent', 'build', '--workspace', '@customer-stream/reader', '--', '--watch'])
  const ingress = { url: `http://127.0.0.1:${port}`, adminUrl: `http://127.0.0.1:${ingressAdmin}` }
  const projector = { adminUrl: `http://127.0.0.1:${projectorAdmin}` }
  const reader = { url: `http://127.0.0.1:${readerPort}`, adminUrl: `http://127.0.0.1:${readerAdmin}` }
  const keys = { secret: 'desk-secret', token: 'desk-token', apiKey: API_KEY }
  printNotice(`ingress: ${ingress.url}/webhooks/mykaarma, metrics at ${ingress.adminUrl}/metrics
projector: metrics at ${projector.adminUrl}/metrics
reader: ${reader.url}/v1/customers, metrics at ${reader.adminUrl}/metrics
${whereToLook(brokers, { ingress, projector, reader }, keys)}`)
  await arrived
} catch (error) {
  exitCode = reportFailure('dev', error)
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}
process.exit(exitCode)
