/**
 * `customer-stream status`: shows on one screen whether the pipeline works. Read-only. A server
 * that does not answer gets a line in the report, and the other lines still appear.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type Audit, readAudit } from '@customer-stream/quarantine'
import { createLogger, type MetricsSample, unlessAborted } from '@customer-stream/runtime'
import { type CommandLine, readCommandLine } from '@customer-stream/runtime/command-line'
import { attributed, createAdmin, createKafka, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { connectRedis, createRedis } from '@customer-stream/runtime/redis'
import { erasuresTopicName, quarantineAuditTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import { missingPositions, positionsKeys } from '@customer-stream/verify'
import { requireReachable, requireRedis } from '@customer-stream/verify/reachable'
import { COMMANDS } from './commands.ts'
import { interruption, reportFailure } from './interruption.ts'
import { printText } from './output.ts'
import { statusLines } from './print-status.ts'
import {
  type Answer,
  answered,
  behindOf,
  countQuarantine,
  type Observation,
  observe,
  readFills,
  readHigherProjections,
  readRawStatus,
  readTopicStatus,
  timeOf,
  withAdmin,
} from './read-status.ts'
import { counterNotices, refusedSender, secretNotices, wrongService } from './service-counters.ts'
import { askMetrics, askReadiness, SERVICE_KINDS, type ServiceAddress } from './service-probe.ts'
import { ratesOf } from './service-rates.ts'
import { type ErasuresStatus, type Findings, reportOf } from './status-report.ts'
import { jsonLine } from './terminal-text.ts'
import { explained, loadClientSettings } from './with-clients.ts'

const DAY_MS = 24 * 3_600_000
/** Maximum records of quarantine that are counted by reason. */
const QUARANTINE_LIMIT = 20_000
/** Time between two readings of the metrics. */
const RATES_MS = 2000
/** Maximum time until Kafka and Redis answer for the first time. */
const CONNECT_MS = 6000
/** Time for the other questions, if Kafka or Redis does not answer. */
const QUESTIONS_MS = 1500
/** Timeout of a request to Kafka or Redis, below the time limit of the command. */
const REQUEST_MS = 3000
/** Maximum time for the audit of quarantine. The rest of the time is for quarantine itself. */
const AUDIT_MS = 2000

const line = {
  name: 'status',
  usage: `customer-stream status [--ingress URL[,URL…]] [--projector URL[,URL…]]
                       [--reader URL[,URL…]] [--timeout-seconds N] [--json]

  Shows whether all is well, what is wrong, and then the details: the services,
  the last event, the lag of each partition, the fill of a lost Redis, the state
  topic, erasures and quarantine. Read-only. If Kafka, Redis or a service does
  not answer, the report says so, and still has all other parts. If addresses of
  services are given, the report also names each counter that fires a critical
  alert.
  Exit code 0 if all is well, otherwise 1.
  --ingress URL         address of the admin port of an ingress, for example
                        http://127.0.0.1:9464
  --projector URL       address of the admin port of a projector, for example
                        http://127.0.0.1:9465
  --reader URL          address of the admin port of a reader, for example
                        http://127.0.0.1:9466
  --timeout-seconds N   maximum time of the command, 5 to 60 (default 10)
  --json                print one JSON object
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run status -- [OPTIONS]`,
  options: COMMANDS.status.options,
  read: ({ texts, flags }) => {
    const given = SERVICE_KINDS.flatMap((kind) =>
      (texts[kind] ?? '').split(',').flatMap((text): ServiceAddress[] => {
        const url = text.trim().replace(/\/+$/, '')
        if (url === '') return []
        const { protocol = '', username = '', password = '' } = URL.parse(url) ?? {}
        if (username + password !== '') throw new Error(`--${kind} must be a URL without a user and a password`)
        if (!/^https?:$/.test(protocol)) throw new Error(`--${kind} must be an http or https URL: ${url}`)
        return [{ kind, url }]
      }),
    )
    const seconds = Number(texts['timeout-seconds'] ?? '10')
    if (!(seconds >= 5 && seconds <= 60)) throw new Error('--timeout-seconds must be a number from 5 to 60')
    const loaded = loadClientSettings()
    const token = loaded.ADMIN_TOKEN
    const withToken = given.map((address) => ({ ...address, ...(token !== undefined && { token }) }))
    return { addresses: withToken, limitMs: seconds * 1000, isJson: flags.has('json'), settings: loaded }
  },
} satisfies CommandLine<unknown>

type Input = ReturnType<typeof line.read>

