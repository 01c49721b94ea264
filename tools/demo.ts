/**
 * `npm run demo`: runs the whole pipeline on real brokers, kills parts of the pipeline under load,
 * and then verifies the result. The exit code is 0 only if nothing is missing or wrong.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { interruption, printNotice, reportFailure } from '@customer-stream/cli/interruption'
import { seconds } from '@customer-stream/cli/layout'
import { createScreen } from '@customer-stream/cli/screen'
import { readCommandLine } from '@customer-stream/runtime/command-line'
import { DEFAULT_KEY_PREFIX, DEFAULT_TOPIC_PREFIX } from '@customer-stream/schemas'
import {
  type Brokers,
  freshNames,
  openPipeline,
  type Pipeline,
  READER_KEY,
  rejectLeaks,
  startBrokers,
} from '@customer-stream/testing'
import { showLiveChange, showSearch } from './demo/application.ts'
import { buildConsole, openInBrowser } from './demo/console.ts'
import { showOneCustomer } from './demo/one-customer.ts'
import { demoCommandLine } from './demo/options.ts'
import { showEventsAddUp, showFaults, showVerdict } from './demo/phases.ts'
import { startServices } from './demo/services.ts'
import { showSubscriber } from './demo/subscriber.ts'
import { whereToLook } from './where-to-look.ts'

const productionNames = {
  topicPrefix: DEFAULT_TOPIC_PREFIX,
  groupId: 'customer-stream-projector',
  keyPrefix: DEFAULT_KEY_PREFIX,
}

const options = readCommandLine(demoCommandLine)
const startedAt = performance.now()
const screen = createScreen()
const { signal } = interruption
const cleanUps: (() => Promise<unknown>)[] = []
let isSound = false

signal.addEventListener('abort', () => {
  screen.close()
  printNotice('demo: interrupted; stopping and removing everything')
})

const openBrokers = async (): Promise<Brokers> => {
  // Hide the line that describes the brokers, because the step shows the same text. All other lines
  // report downloads.
  const log = (line: string) => line.startsWith('brokers ') || screen.print(`  ${line}`)
  const brokers = await screen.during(
    'brokers',
    'starting Kafka and Redis',
    () => startBrokers({ log, signal, cluster: true }),
    ({ description }) => `Kafka and Redis ${description.replace(/^brokers |: Kafka .*/g, '')}`,
  )
  cleanUps.push(() => brokers.stop())
  return brokers
}

const openNamedPipeline = async (brokers: Brokers, names: ReturnType<typeof freshNames>): Promise<Pipeline> => {
  const pipeline = await openPipeline(brokers, names)
  cleanUps.push(async () => {
    await pipeline.close({ removeTopics: brokers.kind === 'given' })
    rejectLeaks()
    if (isSound || signal.aborted) await rm(pipeline.folder, { recursive: true, force: true })
    else printNotice(`demo: the ledger and the logs of the services are in ${pipeline.folder} until the next start`)
  })
  signal.throwIfAborted()
  return pipeline
}

const runDemo = async (): Promise<void> => {
  const brokers = await openBrokers()
  // Use production's names of topics and keys on brokers that the demo started. Use unique names on
  // other brokers, so that the demo does not touch other data.
  const names = brokers.kind === 'given' ? freshNames() : productionNames
  const pipeline = await openNamedPipeline(brokers, names)
  const services = await screen.during(
    'services',
    'starting ingress, projector and reader',
    () => startServices(pipeline, brokers.killable?.brokers.length ?? 1, signal),
    ({ url }) => `ingress at ${url}, projector and reader`,
  )
  const ledgerPath = join(pipeline.folder, 'ledger.jsonl')
  const demo = { screen, brokers, pipeline, services, ledgerPath, signal }

  const quiet = await showEventsAddUp(demo, options)
  const customer = await showOneCustomer(screen, pipeline, services, ledgerPath, signal)
  const faulty = options.faults ? await showFaults(demo, options) : undefined
  const isKept = await showVerdict(demo, { quiet, customer, faulty })
  const isComplete = await showSubscriber(demo, customer.customerUuid)
  const isFound = await showSearch(demo, customer.customerUuid)
  await showLiveChange(demo, customer.customerUuid)
  isSound = isKept && isComplete && isFound
  screen.heading(
    `${isSound ? '✔ Every promise was kept' : '✘ NOT every promise was kept, or a number does not add up'} ` +
      `(${seconds(performance.now() - startedAt)})`,
  )
  if (options.keep) {
    const { secret, token } = pipeline
    const keys = { secret, token, apiKey: READER_KEY }
    const addresses = { ...services, ingress: services.ingress() }
    await buildConsole(signal)
    const places = whereToLook(brokers, addresses, keys, customer.customerUuid, names)
    screen.print(`\nEverything is left running; Ctrl-C ends it. ${places}`)
    if (options.open) openInBrowser(services.reader.url)
  }
}

let exitCode = 1
try {
  await runDemo()
  exitCode = isSound ? 0 : 1
  if (options.keep) await interruption.arrived
} catch (error) {
  screen.close()
  exitCode = signal.aborted ? 130 : reportFailure('demo', error)
} finally {
  for (const cleanUp of cleanUps.reverse())
    await cleanUp().catch((error: unknown) => {
      printNotice(`demo: the demo could not stop or remove something: ${(error as Error).message}`)
      exitCode ||= 1
    })
}
process.exit(exitCode)
