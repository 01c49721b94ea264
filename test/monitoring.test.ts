import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parse, stringify } from 'yaml'
import { dashboardFile, dashboardPanels, dashboardText } from '../tools/generate-dashboard.ts'
import { labelsOf, openRegistries } from '../tools/generate-metrics.ts'
import { NO_PROMETHEUS, promtool, runPromtool } from './prometheus.ts'

interface Rule {
  readonly alert: string
  readonly expr: string
  /** Time for which the expression must be true, such as `5m`. */
  readonly for?: string
  readonly labels: { readonly severity: string; readonly component: string }
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook_url: string }
}
interface Rules {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}
interface RuleTest {
  readonly name: string
  readonly promql_expr_test?: readonly { readonly expr: string; readonly exp_samples: readonly unknown[] }[]
}

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const folder = 'deploy/prometheus'
const rulesFile = `${folder}/customer-stream.rules.yml`
const testFiles = [`${folder}/customer-stream.test.yml`, `${folder}/rare.test.yml`]
const rules = (parse(read(rulesFile)) as Rules).groups.flatMap((group) => group.rules)
const alerts = rules.map(({ alert }) => alert)

/** Labels of each metric, without those that Prometheus or the registry adds to every series. */
const labelsByMetric = new Map<string, readonly string[]>([
  ['up', []],
  ['ALERTS', ['alertname', 'alertstate', 'severity', 'component']],
  ...Object.values(openRegistries()).flatMap((registry) =>
    registry.getMetricsAsArray().flatMap(({ name }): [string, readonly string[]][] => [
      [name, labelsOf(registry, name)],
      [`${name}_bucket`, [...labelsOf(registry, name), 'le']],
    ]),
  ),
])
const ON_EVERY_SERIES = ['job', 'instance', 'service']

/** Finds metrics and labels in the part of PromQL that rules and panels use. */
const namesIn = (expr: string) => {
  const plain = expr.replaceAll('$__rate_interval', '5m').replaceAll(/"[^"]*"/g, '""')
  const grouping = /\b(?:by|without|on)\s*\(([\w\s,]*)\)/g
  const groupedBy = [...plain.matchAll(grouping)].flatMap(([, labels = '']) => labels.match(/\w+/g) ?? [])
  const selectors = [...plain.replaceAll(grouping, '').matchAll(/\b([a-z_]\w*)\b(?!\s*\()(?:\{([^}]*)\})?/gi)]
    .map(([, metric = '', matchers = '']) => ({ metric, labels: matchers.match(/\w+(?=\s*[=!])/g) ?? [] }))
    .filter(({ metric }) => !['and', 'or', 'unless', 'offset'].includes(metric))
  return { groupedBy, selectors }
}

/** Returns the metrics and labels of an expression that no service has. */
const unknownIn = (expr: string, templates: readonly string[] = []): string[] => {
  const { groupedBy, selectors } = namesIn(expr)
  const labelsOfMetric = (metric: string) => [...(labelsByMetric.get(metric) ?? []), ...ON_EVERY_SERIES]
  const all = selectors.flatMap(({ metric }) => labelsOfMetric(metric))
  return [
    ...selectors.flatMap(({ metric, labels }) => [
      ...(labelsByMetric.has(metric) ? [] : [metric]),
      ...labels.filter((label) => !labelsOfMetric(metric).includes(label)).map((label) => `${metric}{${label}}`),
    ]),
    ...[...groupedBy, ...templates].filter((label) => !all.includes(label)),
  ]
}

