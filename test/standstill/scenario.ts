import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MadeCustomersEvent } from '@customer-stream/simulator'
import { type ServiceName, waitUntil } from '@customer-stream/testing'
import { openSite, type Site, type SiteOptions, type World } from './site.ts'
import type { SupervisedService } from './supervised-service.ts'

/** By then an operator must know, or the pipeline must go on. */
const SEEN_WITHIN_MS = 30_000
/** A service that may not log in tries again every minute, so that no account is locked. */
const HEALED_WITHIN_MS = 75_000
const POST_PAUSE_MS = 500

/** Something that an operator can see from outside: a service that is not ready and says all of these, a metric above a number, or a fact of another kind. */
export type Sign =
  | { readonly of: ServiceName; readonly says: readonly RegExp[] }
  | { readonly of: ServiceName; readonly metric: RegExp; readonly labels?: Readonly<Record<string, string>>; readonly above?: number }
  | { readonly anyOf: readonly Sign[] }
  | { readonly see: (site: Site) => Promise<string | undefined> }

/** A person must act, and the metric of both services says so. */
export const blocked = (of: ServiceName): Sign => ({ of, metric: /^customer_stream_blocked$/ })

/** A person corrects the settings of a service, and starts it again. */
export const correct = async (site: Site, service: ServiceName): Promise<void> => {
  await site[service].stop()
  site[service].correct()
  await site[service].start()
}

/** One way in which nothing is applied. */
export interface Scenario {
  /** Title of the test, a sentence. */
  readonly name: string
  readonly options?: SiteOptions
  /** True if the services start in the broken state. Otherwise they are ready and an event was applied before it. */
  readonly atStart?: boolean
  break(site: Site): Promise<void>
  /** Each must be seen within 30 s. Without any, the pipeline must go on by itself. */
  readonly signs?: readonly Sign[]
  /** The pipeline may also go on by itself within 30 s. */
  readonly mayGoOn?: boolean
  /** No events are sent while it is broken. */
  readonly quiet?: boolean
  /** More that must hold while it is broken, after the sign was seen. */
  readonly holds?: (site: Site) => Promise<void>
  readonly repair?: (site: Site) => Promise<void>
  /** Acknowledged events that the break itself destroyed need not be in Redis. */
  readonly destroys?: boolean
}

export interface ScenarioResult {
  readonly name: string
  /** Undefined if it was not seen. */
  readonly seenSeconds?: number
  readonly said?: string
  readonly healedSeconds?: number
}

const seconds = (sinceMs: number): number => Math.round((performance.now() - sinceMs) / 100) / 10

const servicesOf = (site: Site): readonly SupervisedService[] => [site.ingress, site.projector]

/** What a service says that is not ready; undefined if it is, or if words are missing. */
export const saidBy = async (service: SupervisedService, words: readonly RegExp[]): Promise<string | undefined> => {
  const { ready, said } = await service.readiness()
  return !ready && words.every((word) => word.test(said)) ? `${service.name}: ${said}` : undefined
}

const lookFor = async (site: Site, sign: Sign): Promise<string | undefined> => {
  if ('see' in sign) return sign.see(site)
  if ('anyOf' in sign) return (await Promise.all(sign.anyOf.map((one) => lookFor(site, one)))).find((seen) => seen !== undefined)
  const service = site[sign.of]
  if ('says' in sign) return saidBy(service, sign.says)
  const { metric, labels = {}, above = 0 } = sign
  const found = (await service.metrics()).filter(
    ({ name, labels: has }) => metric.test(name) && Object.entries(labels).every(([label, value]) => has[label] === value),
  )
  const most = found.toSorted((a, b) => b.value - a.value)[0]
  if (!most || most.value <= above) return undefined
  return `${sign.of}: ${most.name}{${Object.values(most.labels).join(',')}} ${most.value}`
}

const sayings = async (site: Site): Promise<string> => {
  const said = await Promise.all(
    servicesOf(site).map(async (service) => {
      const readiness = await service.readiness()
      const metrics = await service.metrics()
      const lag = metrics.filter(({ name }) => name === 'kafka_consumergroup_lag').map(({ value }) => value)
      const blocked = metrics
        .filter(({ name, value }) => name === 'customer_stream_blocked' && value > 0)
        .map(({ labels }) => labels.reason)
      const shown = readiness.ready ? 'ready' : readiness.said
      return `${service.name}: ${shown}${lag.length > 0 ? `; lag ${lag.join(' ')}` : ''}${blocked.length > 0 ? `; blocked ${blocked.join(' ')}` : ''}`
    }),
  )
  return said.join('\n')
}

/** Delivers an event every half second. */
const startSender = (site: Site) => {
  const stopping = new AbortController()
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await site.post()
      await sleep(POST_PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const ended = run()
  return {
    stop: async () => {
      stopping.abort()
      await ended
    },
  }
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
    .flatMap(({ name, value, labels }) => (name === 'customer_stream_blocked' && value > 0 ? [labels.reason ?? ''] : []))

/** Waits a moment for an event that is on its way. */
const isApplied = async (site: Site, event: MadeCustomersEvent): Promise<boolean> => {
  const until = performance.now() + 2000
  while ((await site.notApplied([event])).length > 0) {
    if (performance.now() > until) return false
    await sleep(50)
  }
  return true
}

/** What is still wrong: a new event must be accepted and applied, both services be ready, and no acknowledged event be missing. */
const complaints = async (site: Site, destroyed: readonly MadeCustomersEvent[] = []): Promise<string[]> => {
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
    'the pipeline goes on',
    () => complaints(site, destroyed),
    (found) => found.length === 0,
    { timeoutMs, pauseMs: 300 },
  )

/** Each sign must have been seen once. What they say. */
const untilSeen = async (site: Site, signs: readonly Sign[], mayGoOn: boolean): Promise<string> => {
  const seen = signs.map((): string | undefined => undefined)
  const look = async () => {
    for (const [i, sign] of signs.entries()) seen[i] ??= await lookFor(site, sign)
    if (seen.every((one) => one !== undefined)) return seen.join(' | ')
    return mayGoOn && (await complaints(site)).length === 0 ? 'goes on by itself' : undefined
  }
  const said = await waitUntil('signs are seen', look, (one) => one !== undefined, { timeoutMs: SEEN_WITHIN_MS, pauseMs: 250 })
  return said ?? ''
}

export const runScenario = async (world: World, scenario: Scenario): Promise<ScenarioResult> => {
  const { name, options, atStart = false, signs = [], mayGoOn = false, quiet = false, repair, holds, destroys = false } = scenario
  const site = await openSite(world, options)
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
      if (signs.length === 0) await untilHealed(site, SEEN_WITHIN_MS)
      else {
        const said = await untilSeen(site, signs, mayGoOn)
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
    const ended = signs.length > 0 ? [] : servicesOf(site).filter((service) => service.ended > 0)
    if (ended.length > 0) throw new Error(`nothing was wrong, and yet a process ended: ${ended.map((service) => service.name).join(', ')}`)
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
      `${failed ? 'FAILED' : 'ok    '}  ${name.padEnd(width)} ${cell(seenSeconds)} ${cell(healedSeconds)}  ${said.replaceAll('\n', ' ').slice(0, 160)}`,
  )
  return [`        ${'scenario'.padEnd(width)}   seen healed  what was said`, ...rows].join('\n')
}
