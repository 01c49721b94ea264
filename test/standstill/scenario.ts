import { setTimeout as sleep } from 'node:timers/promises'
import type { MadeCustomersEvent } from '@customer-stream/simulator'
import { type ServiceName, waitUntil } from '@customer-stream/testing'
import { openSite, type Site, type SiteOptions, type World } from './site.ts'
import type { SupervisedService } from './supervised-service.ts'

/** By then an operator must know, or the pipeline must go on. */
const SEEN_WITHIN_MS = 30_000
const HEALED_WITHIN_MS = 60_000
const POST_PAUSE_MS = 500

/** Readiness of a service that is false and says all of these, or a metric above a number. */
export type Sign =
  | { readonly of: ServiceName; readonly says: readonly RegExp[] }
  | { readonly of: ServiceName; readonly metric: string; readonly labels?: Readonly<Record<string, string>>; readonly above?: number }

/** One way in which nothing is applied. */
export interface Scenario {
  /** Title of the test, a sentence. */
  readonly name: string
  readonly options?: SiteOptions
  /** True if the services start in the broken state. Otherwise they are ready and an event was applied before it. */
  readonly atStart?: boolean
  break(site: Site): Promise<void>
  /** One of them must be seen within 30 s. Without any, the pipeline must go on by itself. */
  readonly signs?: readonly Sign[]
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

const lookFor = async (site: Site, sign: Sign): Promise<string | undefined> => {
  const service = site[sign.of]
  if ('says' in sign) {
    const { ready, said } = await service.readiness()
    return !ready && sign.says.every((word) => word.test(said)) ? `${sign.of}: ${said}` : undefined
  }
  const { metric, labels = {}, above = 0 } = sign
  const found = (await service.metrics()).filter(
    ({ name, labels: has }) => name === metric && Object.entries(labels).every(([label, value]) => has[label] === value),
  )
  const sum = found.reduce((total, { value }) => total + value, 0)
  return sum > above ? `${sign.of}: ${metric} ${sum}` : undefined
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

/** Delivers an event every half second and keeps those that were acknowledged. */
const startSender = (site: Site) => {
  const acknowledged: MadeCustomersEvent[] = []
  const stopping = new AbortController()
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const { event, status } = await site.post()
      if (status === 202) acknowledged.push(event)
      await sleep(POST_PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const ended = run()
  return {
    acknowledged,
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

/** A new event is accepted and applied, both services are ready, and no acknowledged event is missing. */
const untilHealed = async (site: Site, acknowledged: readonly MadeCustomersEvent[], timeoutMs: number): Promise<void> => {
  const state = async () => {
    const { event, status } = await site.post()
    const readiness = await Promise.all(servicesOf(site).map((service) => service.readiness()))
    const accepted = status === 202
    const applied = accepted ? (await waitApplied(site, [event])).length === 0 : false
    const missing = (await site.notApplied(acknowledged)).length
    return {
      accepted,
      applied,
      missing,
      said: readiness.filter(({ ready }) => !ready).map(({ said }) => said),
      blocked: await blockedReasons(site),
    }
  }
  await waitUntil(
    'the pipeline goes on',
    state,
    ({ accepted, applied, missing, said, blocked }) => accepted && applied && missing === 0 && said.length === 0 && blocked.length === 0,
    { timeoutMs, pauseMs: 300 },
  )
}

/** Waits a moment for events that are on their way. The events that are still missing. */
const waitApplied = async (site: Site, events: readonly MadeCustomersEvent[]): Promise<readonly MadeCustomersEvent[]> => {
  const until = performance.now() + 2000
  let missing = await site.notApplied(events)
  while (missing.length > 0 && performance.now() < until) {
    await sleep(50)
    missing = await site.notApplied(missing)
  }
  return missing
}

export const runScenario = async (world: World, scenario: Scenario): Promise<ScenarioResult> => {
  const { name, options, atStart = false, signs = [], repair, holds, destroys = false } = scenario
  const site = await openSite(world, options)
  let result: ScenarioResult = { name }
  const startAll = () => Promise.all(servicesOf(site).map((service) => service.start()))
  try {
    if (!atStart) {
      await startAll()
      await untilReady(site)
      await untilHealed(site, [], HEALED_WITHIN_MS)
    }
    await scenario.break(site)
    if (atStart) await startAll()
    const brokenAt = performance.now()
    const sender = startSender(site)
    try {
      if (signs.length > 0) {
        const said = await waitUntil(
          `a sign is seen that ${name}`,
          async () => (await Promise.all(signs.map((sign) => lookFor(site, sign)))).find((seen) => seen !== undefined),
          (seen) => seen !== undefined,
          { timeoutMs: SEEN_WITHIN_MS, pauseMs: 250 },
        )
        result = { ...result, seenSeconds: seconds(brokenAt), said: said ?? '' }
      } else await untilHealed(site, [], SEEN_WITHIN_MS)
      await holds?.(site)
    } finally {
      await sender.stop()
    }
    const repairedAt = performance.now()
    await repair?.(site)
    await untilHealed(site, destroys ? [] : sender.acknowledged, HEALED_WITHIN_MS)
    const ended = signs.length > 0 ? [] : servicesOf(site).filter((service) => service.ended > 0)
    if (ended.length > 0) throw new Error(`nothing was wrong, and yet a process ended: ${ended.map((service) => service.name).join(', ')}`)
    return { ...result, healedSeconds: seconds(repairedAt) }
  } catch (error) {
    const said = await sayings(site)
    throw new ScenarioError(`${(error as Error).message}\n${said}`, { said, ...result })
  } finally {
    await site.close()
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