describe('the rules of Prometheus', () => {
  it.each(rules)('$alert names only metrics and labels that exist', ({ expr, annotations }) => {
    const text = Object.values(annotations).join('\n')
    const templates = [...text.matchAll(/\$labels\.(\w+)/g)].map(([, label = '']) => label)
    expect(unknownIn(expr, templates)).toEqual([])
  })

  it('the check of alerts finds an unknown metric or label in an expression', () => {
    const expr = 'sum by (color) (rate(ingress_answers_total{reply="a"}[5m])) > ingress_answer and on () up offset 1d'
    expect(unknownIn(expr, ['size'])).toEqual(['ingress_answers_total{reply}', 'ingress_answer', 'color', 'size'])
  })

  it.each(rules)('$alert has a severity, a summary, a description and a link to its section of the runbook', (rule) => {
    expect(['critical', 'warning']).toContain(rule.labels.severity)
    expect(rule.labels.component).toBe('customer-stream')
    expect(rule.annotations.summary).not.toMatch(/\.$/)
    expect(rule.annotations.description).toMatch(/[.`]$/)
    expect(rule.annotations.runbook_url).toBe(`docs/runbook.md#${rule.alert.toLowerCase()}`)
  })

  // Alerts whose value is never 1.
  const ofMany = [
    'ProcessRestarts',
    'SenderRefusedOften',
    'UnauthenticatedRequests',
    'StateRepairs',
    'ReaderKeyRefused',
  ]
  it.each(rules.filter(({ alert }) => !ofMany.includes(alert)))(
    'the text of $alert is correct English if its number is 1',
    (rule) => {
      const { summary, description } = rule.annotations
      expect(`${summary}\n${description}`).not.toMatch(/\$value (\| printf "%\.0f" )?\}\} (?!in\b)[a-z]/)
    },
  )

  it('each alert about single events also fires if the counter of a new process starts above 0', () => {
    const counters = rules.flatMap(({ expr }) => {
      const [, counter] = /^increase\((\S+)\[10m\]\) > 0/.exec(expr) ?? []
      return counter === undefined ? [] : [{ counter, expr }]
    })
    expect(counters.length).toBeGreaterThan(10)
    const isNew = 'and on (job, instance) time() - process_start_time_seconds < 900'
    for (const { counter, expr } of counters)
      expect(expr.replaceAll(/\s+/g, ' ')).toContain(`or (${counter} > 0 ${isNew}) unless ${counter} offset 10m`)
  })

  it('each alert has its own name, and a test in which it fires and ends', () => {
    const tests = testFiles.flatMap((file) => (parse(read(file)) as { tests: RuleTest[] }).tests)
    const courses = tests.flatMap(({ name, promql_expr_test: checks = [] }) =>
      alerts.includes(name) && checks.every(({ expr }) => expr.includes(`alertname="${name}",alertstate="firing"`))
        ? [[name, checks.map((check) => check.exp_samples.length)]]
        : [],
    )
    expect(courses.toSorted()).toEqual([...new Set(alerts)].toSorted().map((alert) => [alert, [0, 1, 0]]))
  })
})

