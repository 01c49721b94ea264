/** `npm run demo`: the whole pipeline on real brokers, shown and then proven. Exit 0 only if nothing is missing or wrong. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { customerKey, DEFAULT_KEY_PREFIX, DEFAULT_TOPIC_PREFIX } from '@customer-stream/schemas'
import { createSimulation, readLedger } from '@customer-stream/simulator'
import { startBrokers } from '../brokers/index.ts'
import { freshNames } from '../fresh-names.ts'
import { openPipeline, type Pipeline } from '../pipeline.ts'
import type { ServiceProcess } from '../service-process.ts'
import { isSound, verdictLines } from '../verification/print-verdict.ts'
import { interruption, sayWhy, tell } from './interruption.ts'
import { createProgressLine } from './progress-line.ts'

const EVENTS = 20_000
const CUSTOMERS = 2000

const productionNames = { topicPrefix: DEFAULT_TOPIC_PREFIX, groupId: 'customer-stream-projector', keyPrefix: DEFAULT_KEY_PREFIX }

const readArguments = () => {
  try {
    return parseArgs({ options: { keep: { type: 'boolean', default: false } } }).values
  } catch (error) {
    tell(`demo: ${(error as Error).message}\n  npm run demo -- [--keep]   --keep leaves everything running at the end, to look around`)
    process.exit(2)
  }
}

const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}
const number = (value: number) => value.toLocaleString('en-US')

/** Sends all events with the faults of real life, and shows how they pass through. */
const runEvents = async (pipeline: Pipeline, ingress: ServiceProcess, projector: ServiceProcess, signal: AbortSignal) => {
  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const simulation = createSimulation({
    url: `${ingress.url}/webhooks/mykaarma`,
    secret: pipeline.secret,
    token: pipeline.token,
    events: EVENTS,
    customers: CUSTOMERS,
    repeats: 0.05,
    disorder: 0.1,
    drops: 0.02,
    other: 0.05,
    retryBaseMs: 200,
    ledgerPath,
    signal,
  })
  say(
    `\nsending ${number(EVENTS)} events for ${number(CUSTOMERS)} customers (seed ${simulation.seed}): 5 % repeated, 10 % out of order, 2 % of answers dropped`,
  )
  const line = createProgressLine()
  const sending = simulation.run()
  let settled = false
  const done = sending.finally(() => {
    settled = true
  })
  for (;;) {
    // A metric may be out of reach while everything is being stopped.
    const [stored, handled, applied] = await Promise.all([
      ingress.metric('ingress_published_total', { outcome: 'stored' }),
      projector.metric('projector_events_total'),
      projector.metric('projector_events_total', { outcome: 'applied' }),
    ]).catch(() => [0, 0, 0])
    const storedCustomers = await ingress.metric('ingress_published_total', { outcome: 'stored', event: 'customers' }).catch(() => 0)
    const { attempts, promised } = simulation.progress
    const lag = Math.max(0, storedCustomers - handled)
    line.show(
      `sent ${number(attempts)}   promised ${number(promised)}   stored ${number(stored)}   applied ${number(applied)} of ${number(handled)} read   lag ${number(lag)}`,
    )
    if ((settled && lag === 0) || signal.aborted) break
    await Promise.race([sleep(200), ...(settled ? [] : [done])])
  }
  line.end()
  return { progress: await done, ledgerPath }
}

const showOneCustomer = async ({ redis, keyPrefix }: Pipeline, customerUuid: string) => {
  const hash = await redis.hgetall(customerKey(customerUuid, keyPrefix))
  say(`\none customer, ${customerKey(customerUuid, keyPrefix)}`)
  for (const [field, value] of Object.entries(hash).sort(([a], [b]) => (a < b ? -1 : 1))) {
    say(`  ${field.padEnd(24)}${value.length > 110 ? `${value.slice(0, 109)}…` : value}`)
  }
}

const whereToLook = (pipeline: Pipeline, kafkaBroker: string, redisUrl: string, customerUuid: string): string[] => [
  `  redis-cli -u ${redisUrl} hgetall '${customerKey(customerUuid, pipeline.keyPrefix)}'`,
  `  kafka-console-consumer.sh --bootstrap-server ${kafkaBroker} --topic ${pipeline.topics.customers} --from-beginning --max-messages 3 --property print.key=true`,
  `  kcat -C -b ${kafkaBroker} -t ${pipeline.topics.customers} -o beginning -c 3 -f '%k %s\\n'`,
]

const { keep } = readArguments()
const startedAt = performance.now()
const cleanUps: (() => Promise<unknown>)[] = []
let exitCode = 1
try {
  const { signal } = interruption
  const brokers = await startBrokers({ log: say, signal })
  cleanUps.push(() => brokers.stop())
  // On brokers of our own the names are those of production; on given ones nothing of somebody else's is touched.
  const pipeline = await openPipeline(brokers, brokers.kind === 'given' ? freshNames() : productionNames)
  cleanUps.push(() => pipeline.close())
  const ingress = await pipeline.start('ingress')
  const projector = await pipeline.start('projector')
  await Promise.all([ingress.untilReady(), projector.untilReady()])
  say(
    `ingress at ${ingress.url}/webhooks/mykaarma, metrics at ${ingress.adminUrl}/metrics\nprojector, metrics at ${projector.adminUrl}/metrics`,
  )
  signal.throwIfAborted()

  const { progress, ledgerPath } = await runEvents(pipeline, ingress, projector, signal)
  signal.throwIfAborted()
  const outcome = async (name: string) => number(await projector.metric('projector_events_total', { outcome: name }))
  say(
    `\n${number(progress.dropped)} answers dropped, ${number(progress.repeats)} events repeated, ${number(progress.lost)} given up by the sender`,
  )
  say(
    `projector: ${await outcome('applied')} applied, ${await outcome('duplicate')} duplicate, ${await outcome('stale')} stale, ${await outcome('quarantined')} quarantined`,
  )

  const verdict = await pipeline.verify(ledgerPath)
  say(`\nthe ledger's verdict\n${verdictLines(verdict).join('\n')}`)
  let customerUuid = ''
  for await (const entry of readLedger(ledgerPath)) if (entry.customerUuid !== null) customerUuid = entry.customerUuid
  await showOneCustomer(pipeline, customerUuid)

  const sound = isSound(verdict) && verdict.promisedEvents === EVENTS && progress.lost === 0
  exitCode = sound ? 0 : 1
  if (!sound) say(`\nthe ledger and the logs of the services are in ${pipeline.folder}`)
  say(`\n${sound ? 'Every promise was kept' : 'NOT every promise was kept'} (${Math.round((performance.now() - startedAt) / 1000)} s)`)
  if (keep) {
    say(
      `\nall is left running; Ctrl-C ends it. Where to look:\n${whereToLook(pipeline, brokers.kafkaBrokers[0] ?? '', brokers.redisUrl, customerUuid).join('\n')}`,
    )
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  } else {
    say(`\nto look around, \`npm run demo -- --keep\` leaves it all running, and then:`)
    say(whereToLook(pipeline, brokers.kafkaBrokers[0] ?? '', brokers.redisUrl, customerUuid).join('\n'))
  }
} catch (error) {
  exitCode = sayWhy('demo', error)
} finally {
  for (const cleanUp of cleanUps.reverse())
    await cleanUp().catch((error: unknown) => tell(`demo: while ending: ${(error as Error).message}`))
}
process.exit(exitCode)
