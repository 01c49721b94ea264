import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { type SupervisedProcess, startSupervised } from './brokers/supervised-process.ts'
import { inspectLog, inspectText, secretsOf } from './leaks.ts'

/** The services that use Kafka. */
export type ServiceName = 'ingress' | 'projector'
export type AnyServiceName = ServiceName | 'reader'

/** One of our services as a separate process, configured only by environment variables. */
export interface ServiceProcess {
  readonly adminUrl: string
  /** Address of the public port. Empty for the projector, which has no public port. */
  readonly url: string
  readonly pid: number
  /** Exit code of the process. */
  readonly ended: Promise<number>
  readonly logFile: string
  untilReady(): Promise<void>
  /** Returns the sum of one metric over all label sets that contain these labels. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>
  signal(signal: NodeJS.Signals): void
  /** Sends SIGTERM. Resolves with the exit code. */
  end(): Promise<number>
}

/**
 * Folder of the working copy whose services the tests start. To test the services of an older
 * version, set CUSTOMER_STREAM_SERVICES_ROOT to the folder of that version.
 */
export const servicesRoot =
  process.env.CUSTOMER_STREAM_SERVICES_ROOT ?? fileURLToPath(new URL('../../../', import.meta.url))

interface LogLine {
  readonly msg?: string
  readonly address?: string
  readonly admin?: string
}

const logLines = async (file: string): Promise<LogLine[]> =>
  (await readFile(file, 'utf8')).split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as LogLine]
    } catch {
      return []
    }
  })

const testDefaults = {
  HOST: '127.0.0.1',
  PORT: '0',
  ADMIN_PORT: '0',
  // Replace vitest's value "test", because kafkajs has other timeouts with that value.
  NODE_ENV: 'production',
}

/**
 * Returns the file that starts a service. Older releases have no `start.js`, and start `main.ts`.
 */
const startFile = (root: string, name: AnyServiceName): string => {
  const folder = join(root, 'services', name)
  const file = join(folder, 'start.js')
  return existsSync(file) ? file : join(folder, 'src', 'main.ts')
}

/**
 * Starts a service and does not wait until its ports are open. For tests of services that fail to
 * start. When the service has ended, its log is searched for secrets and for data of customers.
 */
export const spawnService = (
  name: AnyServiceName,
  env: Readonly<Record<string, string>>,
  logFile: string,
  root: string = servicesRoot,
): SupervisedProcess => {
  const secrets = secretsOf(env)
  const supervised = startSupervised({
    command: process.execPath,
    args: ['--max-semi-space-size=8', '--conditions=customer-stream-source', startFile(root, name)],
    env: {
      ...testDefaults,
      MALLOC_ARENA_MAX: '1',
      // Cache compiled code, so that only the first start of a service compiles code.
      NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'node'),
      ...env,
    },
    logFile,
  })
  const inspect = () => inspectLog(`the log of ${name}`, logFile, [...secrets, ...secretsOf(env)])
  supervised.ended.then(inspect, inspect)
  return supervised
}

const sumOf = (metrics: string, name: string, labels: Readonly<Record<string, string>>): number => {
  let sum = 0
  for (const line of metrics.split('\n')) {
    const [, found, labelText = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (found === name && Object.entries(labels).every(([label, text]) => labelText.includes(`${label}="${text}"`)))
      sum += Number(value)
  }
  return sum
}

/** Time limit for an answer of a service to a test. */
const ANSWER_TIMEOUT_MS = 30_000

/** Time limit for the last answers before a service ends. A paused service does not answer. */
const LAST_ANSWER_TIMEOUT_MS = 1000

/**
 * Starts a service. Resolves when its ports are open. The service may not be ready yet.
 * @param root folder of the working copy whose code runs.
 */
export const startService = async (
  name: AnyServiceName,
  env: Readonly<Record<string, string>>,
  logFile: string,
  root: string = servicesRoot,
): Promise<ServiceProcess> => {
  const supervised = spawnService(name, env, logFile, root)
  const lines = await waitUntil(
    `${name} listens`,
    async () => logLines(logFile),
    (logged) => supervised.hasEnded() || logged.some(({ msg }) => msg === 'listening'),
  )
  const { address = '', admin } = lines.findLast(({ msg }) => msg === 'listening') ?? {}
  if (admin === undefined) throw new Error(`${name} ended at its start:\n${await readFile(logFile, 'utf8')}`)
  const pid = await supervised.pid
  // Limit the wait, because a paused process never answers.
  const ask = async (path: string, timeoutMs = ANSWER_TIMEOUT_MS) => {
    const answer = await (await fetch(`${admin}${path}`, { signal: AbortSignal.timeout(timeoutMs) })).text()
    inspectText(`${path} of ${name}`, answer, secretsOf(env))
    return answer
  }
  return {
    adminUrl: admin,
    url: address,
    pid,
    ended: supervised.ended,
    logFile,
    untilReady: async () => {
      const seen = await waitUntil(
        `${name} is ready`,
        async () => (supervised.hasEnded() ? 'ended' : await ask('/readyz')),
        (answer) => answer === 'ended' || answer.includes('"status":"ready"'),
        { timeoutMs: 60_000, pauseMs: 50 },
      )
      if (seen === 'ended') throw new Error(`${name} ended before it was ready:\n${await readFile(logFile, 'utf8')}`)
    },
    metric: async (metric, labels = {}) => sumOf(await ask('/metrics'), metric, labels),
    signal: (signal) => {
      process.kill(pid, signal)
    },
    end: async () => {
      await Promise.allSettled(['/metrics', '/readyz'].map((path) => ask(path, LAST_ANSWER_TIMEOUT_MS)))
      await supervised.end()
      return supervised.ended
    },
  }
}
