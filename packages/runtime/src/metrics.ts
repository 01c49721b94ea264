import { type Counter, collectDefaultMetrics, Registry } from 'prom-client'

export { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** A registry of its own for each process (and test), with Node's process metrics. */
export const createRegistry = (service: string): Registry => {
  const registry = new Registry()
  registry.setDefaultLabels({ service })
  // Its timer for the event loop's delay would wake an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 })
  return registry
}

/** Shows a counter's series from the start, for each combination of its labels: `increase()` does not see the first step of a new one. */
export const startAtZero = <Label extends string>(counter: Counter<Label>, labels: Readonly<Record<Label, readonly string[]>>): void => {
  let combinations: Record<string, string>[] = [{}]
  for (const [label, values] of Object.entries<readonly string[]>(labels))
    combinations = combinations.flatMap((combination) => values.map((value) => ({ ...combination, [label]: value })))
  for (const combination of combinations) counter.inc(combination as Record<Label, string>, 0)
}
