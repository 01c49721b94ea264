/**
 * The parts of prom-client 15.1.3 that the services use. Its main file would also load parts for
 * clusters, summaries and a push gateway, and the API of OpenTelemetry. Each start would need 16 ms
 * of CPU time and 8 MB more.
 */
import { createRequire } from 'node:module'
import type * as PromClient from 'prom-client'

const load = createRequire(import.meta.url)

export const Counter = load('prom-client/lib/counter') as typeof PromClient.Counter
export type Counter<Label extends string = string> = PromClient.Counter<Label>
export const Gauge = load('prom-client/lib/gauge') as typeof PromClient.Gauge
export type Gauge<Label extends string = string> = PromClient.Gauge<Label>
export const Histogram = load('prom-client/lib/histogram') as typeof PromClient.Histogram
export type Histogram<Label extends string = string> = PromClient.Histogram<Label>
export const Registry = load('prom-client/lib/registry') as typeof PromClient.Registry
export type Registry = PromClient.Registry

/** Files of the library's default metrics, except `processCpuTotal`, which loads OpenTelemetry. */
const DEFAULT_METRICS = [
  'processStartTime',
  'osMemoryHeap',
  'processOpenFileDescriptors',
  'processMaxFileDescriptors',
  'eventLoopLag',
  'processResources',
  'processHandles',
  'processRequests',
  'heapSizeAndUsed',
  'heapSpacesSizeAndUsed',
  'version',
  'gc',
]

// Gauges with the suffix of a counter, which `promtool check metrics` refuses. The gauge
// `nodejs_active_resources` has the same numbers.
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

const addCpuTime = (registry: Registry, name: string, help: string, microseconds: () => number): void => {
  new Counter({
    name,
    help,
    registers: [registry],
    collect() {
      this.reset()
      this.inc(microseconds() / 1e6)
    },
  })
}

/** Adds the metrics of Node and of the process. */
export const collectDefaultMetrics = (registry: Registry): void => {
  // A short interval would wake an idle process a hundred times a second.
  for (const file of DEFAULT_METRICS)
    load(`prom-client/lib/metrics/${file}`)(registry, { eventLoopMonitoringPrecision: 100 })
  for (const name of MISNAMED) registry.removeSingleMetric(name)
  const { cpuUsage } = process
  const user = () => cpuUsage().user
  const system = () => cpuUsage().system
  addCpuTime(registry, 'process_cpu_user_seconds_total', 'Total user CPU time spent in seconds.', user)
  addCpuTime(registry, 'process_cpu_system_seconds_total', 'Total system CPU time spent in seconds.', system)
  const both = () => user() + system()
  addCpuTime(registry, 'process_cpu_seconds_total', 'Total user and system CPU time spent in seconds.', both)
}