/** Opens the clients of one run, and starts its time limit. */
const openSession = ({ addresses, limitMs, settings }: Input) => {
  const startedAt = performance.now()
  const short = {
    ...settings,
    KAFKA_REQUEST_TIMEOUT_MS: REQUEST_MS,
    REDIS_COMMAND_TIMEOUT_MS: Math.min(settings.REDIS_COMMAND_TIMEOUT_MS, REQUEST_MS),
  }
  const logger = createLogger('status', 'silent')
  return {
    addresses,
    settings,
    startedAt,
    deadline: startedAt + limitMs - 500,
    /** Aborts when the report must be printed. */
    signal: AbortSignal.any([interruption.signal, AbortSignal.timeout(Math.round(limitMs - 500))]),
    /** Maximum time until Kafka and Redis answer for the first time. */
    connectMs: Math.min(CONNECT_MS, limitMs - 500 - QUESTIONS_MS),
    kafka: createKafka(short, { clientId: 'customer-stream-status', logger }),
    kafkaName: `Kafka at ${settings.KAFKA_BROKERS.join(', ')}`,
    redis: createRedis(short, logger),
    topics: topicNames(settings.KAFKA_TOPIC_PREFIX),
  }
}

type Session = ReturnType<typeof openSession>

/** Asks one question. Never rejects, except after Ctrl-C. */
const ask = async <T>(
  { settings, redis, signal, startedAt }: Session,
  what: string,
  work: () => Promise<T>,
  until = signal,
): Promise<Answer<T>> => {
  try {
    return { value: await unlessAborted(work(), until) }
  } catch (error) {
    interruption.signal.throwIfAborted()
    if (until.aborted)
      return { problem: `${what} did not answer within ${Math.round((performance.now() - startedAt) / 1000)} s` }
    const { message } = explained(error, settings, { redis, settings }) as Error
    return { problem: message }
  }
}

const soon = ({ signal, connectMs }: Session) => AbortSignal.any([signal, AbortSignal.timeout(connectMs)])

const askKafka = (session: Session) =>
  ask(
    session,
    session.kafkaName,
    async () => {
      await requireReachable({ KAFKA_BROKERS: session.settings.KAFKA_BROKERS })
      const admin = createAdmin(session.kafka)
      await admin.connect()
      admin.disconnect().catch(() => undefined)
      return true as const
    },
    soon(session),
  )

const askRedis = (session: Session) =>
  ask(
    session,
    'Redis',
    async () => {
      await requireRedis(session.settings)
      await connectRedis(session.redis)
      return true as const
    },
    soon(session),
  )

/**
 * Asks one question about a topic, with its own client.
 * @param doing verb for the error message "The command cannot <doing> topic …". With `read`, the
 *   message says that the user needs READ.
 */
const askTopic = <T>(session: Session, topic: string, work: (admin: TopicAdmin) => Promise<T>, doing = 'read') =>
  ask(session, session.kafkaName, () => attributed(`${doing} topic ${topic}`, () => withAdmin(session.kafka, work)))

/** Reads the rates, and the facts that only metrics have. */
const readRates = async (
  addresses: readonly ServiceAddress[],
): Promise<Pick<Findings, 'rates' | 'counters' | 'refusedSender' | 'wrongServices' | 'blocked'> | undefined> => {
  if (addresses.length === 0) return undefined
  const before = await Promise.all(addresses.map(askMetrics))
  await sleep(RATES_MS)
  const after = await Promise.all(addresses.map(askMetrics))
  const samples = addresses.flatMap(({ kind }, i) => {
    const [first, second] = [before[i], after[i]]
    return first && second ? [{ kind, before: first, after: second }] : []
  })
  const of = <T>(facts: (address: ServiceAddress, sample: MetricsSample) => readonly T[]): T[] =>
    addresses.flatMap((address, i) => (after[i] ? facts(address, after[i]) : []))
  return {
    rates: ratesOf(samples),
    counters: [...of(secretNotices), ...of(counterNotices)],
    refusedSender: refusedSender(
      samples.flatMap((each) => (each.kind === 'ingress' ? [each.after] : [])),
      Date.now(),
    ),
    wrongServices: of(wrongService),
    blocked: of(({ url }, { labelsAbove0 }) =>
      labelsAbove0('customer_stream_blocked', 'reason').map((reason) => ({ url, reason })),
    ),
  }
}

const askRates = async (session: Session) =>
  answered(await ask(session, 'The services', () => readRates(session.addresses)))

/** Returns the time of receipt of the oldest event that is not applied. */
const oldestWaiting = (admin: TopicAdmin, topic: string, { last }: Observation) =>
  Promise.all(
    last.partitions.map((marks, i) => {
      const position = last.progress?.[i]?.position
      return position === undefined || behindOf(marks, position) === 0
        ? undefined
        : timeOf(admin, topic, marks.partition, position)
    }),
  ).then(oldestOf)

const oldestOf = (times: readonly (number | undefined)[]): number | undefined => {
  const known = times.filter((time) => time !== undefined)
  return known.length > 0 ? Math.min(...known) : undefined
}

const readErasures = async (
  admin: TopicAdmin,
  topic: string,
  observation: Promise<Answer<Observation>>,
): Promise<ErasuresStatus> => {
  const status = await readTopicStatus(admin, topic)
  const progress = answered(await observation)?.last.progress
  if (progress === undefined) return { ...status, waiting: null, oldestAt: undefined }
  const waiting = status.partitions.flatMap(({ partition, low, stable }) => {
    const next = progress.find((each) => each.partition === partition)?.erasuresOffset ?? 0n
    const from = next < BigInt(low) ? BigInt(low) : next
    return from < BigInt(stable) ? [{ partition, from, records: Number(BigInt(stable) - from) }] : []
  })
  const times = await Promise.all(waiting.map(({ partition, from }) => timeOf(admin, topic, partition, from)))
  return { ...status, waiting: waiting.reduce((sum, { records }) => sum + records, 0), oldestAt: oldestOf(times) }
}

