import * as whole from 'prom-client'
import { expect, it } from 'vitest'
import { collectDefaultMetrics, Registry } from './prom-client.ts'

const describedIn = async (registry: Registry) =>
  (await registry.getMetricsAsJSON())
    .map(({ name, help, type }) => ({ name, help, type }))
    .toSorted((a, b) => a.name.localeCompare(b.name))

it('the metrics of Node are those of prom-client, without the gauges whose names end like a counter', async () => {
  const [ours, theirs] = [new Registry(), new whole.Registry()]
  collectDefaultMetrics(ours)
  whole.collectDefaultMetrics({ register: theirs })
  for (const kind of ['handles', 'requests', 'resources']) theirs.removeSingleMetric(`nodejs_active_${kind}_total`)
  expect(await describedIn(ours)).toEqual(await describedIn(theirs))
})

it('the CPU time of the process is counted since its start', async () => {
  const registry = new Registry()
  collectDefaultMetrics(registry)
  const secondsOf = async (name: string) => (await registry.getSingleMetric(name)?.get())?.values[0]?.value ?? 0
  const before = process.cpuUsage()
  const seconds = await secondsOf('process_cpu_seconds_total')
  const after = process.cpuUsage()
  expect(seconds).toBeGreaterThanOrEqual((before.user + before.system) / 1e6)
  expect(seconds).toBeLessThanOrEqual((after.user + after.system) / 1e6)
  expect(await secondsOf('process_cpu_user_seconds_total')).toBeGreaterThanOrEqual(before.user / 1e6)
})