describe('the documents of the alerts', () => {
  const [, watch = ''] = read('docs/operating.md').split('## What to watch')
  const rows = watch
    .split('\n## ')[0]!
    .split('\n')
    .flatMap((line) => {
      const [, metrics = '', when = '', alert = ''] = line.split(/(?<!\\)\|/).map((cell) => cell.trim())
      return /^`/.test(metrics) ? [{ metrics, when, alert }] : []
    })

  it('docs/operating.md has one row for each alert, and each row names an alert', () => {
    const named = rows.filter(({ when }) => when !== 'none').map(({ alert }) => alert)
    expect(named.toSorted()).toEqual(alerts.map((alert) => `[${alert}](runbook.md#${alert.toLowerCase()})`).toSorted())
  })

  it('each alert uses the metric, the label and the answers of its row in docs/operating.md', () => {
    const unwatched = rows.flatMap(({ metrics, alert }) => {
      const { expr = '' } = rules.find((rule) => alert.startsWith(`[${rule.alert}]`)) ?? {}
      const [metric = '', matcher] = /^`(\w+)(?:\{(.*?)\})?`/.exec(metrics)?.slice(1) ?? []
      const answers = [...metrics.matchAll(/`([a-z-]+)`/g)].flatMap(([, name = '']) => (name === 'what' ? [] : [name]))
      return [metric, matcher ?? '', ...answers].filter((part) => alert !== '' && !expr.includes(part))
    })
    expect(unwatched).toEqual([])
  })

  it('docs/operating.md says for how long the condition of an alert must be true', () => {
    const times = { '1m': 'a minute', '2m': 'two minutes', '5m': 'five minutes', '10m': 'ten minutes', '1h': 'an hour' }
    const unsaid = rules.flatMap(({ alert, for: time }) => {
      const { when = '' } = rows.find((row) => row.alert.startsWith(`[${alert}]`)) ?? {}
      if (time === undefined) return []
      const said = (times as Readonly<Record<string, string>>)[time]
      return said !== undefined && when.includes(`for ${said}`) ? [] : [`${alert}, ${time}: ${when}`]
    })
    expect(unsaid).toEqual([])
  })

  it('docs/runbook.md answers six questions for each alert, and has no other section', () => {
    const questions = ['Means', 'Readers see', 'Look at', 'Do', 'Do not', 'Over when']
    const sections = read('docs/runbook.md').split('\n### ').slice(1)
    const answered = sections.map((section) => [
      section.split('\n')[0],
      [...section.matchAll(/^- \*\*(.+?):?\*\*/gm)].map(([, question]) => question),
    ])
    const expected = alerts.map((alert) => [alert, questions])
    expect(Object.fromEntries(answered)).toEqual(Object.fromEntries(expected))
  })
})

describe('the dashboard of Grafana', () => {
  it('deploy/grafana/customer-stream.json agrees with its table of panels (if not: npm run docs)', () => {
    expect(readFileSync(dashboardFile, 'utf8')).toBe(dashboardText())
  })

  it.each(dashboardPanels)('the panel "$title" names only metrics and labels that exist', ({ queries }) => {
    const unknown = Object.entries(queries).flatMap(([legend, expr]) => {
      const templates = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label)
      return unknownIn(expr, templates)
    })
    expect(unknown).toEqual([])
  })

  it('each metric of the services is in a panel', () => {
    const shown = dashboardPanels.flatMap(({ queries }) =>
      Object.values(queries).flatMap((expr) => namesIn(expr).selectors.map(({ metric }) => metric)),
    )
    const ofServices = Object.values(openRegistries()).flatMap((registry) =>
      registry.getMetricsAsArray().flatMap(({ name }) => (/^(process|nodejs)_/.test(name) ? [] : [name])),
    )
    const missing = new Set(ofServices).difference(new Set(shown.map((metric) => metric.replace(/_bucket$/, ''))))
    expect([...missing]).toEqual([])
  })
})

describe('promtool', { timeout: 60_000 }, () => {
  it('promtool accepts the alert rules and the example configuration', async (context) => {
    context.skip(promtool === undefined, NO_PROMETHEUS)
    expect(await runPromtool(['check', 'rules', rulesFile])).toBe('accepted')
    expect(await runPromtool(['check', 'config', `${folder}/prometheus.yml`])).toBe('accepted')
  })

  it.for(testFiles)('promtool sees each alert fire and end in %s', async (file, context) => {
    context.skip(promtool === undefined, NO_PROMETHEUS)
    expect(await runPromtool(['test', 'rules', file])).toBe('accepted')
  })

  it('promtool accepts the query of each dashboard panel', async (context) => {
    context.skip(promtool === undefined, NO_PROMETHEUS)
    const made = mkdtempSync(join(tmpdir(), 'panels-'))
    onTestFinished(() => rmSync(made, { recursive: true }))
    const exprs = dashboardPanels.flatMap(({ queries }) => Object.values(queries))
    const recorded = exprs.map((expr, i) => ({ record: `panel:${i}`, expr: expr.replaceAll('$__rate_interval', '5m') }))
    writeFileSync(join(made, 'panels.yml'), stringify({ groups: [{ name: 'panels', rules: recorded }] }))
    expect(await runPromtool(['check', 'rules', join(made, 'panels.yml')])).toBe('accepted')
  })

  it.for(Object.entries(openRegistries()))('promtool accepts the metrics of the %s', async ([, registry], context) => {
    context.skip(promtool === undefined, NO_PROMETHEUS)
    expect(await runPromtool(['check', 'metrics'], await registry.metrics())).toBe('accepted')
  })
})