/**
 * Reads which records of quarantine are handled. Undefined if the audit cannot be read in time. A
 * missing right on the audit is not a problem of the pipeline.
 */
const readHandled = async (session: Session, until: AbortSignal): Promise<Audit | undefined> => {
  const { settings, topics, kafka, kafkaName } = session
  const auditTopic = quarantineAuditTopicName(settings.KAFKA_TOPIC_PREFIX)
  const soonEnough = AbortSignal.any([until, AbortSignal.timeout(AUDIT_MS)])
  const of = { quarantineTopic: topics.quarantine, auditTopic, signal: soonEnough }
  return answered(await ask(session, kafkaName, () => withAdmin(kafka, (admin) => readAudit(admin, of)), soonEnough))
}

/** Asks all questions. A question waits for another question only if it needs that answer. */
const read = async (session: Session): Promise<Findings> => {
  const { addresses, settings, signal, redis, topics, deadline } = session
  const { PROJECTION_VERSION: projection, REDIS_KEY_PREFIX: keyPrefix, KAFKA_TOPIC_PREFIX: prefix } = settings
  const asking = { services: Promise.all(addresses.map(askReadiness)), rates: askRates(session) }
  const [reached, redisReached] = await Promise.all([askKafka(session), askRedis(session)])
  const now = Date.now()
  const isUp = 'value' in reached
  const optional = <T>(isOn: boolean, question: () => Promise<Answer<T>>) =>
    isUp && isOn ? question() : Promise.resolve(undefined)

  const raw = optional(true, () =>
    askTopic(session, topics.customers, (admin) => readRawStatus(admin, topics.customers, signal)),
  )
  const of = { topic: topics.customers, projection, keyPrefix }
  const observation = raw.then((answer) => {
    const status = answered(answer)
    if (!('value' in redisReached)) return undefined
    if (status === undefined) return ask(session, 'Redis', () => readFills(redis, of))
    const range = { deadline: deadline - 1000, signal }
    return askTopic(session, topics.customers, (admin) => observe({ redis, admin }, status, of, range))
  })
  const higher =
    'value' in redisReached ? ask(session, 'Redis', () => readHigherProjections(redis, of)) : Promise.resolve(undefined)
  const known = observation.then((answer): Answer<Observation> => answer ?? { problem: '' })
  const waiting = known.then((answer) => {
    const value = answered(answer)
    return value && askTopic(session, topics.customers, (admin) => oldestWaiting(admin, topics.customers, value))
  })
  const stateTopic = stateTopicName(prefix)
  const state = optional(settings.KAFKA_STATE_TOPIC, () =>
    askTopic(session, stateTopic, (admin) => readTopicStatus(admin, stateTopic), 'count the records of'),
  )
  const erasuresTopic = erasuresTopicName(prefix)
  const erasures = optional(settings.KAFKA_ERASURES_TOPIC, () =>
    askTopic(session, erasuresTopic, (admin) => readErasures(admin, erasuresTopic, known)),
  )
  const reading = AbortSignal.any([
    interruption.signal,
    AbortSignal.timeout(Math.max(0, Math.round(deadline - 1500 - performance.now()))),
  ])
  const quarantine = optional(true, async () => {
    const counting = {
      since: now - DAY_MS,
      limit: QUARANTINE_LIMIT,
      signal: reading,
      audit: await readHandled(session, reading),
    }
    return askTopic(session, topics.quarantine, (admin) => countQuarantine(admin, topics.quarantine, counting))
  })
  return {
    now,
    noPositions: missingPositions(positionsKeys(redis, projection, keyPrefix)).message,
    kafka: reached,
    redis: redisReached,
    raw: await raw,
    observation: await observation,
    otherProjections: { examined: projection, higher: answered(await higher) ?? [] },
    oldestWaiting: await waiting,
    state: await state,
    erasures: await erasures,
    quarantine: await quarantine,
    services: await asking.services,
    rates: undefined,
    ...(await asking.rates),
  }
}

export const run = async (args: readonly string[]): Promise<number> => {
  const input = readCommandLine(line, args)
  const { settings, isJson } = input
  const session = openSession(input)
  try {
    const report = reportOf(await read(session))
    const isOff = (part: string) =>
      (part === 'state' && !settings.KAFKA_STATE_TOPIC) || (part === 'erasures' && !settings.KAFKA_ERASURES_TOPIC)
    if (isJson) process.stdout.write(jsonLine(report))
    else printText(statusLines(report, isOff).join('\n'))
    return report.healthy ? 0 : 1
  } catch (error) {
    return reportFailure('status', error)
  } finally {
    session.redis.disconnect()
  }
}
