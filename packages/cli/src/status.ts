/**
 * `customer-stream status`: shows on one screen whether the pipeline works. Read-only. A server
 * that does not answer gets a line in the report, and the other lines still appear.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createLogger, unlessAborted } from '@customer-stream/runtime'
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { attributed, createAdmin, createKafka, type TopicAdmin } from '@customer-stream/runtime/kafka'
import { connectRedis, createRedis } from '@customer-stream/runtime/redis'
import { erasuresTopicName, quarantineAuditTopicName, stateTopicName, topicNames } from '@customer-stream/schemas'
import { missingPositions, positionsKeys } from '@customer-stream/verify'
import { requireReachable, requireRedis } from '@customer-stream/verify/reachable'
import { COMMANDS } from './commands.ts'
import { interruption, reportFailure } from './interruption.ts'
import { endProcess } from './output.ts'
import { statusLines } from './print-status.ts'
import { type Audit, readAudit } from './quarantine/audit.ts'
import {
  type Answer,
  answered,
  behindOf,
  countQuarantine,
  type Observation,
  observe,
  readFills,
  readRawStatus,
  readTopicStatus,
  timeOf,
  withAdmin,
} from './read-status.ts'
import { counterNotices } from './service-counters.ts'
import { askMetrics, askReadiness, type ServiceAddress } from './service-probe.ts'
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
/** Requests to Kafka and Redis must fail within the time limit of the command. */
const REQUEST_MS = 3000
/** Maximum time for the audit of quarantine. The rest of the time is for quarantine itself. */
const AUDIT_MS = 2000

