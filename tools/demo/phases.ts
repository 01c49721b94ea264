/** Phases of the demo with running services: events, faults, and the verdict. */

import { number } from '@customer-stream/cli/layout'
import type { Screen } from '@customer-stream/cli/screen'
import { unlessAborted, waitUntil } from '@customer-stream/runtime'
import type { Brokers, Pipeline } from '@customer-stream/testing'
import { injectFaults, injectFaultsOfServices } from './faults.ts'
import { showLoad, startLoad } from './load.ts'
import { customersOf, lagOf, ledgerLines, outcomesOf, recordsIn } from './measure.ts'
import type { OneCustomer } from './one-customer.ts'
import type { DemoOptions } from './options.ts'
import type { Services } from './services.ts'
import {
  addsUp,
  NOTHING_SENT,
  readSum,
  type SenderCounts,
  type Sum,
  sentSum,
  storedSum,
  sumText,
  together,
} from './sums.ts'
import { isKept, verdictText } from './verdict.ts'

/** Everything that a phase needs. */
export interface Demo {
  readonly screen: Screen
  readonly brokers: Brokers
  readonly pipeline: Pipeline
  readonly services: Services
  readonly ledgerPath: string
  readonly signal: AbortSignal
}

export interface Shown {
  readonly sent: SenderCounts
  readonly addsUp: boolean
}

export interface ShownFaults extends Shown {
  /** True if Redis was emptied. */
  readonly isRedisLost: boolean
}

/** Share of the events that is sent before the faults. */
const QUIET_SHARE = 0.25
const EVENTS_PER_CUSTOMER = 16
const MAX_EVENTS_PER_SECOND = 600
/**
 * Seconds of the load, which must last as long as the faults. If the demo did not start Kafka and
 * Redis, it kills only the ingress, so the load is shorter.
 */
const ALL_FAULTS_SECONDS = 22
const INGRESS_FAULT_SECONDS = 5

const customersFor = (events: number): number => Math.max(1, Math.floor(events / EVENTS_PER_CUSTOMER))

const showSums = (screen: Screen, sums: readonly Sum[]): boolean => {
  for (const sum of sums) screen.print(sumText(sum, screen.columns))
  return sums.every(addsUp)
}

const untilCaughtUp = ({ pipeline, signal }: Demo): Promise<unknown> =>
  unlessAborted(
    waitUntil(
      'the projector has caught up',
      () => lagOf(pipeline),
      (records) => records === 0,
      { timeoutMs: 60_000 },
    ),
    signal,
  )

/** Sends events without a fault, and shows the outcomes of all requests and all records as sums. */
export const showEventsAddUp = async (demo: Demo, { events, faults }: DemoOptions): Promise<Shown> => {
  const { screen, pipeline, services, ledgerPath, signal } = demo
  const mine = faults ? Math.max(1, Math.floor(events * QUIET_SHARE)) : events
  const customers = customersFor(mine)
  const startedAt = performance.now()
  const load = startLoad(pipeline, {
    url: `${services.url}/webhooks/mykaarma`,
    events: mine,
    customers,
    ratePerSecond: 0,
    ledgerPath,
    signal,
  })
  await showLoad(screen, pipeline, load, signal)
  screen.step({
    mark: '✔',
    label: 'events',
    text: `${number(mine)} for ${number(customers)} customers, with repeats and disorder`,
    ms: performance.now() - startedAt,
  })
  const records = await unlessAborted(recordsIn(pipeline, pipeline.topics.customers), signal)
  const sums = [
    sentSum(load.progress, await ledgerLines(ledgerPath)),
    readSum(records, await outcomesOf(services.projector)),
  ]
  return { sent: load.progress, addsUp: showSums(screen, sums) }
}

/** Sends more events, and kills one server after another while the events arrive. */
export const showFaults = async (demo: Demo, { events }: DemoOptions): Promise<ShownFaults> => {
  const { screen, brokers, pipeline, services, ledgerPath, signal } = demo
  const mine = events - Math.floor(events * QUIET_SHARE)
  const customers = customersFor(mine)
  screen.heading(`Now it breaks, while ${number(mine)} more events arrive`)
  const { killable } = brokers
  const startedAt = performance.now()
  const load = startLoad(pipeline, {
    url: `${services.url}/webhooks/mykaarma`,
    events: mine,
    customers,
    ratePerSecond: Math.min(MAX_EVENTS_PER_SECOND, mine / (killable ? ALL_FAULTS_SECONDS : INGRESS_FAULT_SECONDS)),
    ledgerPath,
    signal,
  })
  const context = { pipeline, services, load, screen, signal }
  const faults = killable ? injectFaults({ ...context, killable }) : injectFaultsOfServices(context)
  faults.catch(() => {}) // Ignore the error here, because `showLoad` throws it.
  await showLoad(screen, pipeline, load, signal, faults)
  screen.step({
    mark: '✔',
    label: 'events',
    text: `${number(mine)} for ${number(customers)} customers, each answered 202 in the end`,
    ms: performance.now() - startedAt,
  })
  return { sent: load.progress, addsUp: true, isRedisLost: killable !== undefined }
}

export interface AllShown {
  readonly quiet: Shown
  readonly customer: OneCustomer
  readonly faulty: ShownFaults | undefined
}

/**
 * Shows the sums of the whole run and the verdict.
 * @returns true if every promise was kept and every sum adds up.
 */
export const showVerdict = async (demo: Demo, { quiet, customer, faulty }: AllShown): Promise<boolean> => {
  const { screen, pipeline, services, ledgerPath, signal } = demo
  await untilCaughtUp(demo)
  const { posted } = customer
  const sent = [
    quiet.sent,
    faulty?.sent ?? NOTHING_SENT,
    { ...NOTHING_SENT, attempts: posted, promised: posted },
  ].reduce(together)
  screen.heading('The verdict')
  const verdict = await screen.during(
    'verdict',
    'reading all of Kafka and Redis',
    () => unlessAborted(pipeline.verify(ledgerPath, { exact: true, signal }), signal),
    (found) => {
      const records = found.records.customers + found.records.other
      return `${number(records)} records and ${number(found.customers)} customers compared`
    },
  )
  const { customers, other } = pipeline.topics
  const ofCustomers = await recordsIn(pipeline, customers)
  const stored = ofCustomers + (await recordsIn(pipeline, other))
  const outcomes = await outcomesOf(services.projector)
  const areAllSums = showSums(screen, [
    sentSum(sent, await ledgerLines(ledgerPath)),
    storedSum(stored, verdict.records),
    // Leave out this sum after a loss of Redis, because the projector then reads some records twice
    // and skips others.
    ...(faulty?.isRedisLost ? [] : [readSum(ofCustomers, outcomes)]),
    {
      label: 'in Redis',
      total: (await customersOf(pipeline)).size,
      parts: [{ count: verdict.customers, text: 'customers in Kafka' }],
    },
  ])
  const expected = { promisedEvents: sent.promised, lost: sent.lost }
  screen.print(verdictText(verdict, expected))
  return isKept(verdict, expected) && customer.isSound && quiet.addsUp && areAllSums
}
