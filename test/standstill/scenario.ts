import { renameSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '@customer-stream/runtime'
import type { MadeCustomersEvent } from '@customer-stream/simulator'
import type { ServiceName } from '@customer-stream/testing'
import type { SharedBrokers } from './shared-brokers.ts'
import { openSite, type Site, type SiteOptions } from './site.ts'
import type { SupervisedService } from './supervised-service.ts'

/** Maximum time until the symptoms are seen, or until a pipeline without symptoms has recovered. */
const SEEN_WITHIN_MS = 30_000
/**
 * Maximum time until the recovery. After a refused login a service waits up to a minute before it
 * retries, so that no account is locked.
 */
const HEALED_WITHIN_MS = 75_000
const POST_PAUSE_MS = 500

/**
 * A symptom that an operator can see from outside.
 * - `says`: the service is not ready, and its details match all patterns.
 * - `metric`: the metric is above a number.
 * - `anyOf`: one of the symptoms.
 * - `see`: the function returns what it has seen.
 */
export type Symptom =
  | { readonly of: ServiceName; readonly says: readonly RegExp[] }
  | {
      readonly of: ServiceName
      readonly metric: RegExp
      readonly labels?: Readonly<Record<string, string>>
      readonly above?: number
    }
  | { readonly anyOf: readonly Symptom[] }
  | { readonly see: (site: Site) => Promise<string | undefined> }

/** The symptom that a person must act: the metric `customer_stream_blocked` of a service. */
export const blocked = (of: ServiceName): Symptom => ({ of, metric: /^customer_stream_blocked$/ })

/** Corrects the settings of a service and starts it again, as a person would do. */
export const correct = async (site: Site, service: ServiceName): Promise<void> => {
  await site[service].stop()
  site[service].correct()
  await site[service].start()
}

/** Replaces a file in one step, as Kubernetes does. */
export const replaceFile = (path: string, content: string): void => {
  writeFileSync(`${path}.new`, content)
  renameSync(`${path}.new`, path)
}

/** A way to break the pipeline, or a change that must not break it. */
export interface Scenario {
  /** Title of the test, a sentence. */
  readonly name: string
  readonly options?: SiteOptions
  /**
   * True if the services start in the broken state. If not, the services become ready and apply an
   * event before `break` runs.
   */
  readonly atStart?: boolean
  break(site: Site): Promise<void>
  /**
   * Symptoms that must all be seen within 30 s. If the list is empty, the pipeline must recover
   * without help.
   */
  readonly symptoms?: readonly Symptom[]
  /** True if the pipeline may also recover without help within 30 s. */
  readonly mayRecover?: boolean
  /** True if no events are sent while the pipeline is broken. */
  readonly quiet?: boolean
  /** Further checks in the broken state, after the symptoms were seen. */
  readonly holds?: (site: Site) => Promise<void>
  readonly repair?: (site: Site) => Promise<void>
  /** True if no process may end, although symptoms are expected. */
  readonly keepsRunning?: boolean
  /** True if the fault destroys acknowledged events, so that Redis may lack these events. */
  readonly destroys?: boolean
}

export interface ScenarioResult {
  readonly name: string
  /** Undefined if the symptoms were not seen. */
  readonly seenSeconds?: number
  readonly said?: string
  readonly healedSeconds?: number
}

const seconds = (sinceMs: number): number => Math.round((performance.now() - sinceMs) / 100) / 10

const servicesOf = (site: Site): readonly SupervisedService[] => [site.ingress, site.projector]

/**
 * Returns the details of a service that is not ready. Returns undefined if the service is ready, or
 * if its details do not match all words.
 */
export const saidBy = async (service: SupervisedService, words: readonly RegExp[]): Promise<string | undefined> => {
  const { ready, said } = await service.readiness()
  return !ready && words.every((word) => word.test(said)) ? `${service.name}: ${said}` : undefined
}

const lookFor = async (site: Site, symptom: Symptom): Promise<string | undefined> => {
  if ('see' in symptom) return symptom.see(site)
  if ('anyOf' in symptom)
    return (await Promise.all(symptom.anyOf.map((one) => lookFor(site, one)))).find((seen) => seen !== undefined)
  const service = site[symptom.of]
  if ('says' in symptom) return saidBy(service, symptom.says)
  const { metric, labels = {}, above = 0 } = symptom
  const found = (await service.metrics()).filter(
    ({ name, labels: has }) =>
      metric.test(name) && Object.entries(labels).every(([label, value]) => has[label] === value),
  )
  const most = found.toSorted((a, b) => b.value - a.value)[0]
  if (!most || most.value <= above) return undefined
  return `${symptom.of}: ${most.name}{${Object.values(most.labels).join(',')}} ${most.value}`
}

const sayings = async (site: Site): Promise<string> => {
  const said = await Promise.all(
    servicesOf(site).map(async (service) => {
      const readiness = await service.readiness()
      const metrics = await service.metrics()
      const lag = metrics.filter(({ name }) => name === 'kafka_consumergroup_lag').map(({ value }) => value)
      const reasons = metrics
        .filter(({ name, value }) => name === 'customer_stream_blocked' && value > 0)
        .map(({ labels }) => labels.reason)
      const shown = readiness.ready ? 'ready' : readiness.said
      return (
        `${service.name}: ${shown}` +
        `${lag.length > 0 ? `; lag ${lag.join(' ')}` : ''}` +
        `${reasons.length > 0 ? `; blocked ${reasons.join(' ')}` : ''}`
      )
    }),
  )
  return said.join('\n')
}

/** Starts a sender of one event after another. */
const startSender = (site: Site, pauseMs = POST_PAUSE_MS) => {
  const stopping = new AbortController()
  const statuses: number[] = []
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      statuses.push((await site.post()).status)
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const ended = run()
  return {
    /** Statuses of the answers. */
    statuses,
    stop: async () => {
      stopping.abort()
      await ended
    },
  }
}

/** Number of events that are sent after a change. Some of these events use new connections. */
const EVENTS_AFTER = 50

/** Makes a change while events are sent. Throws if an event is refused. */
export const refusingNothing = async (site: Site, change: () => Promise<void>): Promise<void> => {
  const { statuses, stop } = startSender(site, 10)
  try {
    await change()
    const until = statuses.length + EVENTS_AFTER
    await waitUntil(
      'events are answered after the change',
      () => statuses.length,
      (count) => count >= until,
    )
  } finally {
    await stop()
  }
  const refused = statuses.filter((status) => status !== 202)
  if (refused.length > 0)
    throw new Error(`${refused.length} of ${statuses.length} events were refused: ${[...new Set(refused)].join()}`)
}

const untilReady = (site: Site) =>
  waitUntil(
    'both services are ready',
    () => Promise.all(servicesOf(site).map((service) => service.readiness())),
    (seen) => seen.every(({ ready }) => ready),
    { timeoutMs: HEALED_WITHIN_MS, pauseMs: 100 },
  )

const blockedReasons = async (site: Site): Promise<string[]> =>
  (await Promise.all(servicesOf(site).map((service) => service.metrics())))
    .flat()
    .flatMap(({ name, value, labels }) =>
      name === 'customer_stream_blocked' && value > 0 ? [labels.reason ?? ''] : [],
    )

/** Returns true if an event is in Redis within 2 s. */
const isApplied = async (site: Site, event: MadeCustomersEvent): Promise<boolean> => {
  const until = performance.now() + 2000
  while ((await site.notApplied([event])).length > 0) {
    if (performance.now() > until) return false
    await sleep(50)
  }
  return true
}

/**
 * Lists the problems of a pipeline. The list is empty if all these facts are true: a new event is
 * accepted and applied; both services are ready and not blocked; all acknowledged events are in
 * Redis.
 */
const listProblems = async (site: Site, destroyed: readonly MadeCustomersEvent[] = []): Promise<string[]> => {
  const { event, status } = await site.post()
  const applied = status === 202 && (await isApplied(site, event))
  const missing = (await site.notApplied(site.acknowledged)).filter((one) => !destroyed.includes(one)).length
  const readiness = await Promise.all(servicesOf(site).map((service) => service.readiness()))
  return [
    ...(status === 202 ? [] : [`a new event is answered with ${status}`]),
    ...(status !== 202 || applied ? [] : ['a new event is accepted and not applied']),
    ...(missing === 0 ? [] : [`${missing} acknowledged events are not in Redis`]),
    ...readiness.filter(({ ready }) => !ready).map(({ said }) => said),
    ...(await blockedReasons(site)).map((reason) => `blocked: ${reason}`),
  ]
}

const untilHealed = (site: Site, timeoutMs: number, destroyed: readonly MadeCustomersEvent[] = []): Promise<unknown> =>
  waitUntil(
    'the pipeline applies events again',
    () => listProblems(site, destroyed),
    (found) => found.length === 0,
    { timeoutMs, pauseMs: 300 },
  )

/**
 * Waits until each expected symptom was seen once, and returns the texts. With `mayRecover`, also
 * ends if the pipeline recovers without help.
 */
const untilSeen = async (site: Site, symptoms: readonly Symptom[], mayRecover: boolean): Promise<string> => {
  const seen = symptoms.map((): string | undefined => undefined)
  const look = async () => {
    for (const [i, symptom] of symptoms.entries()) seen[i] ??= await lookFor(site, symptom)
    if (seen.every((one) => one !== undefined)) return seen.join(' | ')
    return mayRecover && (await listProblems(site)).length === 0 ? 'recovers without help' : undefined
  }
  const said = await waitUntil('symptoms are seen', look, (one) => one !== undefined, {
    timeoutMs: SEEN_WITHIN_MS,
    pauseMs: 250,
  })
  return said ?? ''
}

export const runScenario = async (shared: SharedBrokers, scenario: Scenario): Promise<ScenarioResult> => {
  const {
    name,
    options,
    atStart = false,
    symptoms = [],
    mayRecover = false,
    quiet = false,
    repair,
    holds,
    keepsRunning = symptoms.length === 0,
    destroys = false,
  } = scenario
  const site = await openSite(shared, options)
  let result: ScenarioResult = { name }
  let failed = true
  const startAll = () => Promise.all(servicesOf(site).map((service) => service.start()))
  try {
    if (!atStart) {
      await startAll()
      await untilReady(site)
      await untilHealed(site, HEALED_WITHIN_MS)
    }
    await scenario.break(site)
    if (atStart) await startAll()
    const brokenAt = performance.now()
    const sender = quiet ? undefined : startSender(site)
    try {
      if (symptoms.length === 0) await untilHealed(site, SEEN_WITHIN_MS)
      else {
        const said = await untilSeen(site, symptoms, mayRecover)
        result = { ...result, seenSeconds: seconds(brokenAt), said }
      }
      await holds?.(site)
    } finally {
      await sender?.stop()
    }
    const destroyed = destroys ? [...site.acknowledged] : []
    const repairedAt = performance.now()
    await repair?.(site)
    await untilHealed(site, HEALED_WITHIN_MS, destroyed)
    const ended = servicesOf(site).filter((service) => service.ended > 0)
    if (keepsRunning && ended.length > 0)
      throw new Error(`no process may end here, but these ended: ${ended.map((one) => one.name).join(', ')}`)
    failed = false
    return { ...result, healedSeconds: seconds(repairedAt) }
  } catch (error) {
    const said = await sayings(site)
    throw new ScenarioError(`${(error as Error).message}\n${said}\nlogs: ${site.folder}`, { said, ...result })
  } finally {
    await site.close()
    if (!failed) await rm(site.folder, { recursive: true })
  }
}

export class ScenarioError extends Error {
  override readonly name = 'ScenarioError'
  readonly result: ScenarioResult
  constructor(message: string, result: ScenarioResult) {
    super(message)
    this.result = result
  }
}

export const resultTable = (results: readonly (ScenarioResult & { readonly failed?: boolean })[]): string => {
  const width = Math.max(...results.map(({ name }) => name.length))
  const cell = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(1)).padStart(6)
  const rows = results.map(
    ({ name, seenSeconds, healedSeconds, said = '', failed = false }) =>
      `${failed ? 'FAILED' : 'ok    '}  ${name.padEnd(width)} ${cell(seenSeconds)} ${cell(healedSeconds)}  ` +
      `${said.replaceAll('\n', ' ').slice(0, 160)}`,
  )
  return [`        ${'scenario'.padEnd(width)}   seen healed  what was said`, ...rows].join('\n')
}