const { addresses, limitMs, isJson, settings } = readCommandLine({
  name: 'status',
  usage: `customer-stream status [--ingress URL[,URL…]] [--projector URL[,URL…]]
                       [--timeout-seconds N] [--json]

  Shows whether all is well, what is wrong, and then the details: the services,
  the last event, the lag of each partition, the fill of a lost Redis, the state
  topic, erasures and quarantine. Read-only. If Kafka, Redis or a service does
  not answer, the report says so, and still has all other parts. With the
  addresses, it also names counters of critical alerts, since each start.
  Exit code 0 if all is well, otherwise 1.
  --ingress URL         address of the admin port of an ingress, for example
                        http://127.0.0.1:9464
  --projector URL       address of the admin port of a projector, for example
                        http://127.0.0.1:9465
  --timeout-seconds N   maximum time of the command, 5 to 60 (default 10)
  --json                print one JSON object
  The settings of the services (KAFKA_BROKERS, REDIS_URL and others) are read
  from the environment.
  In this repository: npm run status -- [OPTIONS]`,
  options: COMMANDS.status.options,
  read: ({ texts, flags }) => {
    const given = (['ingress', 'projector'] as const).flatMap((kind) =>
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
})
const startedAt = performance.now()
const deadline = startedAt + limitMs - 500
/** Aborts when the report must be printed. */
const signal = AbortSignal.any([interruption.signal, AbortSignal.timeout(Math.round(limitMs - 500))])

const short = {
  ...settings,
  KAFKA_REQUEST_TIMEOUT_MS: REQUEST_MS,
  REDIS_COMMAND_TIMEOUT_MS: Math.min(settings.REDIS_COMMAND_TIMEOUT_MS, REQUEST_MS),
}
const logger = createLogger('status', 'silent')
const kafka = createKafka(short, { clientId: 'customer-stream-status', logger })
const redis = createRedis(short, logger)
const prefix = settings.KAFKA_TOPIC_PREFIX
const topics = topicNames(prefix)
const { PROJECTION_VERSION: projection, REDIS_KEY_PREFIX: keyPrefix } = settings

/** Asks one question. Never rejects, except after Ctrl-C. */
const ask = async <T>(what: string, work: () => Promise<T>, until = signal): Promise<Answer<T>> => {
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

const soon = () => AbortSignal.any([signal, AbortSignal.timeout(Math.min(CONNECT_MS, limitMs - 500 - QUESTIONS_MS))])
const kafkaName = `Kafka at ${settings.KAFKA_BROKERS.join(', ')}`

const askKafka = () =>
  ask(
    kafkaName,
    async () => {
      await requireReachable({ KAFKA_BROKERS: settings.KAFKA_BROKERS })
      const admin = createAdmin(kafka)
      await admin.connect()
      admin.disconnect().catch(() => undefined)
      return true as const
    },
    soon(),
  )

const askRedis = () =>
  ask(
    'Redis',
    async () => {
      await requireRedis(settings)
      await connectRedis(redis)
      return true as const
    },
    soon(),
  )

/**
 * Asks one question about a topic, with its own client.
 * @param doing begins the name of the question. If `doing` begins with `read`, the message says
 * that the user needs READ.
 */
const askTopic = <T>(topic: string, work: (admin: TopicAdmin) => Promise<T>, doing = 'read') =>
  ask(kafkaName, () => attributed(`${doing} topic ${topic}`, () => withAdmin(kafka, work)))

/** Reads the rates, and the counters that make an alert. */
const readRates = async (): Promise<Pick<Findings, 'rates' | 'counters'> | undefined> => {
  if (addresses.length === 0) return undefined
  const before = await Promise.all(addresses.map(askMetrics))
  await sleep(RATES_MS)
  const after = await Promise.all(addresses.map(askMetrics))
  const samples = addresses.flatMap(({ kind }, i) => {
    const [first, second] = [before[i], after[i]]
    return first && second ? [{ kind, before: first, after: second }] : []
  })
  const counters = addresses.flatMap((address, i) => (after[i] ? counterNotices(address, after[i]) : []))
  return { rates: ratesOf(samples), counters }
}

const askRates = async () => answered(await ask('The services', readRates))

/** Returns the time of receipt of the oldest event that is not applied. */
const oldestWaiting = (admin: TopicAdmin, { last }: Observation) =>
  Promise.all(
    last.partitions.map((marks, i) => {
      const position = last.progress?.[i]?.position
      return position === undefined || behindOf(marks, position) === 0
        ? undefined
        : timeOf(admin, topics.customers, marks.partition, position)
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
 * missing right on the audit is no problem of the pipeline.
 */
const readHandled = async (until: AbortSignal): Promise<Audit | undefined> => {
  const auditTopic = quarantineAuditTopicName(prefix)
  const soonEnough = AbortSignal.any([until, AbortSignal.timeout(AUDIT_MS)])
  const of = { quarantineTopic: topics.quarantine, auditTopic, signal: soonEnough }
  return answered(await ask(kafkaName, () => withAdmin(kafka, (admin) => readAudit(admin, of)), soonEnough))
}

/** Asks all questions. A question waits for another question only if it needs that answer. */
const read = async (): Promise<Findings> => {
  const asking = { services: Promise.all(addresses.map(askReadiness)), rates: askRates() }
  const [reached, redisReached] = await Promise.all([askKafka(), askRedis()])
  const now = Date.now()
  const isUp = 'value' in reached
  const optional = <T>(isOn: boolean, question: () => Promise<Answer<T>>) =>
    isUp && isOn ? question() : Promise.resolve(undefined)

  const raw = optional(true, () =>
    askTopic(topics.customers, (admin) => readRawStatus(admin, topics.customers, signal)),
  )
  const of = { topic: topics.customers, projection, keyPrefix }
  const observation = raw.then((answer) => {
    const status = answered(answer)
    if (!('value' in redisReached)) return undefined
    if (status === undefined) return ask('Redis', () => readFills(redis, of))
    const range = { deadline: deadline - 1000, signal }
    return askTopic(topics.customers, (admin) => observe({ redis, admin }, status, of, range))
  })
  const known = observation.then((answer): Answer<Observation> => answer ?? { problem: '' })
  const waiting = known.then((answer) => {
    const value = answered(answer)
    return value && askTopic(topics.customers, (admin) => oldestWaiting(admin, value))
  })
  const stateTopic = stateTopicName(prefix)
  const state = optional(settings.KAFKA_STATE_TOPIC, () =>
    askTopic(stateTopic, (admin) => readTopicStatus(admin, stateTopic), 'count the records of'),
  )
  const erasuresTopic = erasuresTopicName(prefix)
  const erasures = optional(settings.KAFKA_ERASURES_TOPIC, () =>
    askTopic(erasuresTopic, (admin) => readErasures(admin, erasuresTopic, known)),
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
      audit: await readHandled(reading),
    }
    return askTopic(topics.quarantine, (admin) => countQuarantine(admin, topics.quarantine, counting))
  })
  return {
    now,
    noPositions: missingPositions(positionsKeys(redis, projection, keyPrefix)).message,
    kafka: reached,
    redis: redisReached,
    raw: await raw,
    observation: await observation,
    oldestWaiting: await waiting,
    state: await state,
    erasures: await erasures,
    quarantine: await quarantine,
    services: await asking.services,
    rates: undefined,
    ...(await asking.rates),
  }
}

const run = async (): Promise<number> => {
  try {
    const report = reportOf(await read())
    const isOff = (part: string) =>
      (part === 'state' && !settings.KAFKA_STATE_TOPIC) || (part === 'erasures' && !settings.KAFKA_ERASURES_TOPIC)
    process.stdout.write(isJson ? jsonLine(report) : `${statusLines(report, isOff).join('\n')}\n`)
    return report.healthy ? 0 : 1
  } catch (error) {
    return reportFailure('status', error)
  }
}

// Ends the process, because a client may still wait for a server that does not answer.
await endProcess(await run())
