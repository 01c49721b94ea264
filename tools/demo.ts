/**
 * `npm run demo`: runs the whole pipeline on real brokers, kills brokers under load, and then
 * verifies the result. Exit code 0 only if nothing is missing or wrong.
 */
import { hash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { styleText } from 'node:util'
import { interruption, sayWhy, tell } from '@customer-stream/cli/interruption'
import { unlessAborted, waitUntil } from '@customer-stream/runtime'
import {
  customerKey,
  DEFAULT_KEY_PREFIX,
  DEFAULT_TOPIC_PREFIX,
  PROJECTION_VERSION,
  positionField,
  positionsKey,
} from '@customer-stream/schemas'
import {
  createSimulation,
  makeCustomersEvent,
  openLedger,
  readLedger,
  type SimulationProgress,
} from '@customer-stream/simulator'
import { readCommandLine } from '@customer-stream/simulator/command-line'
import type { ServiceProcess } from '@customer-stream/testing'
import { freshNames, openPipeline, type Pipeline, startBrokers } from '@customer-stream/testing'
import { isSound, recordsBehind, VERDICT_LEGEND, verdictLines } from '@customer-stream/verify'
import { type DemoLoad, type FaultContext, killLeader, killRedis } from './demo-faults.ts'
import { LEGEND, number, progressText, sumLines } from './demo-report.ts'
import { createProgressLine } from './progress-line.ts'
import { whereToLook } from './where-to-look.ts'

const DEFAULT_EVENTS = 20_000
const CUSTOMERS = 2000
const EVENTS_PER_SECOND = 700
/** Share of the events that is promised before the server is killed. */
const LEADER_KILLED_AT = 0.2
const REDIS_KILLED_AT = 0.6
const AN_HOUR_MS = 3_600_000

const productionNames = {
  topicPrefix: DEFAULT_TOPIC_PREFIX,
  groupId: 'customer-stream-projector',
  keyPrefix: DEFAULT_KEY_PREFIX,
}

const { keep, events } = readCommandLine({
  name: 'demo',
  usage: `npm run demo -- [--keep] [--events N]

  Starts Kafka, Redis and both services, sends events while a Kafka broker and Redis are killed, and checks that
  every promise was kept. Takes about a minute. Exit code 0 only if nothing is missing or wrong.
  --keep       leaves everything running at the end, to look around; Ctrl-C ends it
  --events N   number of events, 100 or more (${number(DEFAULT_EVENTS)})
  CUSTOMER_STREAM_BROKERS=docker or local chooses where the brokers run; KAFKA_BROKERS and REDIS_URL name running ones.`,
  options: { keep: 'flag', events: 'text' },
  read: ({ flags, texts }) => {
    const { events: text = String(DEFAULT_EVENTS) } = texts
    if (!/^[1-9]\d{2,8}$/.test(text)) throw new Error('--events must be a whole number from 100 on')
    return { keep: flags.has('keep'), events: Number(text) }
  },
})

const line = createProgressLine()
const say = (text: string): void => {
  line.clear()
  process.stdout.write(`${text}\n`)
}
const paint = (format: Parameters<typeof styleText>[0], text: string) =>
  styleText(format, text, { stream: process.stdout })
/** Colours the marks on a terminal. */
const painted = (text: string) =>
  text.replaceAll('✔', paint('green', '✔')).replaceAll(/[✘✂]/g, (mark) => paint('red', mark))
const heading = (text: string) => say(`\n${paint('bold', text)}`)

/**
 * Returns the number of records in Kafka that are not in Redis yet. Infinity if Kafka or Redis does
 * not answer.
 */
const lagOf = async ({ admin, redis, topics, keyPrefix }: Pipeline): Promise<number> => {
  try {
    const ends = await admin.fetchTopicOffsets(topics.customers)
    const fields = ends.map(({ partition }) => positionField(topics.customers, partition))
    return recordsBehind(ends, [await redis.hmget(positionsKey(PROJECTION_VERSION, keyPrefix), ...fields)])
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/**
 * Sends all events with the faults of real senders, kills servers during the load, and shows the
 * progress.
 */
const runEvents = async (
  pipeline: Pipeline,
  ingress: ServiceProcess,
  faults: (load: DemoLoad) => Promise<void>,
  ledgerPath: string,
  interrupted: AbortSignal,
): Promise<SimulationProgress> => {
  const simulation = createSimulation({
    url: `${ingress.url}/webhooks/mykaarma`,
    secret: pipeline.secret,
    token: pipeline.token,
    events,
    customers: CUSTOMERS,
    ratePerSecond: EVENTS_PER_SECOND,
    repeats: 0.05,
    disorder: 0.1,
    drops: 0.02,
    other: 0.05,
    retryBaseMs: 300,
    ledgerPath,
    signal: interrupted,
  })
  heading(`${number(events)} events for ${number(CUSTOMERS)} customers`)
  say(
    `5 % repeated, 10 % out of order, 2 % of answers torn off, 5 % of other types; seed ${simulation.seed}\n${LEGEND}`,
  )
  const ended = new AbortController()
  const done = Promise.all([
    simulation.run().finally(() => ended.abort()),
    faults({ promised: () => simulation.progress.promised, over: () => ended.signal.aborted }),
  ])
  let settled = false
  done.then(
    () => {
      settled = true
    },
    () => {
      settled = true
    },
  )
  let last = { at: performance.now(), promised: 0, perSecond: 0 }
  for (let lag = Number.POSITIVE_INFINITY; !(settled && lag === 0) && !interrupted.aborted; ) {
    await unlessAborted(sleep(200), interrupted)
    const { promised } = simulation.progress
    const seconds = (performance.now() - last.at) / 1000
    if (seconds >= 1) last = { at: performance.now(), promised, perSecond: (promised - last.promised) / seconds }
    lag = await unlessAborted(lagOf(pipeline), interrupted)
    line.show(progressText({ promised, events, perSecond: last.perSecond, lag }))
    if (settled) await unlessAborted(done, interrupted) // the demo ends if a fault could not be carried out
  }
  line.end()
  return (await unlessAborted(done, interrupted))[0]
}

const faultsOn =
  (context: Omit<FaultContext, 'load'>) =>
  async (load: DemoLoad): Promise<void> => {
    const untilShare = (share: number) =>
      waitUntil(
        'enough events are promised',
        () => load.promised(),
        (count) => count >= events * share || load.over() || interruption.signal.aborted,
        { timeoutMs: 300_000 },
      )
    for (const [share, fault] of [
      [LEADER_KILLED_AT, killLeader],
      [REDIS_KILLED_AT, killRedis],
    ] as const) {
      await untilShare(share)
      if (interruption.signal.aborted) return
      await fault({ ...context, load })
    }
  }

/**
 * Shows that a newer event is applied at once. An older event is stored in Kafka and ignored.
 * @returns the number of posted events.
 */
const showLateEvent = async (
  pipeline: Pipeline,
  ingress: ServiceProcess,
  projector: ServiceProcess,
  customerUuid: string,
  ledgerPath: string,
) => {
  const key = customerKey(customerUuid, pipeline.keyPrefix)
  const lastName = () => pipeline.redis.hget(key, 'lastName')
  const ledger = openLedger(ledgerPath)
  const post = async (name: string, timestamp: number) => {
    const { id, type, body } = makeCustomersEvent({ customerUuid, timestamp, customer: { lastName: name } })
    const { status } = await pipeline.post(ingress, body)
    if (status === 202) {
      ledger.append({
        id,
        timestamp,
        type,
        customerUuid,
        sha256: hash('sha256', body),
        promisedAt: Date.now(),
        attempt: 1,
        status,
      })
    }
    return status
  }
  heading('A late event')
  const startedAt = performance.now()
  const now = Date.now()
  const newer = await post('Newer', now)
  await waitUntil('the newer event is in Redis', lastName, (name) => name === 'Newer', { pauseMs: 1 })
  say(
    `  an event of now with lastName "Newer"      → ${newer}, in Redis after ` +
      `${Math.round(performance.now() - startedAt)} ms`,
  )
  const stale = () => projector.metric('projector_events_total', { outcome: 'stale' })
  const staleBefore = await stale()
  const older = await post('Older', now - AN_HOUR_MS)
  await waitUntil('the older event is read', stale, (count) => count > staleBefore)
  ledger.close()
  const kept = await lastName()
  say(
    `  one of an hour ago with lastName "Older"   → ${older}, kept in Kafka, ignored in Redis: lastName is ` +
      `"${kept}" ${painted(kept === 'Newer' ? '✔' : '✘')}`,
  )
  return 2
}

const showOneCustomer = async ({ redis, keyPrefix }: Pipeline, customerUuid: string) => {
  const key = customerKey(customerUuid, keyPrefix)
  heading(`One customer, ${key}`)
  for (const [field, value] of Object.entries(await redis.hgetall(key)).sort(([a], [b]) => (a < b ? -1 : 1))) {
    say(`  ${field.padEnd(24)}${value.length > 72 ? `${value.slice(0, 71)}…` : value}`)
  }
}

const startedAt = performance.now()
const cleanUps: (() => Promise<unknown>)[] = []
const { signal } = interruption

const runDemo = async (): Promise<boolean> => {
  const brokers = await startBrokers({ log: say, signal, cluster: true })
  cleanUps.push(() => brokers.stop())
  // On its own brokers, the demo uses the names of production. On given brokers, it uses fresh
  // names, so that it does not touch other data.
  const names = brokers.kind === 'given' ? freshNames() : productionNames
  const pipeline = await openPipeline(brokers, names)
  let sound = false
  cleanUps.push(async () => {
    await pipeline.close({ removeTopics: brokers.kind === 'given' })
    if (sound || signal.aborted) await rm(pipeline.folder, { recursive: true, force: true })
    else tell(`demo: the ledger and the logs of the services are in ${pipeline.folder} until the next start`)
  })
  const env = { KAFKA_REPLICATION_FACTOR: String(brokers.killable?.brokers.length ?? 1) }
  const ingress = await pipeline.start('ingress', env)
  const projector = await pipeline.start('projector', env)
  await unlessAborted(Promise.all([ingress.untilReady(), projector.untilReady()]), signal)
  say(`ingress at ${ingress.url}/webhooks/mykaarma, projector reads; both are ready`)

  const { killable } = brokers
  const faults = killable
    ? faultsOn({ killable, pipeline, projector, lag: () => lagOf(pipeline), say: (text) => say(painted(text)) })
    : async () => say('nothing is killed: these brokers were given')
  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const sender = await runEvents(pipeline, ingress, faults, ledgerPath, signal)

  let customerUuid = ''
  for await (const entry of readLedger(ledgerPath)) if (entry.customerUuid !== null) customerUuid = entry.customerUuid
  const posted = await unlessAborted(showLateEvent(pipeline, ingress, projector, customerUuid, ledgerPath), signal)
  await showOneCustomer(pipeline, customerUuid)

  const verdict = await pipeline.verify(ledgerPath, { signal })
  const outcome = (name: string) => projector.metric('projector_events_total', { outcome: name })
  const outcomes = {
    applied: await outcome('applied'),
    stale: await outcome('stale'),
    duplicate: await outcome('duplicate'),
    quarantined: await outcome('quarantined'),
  }
  heading('How the numbers add up')
  say(sumLines({ sender, posted, outcomes, customers: CUSTOMERS, verdict }).join('\n'))
  if (keep)
    say(`\nEverything is left running; Ctrl-C ends it. ${whereToLook(brokers, ingress, pipeline, customerUuid, names)}`)
  heading('The verdict: each promise held against Kafka, each customer in Redis against Kafka')
  say(painted([...VERDICT_LEGEND, ...verdictLines(verdict)].join('\n')))

  sound = isSound(verdict) && verdict.promisedEvents === events + posted && sender.lost === 0
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  say(
    `\n${sound ? paint(['bold', 'green'], 'Every promise was kept') : paint(['bold', 'red'], 'NOT every promise was kept')} ` +
      `(${seconds} s)`,
  )
  return sound
}

let exitCode = 1
try {
  exitCode = (await runDemo()) ? 0 : 1
  if (keep) await interruption.arrived
} catch (error) {
  line.clear()
  exitCode = sayWhy('demo', error)
} finally {
  for (const cleanUp of cleanUps.reverse())
    await cleanUp().catch((error: unknown) => tell(`demo: while ending: ${(error as Error).message}`))
}
process.exit(exitCode)
