import { type Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { version } from './version.ts'

export { Counter, Gauge, Histogram, type Registry } from 'prom-client'

// These gauges have the suffix of a counter, so `promtool check metrics` refuses them. The gauge
// `nodejs_active_resources` has the same numbers.
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/**
 * Creates a registry with the version and Node's process metrics. Each process and each test has
 * its own registry.
 */
export const createRegistry = (service: string): Registry => {
  const registry = new Registry()
  registry.setDefaultLabels({ service })
  // The default of 10 ms would wake an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 })
  for (const name of MISNAMED) registry.removeSingleMetric(name)
  new Gauge({
    name: 'customer_stream_build_info',
    help: 'Always 1. The label has the version of the service.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version }, 1)
  return registry
}

/**
 * Creates a counter's series with value 0, for each combination of labels. Otherwise Prometheus'
 * `increase()` would miss the first step of a series.
 */
export const startAtZero = <Label extends string>(
  counter: Counter<Label>,
  labels: Readonly<Record<Label, readonly string[]>>,
): void => {
  let combinations: Record<string, string>[] = [{}]
  for (const [label, values] of Object.entries<readonly string[]>(labels))
    combinations = combinations.flatMap((combination) => values.map((value) => ({ ...combination, [label]: value })))
  for (const combination of combinations) counter.inc(combination as Record<Label, string>, 0)
}
