/**
 * A real Prometheus with the project's rules. All times in the rules are divided, because a test
 * cannot wait for hours.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitUntil } from '@customer-stream/runtime'
import { freePorts, startSupervised } from '@customer-stream/testing'
import { parse, stringify } from 'yaml'
import { prometheus } from '../prometheus.ts'

/** Divisor of all times in the rules, except the rules of {@link LONG_WINDOWS}. */
export const SPEED = Number(process.env.ALERTS_SPEED ?? 30)
/** Divisors of rules with a window of hours or days. */
const LONG_WINDOWS: Readonly<Record<string, number>> = { NoEvents: 4800, SenderDrift: 4800, DealersSilent: 720 }

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
}
interface Rules {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}
interface Config {
  rule_files: string[]
  alerting?: unknown
  scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[]
}

const deploy = fileURLToPath(new URL('../../deploy/prometheus/', import.meta.url))
const RULES_FILE = 'customer-stream.rules.yml'
const SCRAPE = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }

const readRules = (): Rules => parse(readFileSync(deploy + RULES_FILE, 'utf8')) as Rules

/** Names of all alerts of the rules. */
export const alertNames: readonly string[] = readRules().groups.flatMap(({ rules }) => rules.map(({ alert }) => alert))

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 }
const divide = (text: string, divisor: number) =>
  text
    .replaceAll(/\b(\d+)([smhd])\b/g, (_, count, unit) => `${Math.ceil((count * seconds[unit]!) / divisor)}s`)
    .replace('< 900', `< ${Math.ceil(900 / divisor)}`)

/** Limits that a test replaces, by alert: the text in the rule, and the text that replaces it. */
export type Limits = Readonly<Record<string, readonly [rule: string, test: string]>>

const withLimit = ({ alert, expr }: Rule, limits: Limits): string => {
  const [from, to] = limits[alert] ?? ['', '']
  if (!expr.includes(from)) throw new Error(`the rule ${alert} has no limit "${from}"`)
  return expr.replace(from, to)
}

const faster = (rules: Rules, limits: Limits): Rules => ({
  groups: rules.groups.map((group) => ({
    ...group,
    rules: group.rules.map((rule) => {
      const divisor = LONG_WINDOWS[rule.alert] ?? SPEED
      return {
        ...rule,
        expr: divide(withLimit(rule, limits), divisor),
        ...(rule.for !== undefined && { for: divide(rule.for, divisor) }),
      }
    }),
  })),
})

/** A series of a range query: its labels, and pairs of Unix time and value. */
export interface Series {
  readonly metric: Readonly<Record<string, string>>
  readonly values: readonly (readonly [time: number, value: string])[]
}

export interface Monitoring {
  /** Returns the names of the firing alerts in alphabetical order. */
  firing(): Promise<string[]>
  alertsIn(...states: readonly ('pending' | 'firing')[]): Promise<string[]>
  /** Returns a time since which each group of rules has been evaluated. */
  evaluatedAt(): Promise<number>
  /** Returns the number of series that the query of a panel finds. */
  seriesOf(expr: string): Promise<number>
  /** Returns the series of a panel's query. Times are Unix seconds. */
  range(expr: string, from: number, to: number): Promise<readonly Series[]>
  end(): Promise<void>
}

const writeConfig = (folder: string, targets: Readonly<Record<string, readonly string[]>>, limits: Limits) => {
  mkdirSync(folder)
  const config = parse(readFileSync(`${deploy}prometheus.yml`, 'utf8')) as Config
  delete config.alerting
  for (const job of config.scrape_configs) job.static_configs = [{ targets: [...targets[job.job_name]!] }]
  writeFileSync(
    join(folder, 'prometheus.yml'),
    stringify({ ...config, rule_files: [RULES_FILE], global: { ...SCRAPE } }),
  )
  writeFileSync(join(folder, RULES_FILE), stringify(faster(readRules(), limits)))
}

const createQueries = (port: number) => {
  const ask = async <T>(path: string): Promise<T> => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)
    return ((await answer.json()) as { data: T }).data
  }
  const queryOf = (expr: string) => encodeURIComponent(expr.replaceAll('$__rate_interval', '10s'))
  const alertsIn = async (...states: readonly ('pending' | 'firing')[]) => {
    const { alerts } = await ask<{ alerts: { state: (typeof states)[number]; labels: { alertname: string } }[] }>(
      'alerts',
    )
    const names = alerts.filter(({ state }) => states.includes(state)).map(({ labels }) => labels.alertname)
    return [...new Set(names)].toSorted()
  }
  return {
    alertsIn,
    firing: () => alertsIn('firing'),
    evaluatedAt: async () => {
      const { groups } = await ask<{ groups: { lastEvaluation: string }[] }>('rules')
      return Math.min(...groups.map(({ lastEvaluation }) => Date.parse(lastEvaluation)))
    },
    seriesOf: async (expr: string) => (await ask<{ result: unknown[] }>(`query?query=${queryOf(expr)}`)).result.length,
    range: async (expr: string, from: number, to: number) => {
      const times = `start=${from}&end=${to}&step=${Math.max(1, Math.ceil((to - from) / 400))}`
      return (await ask<{ result: readonly Series[] }>(`query_range?query=${queryOf(expr)}&${times}`)).result
    },
    healthyTargets: async () => {
      const { activeTargets } = await ask<{ activeTargets: { health: string }[] }>('targets?state=active')
      return activeTargets.filter(({ health }) => health === 'up').length
    },
  }
}

/**
 * Starts Prometheus with the example configuration. Replaces the targets in the configuration.
 * @param targets addresses of the admin ports, by the name of the scrape job.
 */
export const startMonitoring = async (
  folder: string,
  targets: Readonly<Record<string, readonly string[]>>,
  limits: Limits = {},
): Promise<Monitoring> => {
  writeConfig(folder, targets, limits)
  const [port] = (await freePorts(1)) as [number]
  const server = startSupervised({
    command: prometheus!,
    args: [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    logFile: join(folder, 'log'),
  })
  const queries = createQueries(port)
  await waitUntil(
    'Prometheus scrapes all processes',
    () => queries.healthyTargets().catch(() => 0),
    (count) => count === Object.values(targets).flat().length,
  )
  return { ...queries, end: () => server.end() }
}
